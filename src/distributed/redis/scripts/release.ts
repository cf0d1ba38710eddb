// Release script: gives commands back.
//
// KEYS  1…    stream and delayed set of each lane
//       then  key of each command, if they move: on a retry, or with a delay
//       then  keys of groups of each lane whose commands have some
// ARGV  1     consumer
//       2     `retry`, `unstarted` or `crash`
//       3     delay, ms
//       4     partition
//       5     channel of wakes
//       6     how many lanes
//       7…    name of each lane
//       then  of each command: number of its lane, entry, counter
// Returns for each command 1 if it was held, else 0.

import { GROUPS } from './groups.ts'
import { GIVEN_AGAIN, HELD, NOW, RETURNED, type Script, script } from './script.ts'

export const RELEASE: Script = script('release')`${NOW}${HELD}${GROUPS}
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
local function placeIs(key, place)
  if key then redis.call('SET', key, 'P' .. place, 'XX') end
end
for at = 7 + lanes, #ARGV, 3 do
  local lane, entry, counter = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2])
  local stream, delayed = KEYS[2 * lane - 1], KEYS[2 * lane]
  local held = isHeld(stream, entry, ARGV[1], counter)
  -- Under which it goes back.
  counter = reason == 'unstarted' and unstarted(counter) or started(counter)
  statuses[#statuses + 1] = held and 1 or 0
  local of = held and groupsOf(stream)
  if of then
    local found = redis.call('XRANGE', stream, entry, entry)[1]
    redis.call('XACK', stream, 'workers', entry)
    redis.call('XDEL', stream, entry)
    if found then
      local fields, key = found[2], KEYS[2 * lanes + #statuses]
      local value, group, order = rewritten(fields[2], entry, counter), fields[4], fields[6]
      if delay > 0 then
        redis.call('ZADD', delayed, due, G.mark(group) .. value)
        placeIs(key, string.format('+%.0f@', due) .. G.mark(group))
        late[lane] = true
      else
        if reason == 'retry' then
          order = G.nextOrder(of)
          placeIs(key, '@' .. G.mark(group) .. order)
        end
        G.wait(of, group, order, value)
        moved[lane] = (moved[lane] or 0) + 1
      end
    end
    if G.leave(of, entry) > 0 then moved[lane] = (moved[lane] or 0) + 1 end
  elseif held and delay == 0 and reason ~= 'retry' then
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
        placeIs(KEYS[2 * lanes + #statuses], string.format('+%.0f', due))
        late[lane] = true
      else
        placeIs(KEYS[2 * lanes + #statuses], redis.call('XADD', stream, '*', 'v', value))
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
`
