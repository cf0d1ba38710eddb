// Start script: counts deliveries that are about to start. Their leases stay as they are.
//
// KEYS  1…  the streams
// ARGV  1   consumer
//       2…  of each delivery: number of its stream, entry, counter
// Returns positions of those that are not held, from 1.

import { HELD, type Script, script } from './script.ts'

export const START: Script = script('start')`${HELD}
local lost, n = {}, 0
for at = 2, #ARGV, 3 do
  n = n + 1
  local stream, entry, counter = KEYS[tonumber(ARGV[at])], ARGV[at + 1], tonumber(ARGV[at + 2])
  local held = isHeld(stream, entry, ARGV[1], counter)
  if not held then
    lost[#lost + 1] = n
  elseif held[4] ~= started(counter) then
    redis.call('XCLAIM', stream, 'workers', ARGV[1], 0, entry, 'IDLE', held[3],
      'RETRYCOUNT', string.format('%.0f', started(counter)), 'JUSTID')
  end
end
return lost
`
