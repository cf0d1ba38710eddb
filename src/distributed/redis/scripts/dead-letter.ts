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
//       4   time to live of the result, ms
//       5   id
//       6   lane
//       7   reason
//       8   result
//       9   channel of the submitter; empty: none
//       10  most dead to keep
// Returns 1 if this call ended the command, or did when it was made before, else 0.

import { type Script, script } from './script.ts'

export const DEAD_LETTER: Script = script('dead-letter')`
local stream, key, result = KEYS[1], KEYS[2], ARGV[8]
if not isHeld(stream, ARGV[2], ARGV[1], ARGV[3]) then
  local record = redis.call('HGET', KEYS[3], ARGV[5]) or ''
  local from = string.match(record, '^[^:]*:%d+:%d+:%d+:()')
  local isSame = from and string.sub(record, from, from + #ARGV[7] - 1) == ARGV[7]
  return isSame and string.sub(record, -#result) == result and 1 or 0
end
local found = redis.call('XRANGE', stream, ARGV[2], ARGV[2])[1]
local _, entered = remove(stream, ARGV[2])
if entered > 0 then wake(stream, entered) end
if redis.call('GETRANGE', key, 0, 0) == 'E' then return 0 end
redis.call('SET', key, 'E' .. result, 'PX', ARGV[4])
local value, time = found and found[2][2] or '', string.format('%.0f', now())
local record = ARGV[6] .. ':' .. time .. ':' .. #ARGV[7] .. ':' .. #value .. ':'
  .. ARGV[7] .. value .. result
if redis.call('HSET', KEYS[3], ARGV[5], record) == 1 then countDead(KEYS[5], record, 1) end
redis.call('ZADD', KEYS[4], time, ARGV[5])
while redis.call('ZCARD', KEYS[4]) > tonumber(ARGV[10]) do
  local oldest = redis.call('ZPOPMIN', KEYS[4])[1]
  countDead(KEYS[5], redis.call('HGET', KEYS[3], oldest) or '', -1)
  redis.call('HDEL', KEYS[3], oldest)
end
if ARGV[9] ~= '' then
  redis.call('PUBLISH', ARGV[9], struct.pack('>I4', #result) .. result)
end
return 1
`
