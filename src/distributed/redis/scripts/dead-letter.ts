// Dead-letter script: ends a command that failed for good, and keeps it among the dead.
//
// KEYS  1  stream
//       2  key of the command
//       3  the dead by id
//       4  ids of the dead, by the time of their death
//       5   how many of each lane are dead
//       6…  keys of groups, if the command has one
// ARGV  1   consumer
//       2   entry
//       3   counter
//       4   `1` if this is asked again
//       5   time to live of the result, ms
//       6   id
//       7   lane
//       8   reason
//       9   result
//       10  channel of the submitter; empty: none
//       11  most dead to keep
// Returns 1 if this call ended the command, else 0.

import { GROUPS } from './groups.ts'
import { COUNT_DEAD, HELD, NOW, type Script, script, WAKE } from './script.ts'

export const DEAD_LETTER: Script = script('dead-letter', {
  mark: 4,
})`${NOW}${HELD}${GROUPS}${COUNT_DEAD}${WAKE}
local stream, key, result = KEYS[1], KEYS[2], ARGV[9]
if not isHeld(stream, ARGV[2], ARGV[1], ARGV[3]) then
  return ARGV[4] == '1' and redis.call('GET', key) == 'E' .. result and 1 or 0
end
local found = redis.call('XRANGE', stream, ARGV[2], ARGV[2])[1]
local _, entered = remove(stream, ARGV[2])
if entered > 0 then wake(stream, entered) end
if redis.call('GETRANGE', key, 0, 0) == 'E' then return 0 end
redis.call('SET', key, 'E' .. result, 'PX', ARGV[5])
local value, time = found and found[2][2] or '', string.format('%.0f', now())
local record = ARGV[7] .. ':' .. time .. ':' .. #ARGV[8] .. ':' .. #value .. ':'
  .. ARGV[8] .. value .. result
if redis.call('HSET', KEYS[3], ARGV[6], record) == 1 then countDead(KEYS[5], record, 1) end
redis.call('ZADD', KEYS[4], time, ARGV[6])
while redis.call('ZCARD', KEYS[4]) > tonumber(ARGV[11]) do
  local oldest = redis.call('ZPOPMIN', KEYS[4])[1]
  countDead(KEYS[5], redis.call('HGET', KEYS[3], oldest) or '', -1)
  redis.call('HDEL', KEYS[3], oldest)
end
if ARGV[10] ~= '' then
  redis.call('PUBLISH', ARGV[10], struct.pack('>I4', #result) .. result)
end
return 1
`
