// Announce-lanes script: a worker announces which lanes it takes, or which handlers it has.
//
// KEYS  1  names that workers have, by when their last worker counts as dead
// ARGV  1   lease, ms
//       2   how long names are remembered, ms
//       3   how many names follow that the worker has
//       4…  those, and then names that exist and that it does not have
// Returns 1.

import { type Script, script } from './script.ts'

export const ANNOUNCE_LANES: Script = script('announce-lanes')`
local time, own = now(), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time - ARGV[2])
for i = 4, #ARGV do
  local till = i <= 3 + own and time + ARGV[1] or time - 1
  redis.call('ZADD', KEYS[1], 'GT', till, ARGV[i])
end
return 1
`
