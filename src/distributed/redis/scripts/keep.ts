// Keep script: keeps deliveries for another lease, or counts those that are about to start. A start
// leaves the lease as it is.
//
// KEYS  1   owner of the partition
//       2…  the streams
// ARGV  1   consumer
//       2   worker
//       3   lease, ms; empty if they are about to start
//       4   of each delivery: number of its stream, entry, counter
// Returns for each delivery 1 if it is held, else 0.

import { type Script, script } from './script.ts'

export const KEEP: Script = script('keep')`
local lease, statuses, isAnyHeld = tonumber(ARGV[3]), {}, false
for number, entry, given in string.gmatch(ARGV[4], '(%S+) (%S+) (%S+)') do
  local stream, counter = KEYS[1 + number], tonumber(given)
  local held = isHeld(stream, entry, ARGV[1], counter)
  if held and lease then
    redis.call('XCLAIM', stream, 'workers', ARGV[1], 0, entry, 'JUSTID')
  elseif held and held[4] ~= started(counter) then
    redis.call('XCLAIM', stream, 'workers', ARGV[1], 0, entry, 'IDLE', held[3],
      'RETRYCOUNT', string.format('%.0f', started(counter)), 'JUSTID')
  end
  statuses[#statuses + 1], isAnyHeld = held and 1 or 0, isAnyHeld or held
end
if lease and isAnyHeld and redis.call('HGET', KEYS[1], 'owner') == ARGV[2] then
  redis.call('HSET', KEYS[1], 'until', now() + lease)
end
return statuses
`
