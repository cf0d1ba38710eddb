// Extend script: keeps deliveries for another lease.
//
// KEYS  1   owner of the partition
//       2…  the streams
// ARGV  1   consumer
//       2   worker
//       3   lease, ms
//       4…  of each delivery: number of its stream, entry, counter
// Returns positions of those that are not held, from 1.

import { HELD, NOW, type Script, script } from './script.ts'

export const EXTEND: Script = script('extend')`${NOW}${HELD}
local lost, n = {}, 0
for at = 4, #ARGV, 3 do
  n = n + 1
  local stream = KEYS[1 + ARGV[at]]
  if isHeld(stream, ARGV[at + 1], ARGV[1], ARGV[at + 2]) then
    redis.call('XCLAIM', stream, 'workers', ARGV[1], 0, ARGV[at + 1], 'JUSTID')
  else
    lost[#lost + 1] = n
  end
end
if #lost < n and redis.call('HGET', KEYS[1], 'owner') == ARGV[2] then
  redis.call('HSET', KEYS[1], 'until', now() + ARGV[3])
end
return lost
`
