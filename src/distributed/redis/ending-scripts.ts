// Ending scripts: what becomes of a delivery: extended, completed, given back or buried.
// Thread: main.   Owns: nothing; text only.

import { GIVEN_AGAIN, HELD, NOW, RETURNED, type Script, script } from './script.ts'

/** Keeps deliveries. */
export const EXTEND: Script = script(
  'extend',
  `${NOW}${HELD}
-- KEYS: own, the streams. ARGV: consumer, worker, lease, then stream, entry, counter of each.
-- Returns which are not held, from 1.
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
`,
)

/** Counts deliveries that are about to start. Their leases stay as they are. */
export const START: Script = script(
  'start',
  `${HELD}
-- KEYS: the streams. ARGV: consumer, then stream, entry, counter of each.
-- Returns which are not held, from 1.
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
`,
)

/** Ends commands. */
export const COMPLETE: Script = script(
  'complete',
  `${HELD}
-- KEYS: the streams, then the key of each command. ARGV: consumer, time to live of results, whether this
-- is asked again, streams, of each command stream, entry, counter and channel (0: none), the results one
-- after the other, each with its length before it, the channels. Returns 1 for each that counts.
local consumer, ttl, isRepeat, results = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[6]
local statuses, ended, frames = {}, {}, {}
local i, at, first = 0, 1, tonumber(ARGV[4])
for lane, entry, counter, to in string.gmatch(ARGV[5], '(%S+) (%S+) (%S+) (%S+)') do
  i = i + 1
  local stream, key, channel = KEYS[tonumber(lane)], KEYS[first + i], tonumber(to)
  local from = at
  at = at + 4 + struct.unpack('>I4', results, at)
  local result = string.sub(results, from + 4, at - 1)
  statuses[i] = 0
  if isHeld(stream, entry, consumer, counter) then
    ended[stream] = ended[stream] or {}
    table.insert(ended[stream], entry)
    redis.call('XACK', stream, 'workers', entry)
    if redis.call('GETRANGE', key, 0, 0) ~= 'E' then
      redis.call('SET', key, 'E' .. result, 'PX', ttl)
      statuses[i] = 1
      if channel > 0 then
        frames[channel] = frames[channel] or {}
        table.insert(frames[channel], string.sub(results, from, at - 1))
      end
    end
  elseif isRepeat and redis.call('GET', key) == 'E' .. result then
    -- The answer of the first time was lost.
    statuses[i] = 1
  end
end
for stream, entries in pairs(ended) do redis.call('XDEL', stream, unpack(entries)) end
for channel, parts in pairs(frames) do
  redis.call('PUBLISH', ARGV[6 + channel], table.concat(parts))
end
return statuses
`,
)

/** Gives commands back. */
export const RELEASE: Script = script(
  'release',
  `${NOW}${HELD}
-- KEYS: stream and delayed of each lane. ARGV: consumer, reason, delay, partition, channel, lanes, their
-- names, then lane, entry, counter of each command. Returns 1 for each that was held.
local reason, delay, lanes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[6])
local statuses, moved, late, due = {}, {}, {}, now() + delay
local function giveBack(stream, entry, counter)
  redis.call('XCLAIM', stream, 'workers', '${RETURNED}', 0, entry,
    'RETRYCOUNT', string.format('%.0f', counter), 'JUSTID')
end
local function rewritten(value, entry, counter)
  local id, retries, spent, since, body = string.match(value, '^([^:]*):(%d+):(%d+):(%d+):()')
  if not id then return value end
  if since == '0' then since = string.match(entry, '^%d+') end
  if reason == 'retry' then
    retries, spent = retries + 1, 0
  else
    spent = spent + counter % ${GIVEN_AGAIN}
  end
  return table.concat({id, retries, spent, since, string.sub(value, body)}, ':')
end
for at = 7 + lanes, #ARGV, 3 do
  local lane, entry, counter = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2])
  local stream, delayed = KEYS[2 * lane - 1], KEYS[2 * lane]
  local held = isHeld(stream, entry, ARGV[1], counter)
  -- Under which it goes back.
  counter = reason == 'unstarted' and unstarted(counter) or started(counter)
  statuses[#statuses + 1] = held and 1 or 0
  if held and delay == 0 and reason ~= 'retry' then
    giveBack(stream, entry, counter)
    moved[lane] = (moved[lane] or 0) + 1
  elseif held then
    local found = redis.call('XRANGE', stream, entry, entry)[1]
    redis.call('XACK', stream, 'workers', entry)
    if found then
      redis.call('XDEL', stream, entry)
      local value = rewritten(found[2][2], entry, counter)
      if delay > 0 then
        redis.call('ZADD', delayed, due, value)
        late[lane] = true
      else
        redis.call('XADD', stream, '*', 'v', value)
        moved[lane] = (moved[lane] or 0) + 1
      end
    end
  end
end
for lane, count in pairs(moved) do
  redis.call('PUBLISH', ARGV[5], ARGV[4] .. ' ' .. ARGV[6 + lane] .. ' ' .. count)
end
for lane in pairs(late) do
  redis.call('PUBLISH', ARGV[5], '+' .. ARGV[4] .. ' ' .. ARGV[6 + lane] .. ' ' .. delay)
end
return statuses
`,
)

/** Ends a command for good and keeps it among the dead. */
export const BURY: Script = script(
  'bury',
  `${NOW}${HELD}
-- KEYS: stream, key of the command, dead, order of the dead. ARGV: consumer, entry, counter, whether this
-- is asked again, time to live, id, lane, reason, result, channel ('' for none), most dead to keep.
local stream, key, result = KEYS[1], KEYS[2], ARGV[9]
if not isHeld(stream, ARGV[2], ARGV[1], ARGV[3]) then
  return ARGV[4] == '1' and redis.call('GET', key) == 'E' .. result and 1 or 0
end
local found = redis.call('XRANGE', stream, ARGV[2], ARGV[2])[1]
redis.call('XACK', stream, 'workers', ARGV[2])
redis.call('XDEL', stream, ARGV[2])
if redis.call('GETRANGE', key, 0, 0) == 'E' then return 0 end
redis.call('SET', key, 'E' .. result, 'PX', ARGV[5])
local value, time = found and found[2][2] or '', string.format('%.0f', now())
redis.call('HSET', KEYS[3], ARGV[6], ARGV[7] .. ':' .. time .. ':' .. #ARGV[8] .. ':' .. #value .. ':'
  .. ARGV[8] .. value .. result)
redis.call('ZADD', KEYS[4], time, ARGV[6])
while redis.call('ZCARD', KEYS[4]) > tonumber(ARGV[11]) do
  redis.call('HDEL', KEYS[3], redis.call('ZPOPMIN', KEYS[4])[1])
end
if ARGV[10] ~= '' then
  redis.call('PUBLISH', ARGV[10], struct.pack('>I4', #result) .. result)
end
return 1
`,
)
