// Announce-lanes script: a worker says which lanes it takes.
// Thread: main.   Owns: nothing; text only.
//
// KEYS  1  lanes that workers take, by when their last worker counts as dead
// ARGV  1   lease, ms
//       2   how long names are remembered, ms
//       3…  the lanes
// Returns 1.

import { NOW, type Script, script } from './script.ts'

/** See the table above. */
export const ANNOUNCE_LANES: Script = script(
  'announce-lanes',
  `${NOW}
local time = now()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time - ARGV[2])
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], 'GT', time + ARGV[1], ARGV[i]) end
return 1
`,
)
