// Enqueue script: adds commands whose ids are new. The only script that a full Redis refuses, and
// then as a whole.
//
// KEYS  1     names of the lanes of the partition
//       2     ids of the dead, by the time of their death
//       3…    stream of each lane
//       then  key of each command, lane by lane
//       then  delayed set of each lane, if there are delays
// ARGV  1   how many lanes
//       2   partition
//       3   channel of wakes
//       4   the entries, lane by lane, each with its length before it
//       5   delay of each command in ms; empty: none has one
//       6…  name of each lane, and how many commands it gets
// The key of a command says where it is: `P<entry>`, or `P+<due>` while it is kept back.
// Returns for each command 1 if it was added, 0 if its id was known.

import { AVAILABLE, NOW, type Script, script } from './script.ts'

/** See the table above. */
export const ENQUEUE: Script = script('enqueue', '')`${AVAILABLE}${NOW}
local lanes, packed = tonumber(ARGV[1]), ARGV[4]
local statuses, delays, time = {}, {}, 0
local key, at = 2 + lanes, 1
if ARGV[5] ~= '' then
  time = now()
  for delay in string.gmatch(ARGV[5], '%d+') do delays[#delays + 1] = tonumber(delay) end
end
-- The key of a dead command may have expired; its id is known for as long as it is dead.
local hasDead = redis.call('ZCARD', KEYS[2]) > 0
for lane = 1, lanes do
  local stream, name = KEYS[2 + lane], ARGV[4 + 2 * lane]
  -- While something waits, workers come again by themselves.
  local wasIdle = available(stream) == 0
  local added, late = 0, nil
  for _ = 1, tonumber(ARGV[5 + 2 * lane]) do
    key = key + 1
    local length = struct.unpack('>I4', packed, at)
    at = at + 4 + length
    local value = string.sub(packed, at - length, at - 1)
    local isDead = hasDead and redis.call('ZSCORE', KEYS[2], string.match(value, '^[^:]*'))
    local delay = delays[#statuses + 1] or 0
    local isNew = false
    if isDead then
      isNew = false
    elseif delay > 0 then
      isNew = redis.call('SET', KEYS[key], string.format('P+%.0f', time + delay), 'NX')
      if isNew then
        local id, retries, body = string.match(value, '^([^:]*):(%d+):0:0:()')
        value = string.format('%s:%s:0:%.0f:', id, retries, time) .. string.sub(value, body)
        redis.call('ZADD', KEYS[#KEYS - lanes + lane], time + delay, value)
        late = math.min(late or delay, delay)
      end
    else
      local entry = redis.call('XADD', stream, '*', 'v', value)
      isNew = redis.call('SET', KEYS[key], 'P' .. entry, 'NX')
      if isNew then added = added + 1 else redis.call('XDEL', stream, entry) end
    end
    statuses[#statuses + 1] = isNew and 1 or 0
  end
  if added > 0 or late then redis.call('SADD', KEYS[1], name) end
  if added > 0 and wasIdle then
    redis.call('PUBLISH', ARGV[3], ARGV[2] .. ' ' .. name .. ' ' .. added)
  end
  if late then redis.call('PUBLISH', ARGV[3], '+' .. ARGV[2] .. ' ' .. name .. ' ' .. late) end
end
return statuses
`
