// Release script: gives commands back.
//
// KEYS  1…    stream and delayed set of each lane
//       then  key of each command, if they move: on a retry, or with a delay
//       then  keys of groups of each lane whose commands have some
// ARGV  1   consumer
//       2   `retry`, `unstarted` or `crash`
//       3   delay, ms
//       4   how many lanes
//       5   of each command: number of its lane, entry, counter
// Returns for each command 1 if it was held, else 0; for the first ones, where those are large.

import { type Script, script } from './script.ts'

export const RELEASE: Script = script('release')`
local reason, delay, lanes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local statuses, moved, late, due, bytes = {}, {}, {}, now() + delay, 0
for number, entry, given in string.gmatch(ARGV[5], '(%S+) (%S+) (%S+)') do
  if bytes >= ANSWER_BYTES then break end
  local lane, counter = tonumber(number), tonumber(given)
  local stream, delayed = KEYS[2 * lane - 1], KEYS[2 * lane]
  local held, of = isHeld(stream, entry, ARGV[1], counter), groupsOf(stream)
  -- Under which it goes back.
  counter = reason == 'unstarted' and unstarted(counter) or started(counter)
  statuses[#statuses + 1] = held and 1 or 0
  if held and not of and delay == 0 and reason ~= 'retry' then
    redis.call('XCLAIM', stream, 'workers', RETURNED, 0, entry,
      'RETRYCOUNT', string.format('%.0f', counter), 'JUSTID')
    moved[stream] = (moved[stream] or 0) + 1
  elseif held then
    local found, place = redis.call('XRANGE', stream, entry, entry)[1], nil
    if found then
      local group, order = found[2][4], found[2][6]
      bytes = bytes + #found[2][2]
      local mark = of and G.mark(group) or ''
      local value = rewritten(found[2][2], function(retries, spent, since)
        if since == '0' then since = string.match(entry, '^%d+') end
        if reason == 'retry' then return retries + 1, 0, since end
        return retries, spent + counter % GIVEN_AGAIN, since
      end)
      if delay > 0 then
        redis.call('ZADD', delayed, due, mark .. value)
        place = string.format('+%.0f', due) .. (of and '@' .. mark or '')
        late[stream] = true
      elseif not of then
        place = redis.call('XADD', stream, '*', 'v', value)
      else
        if reason == 'retry' then
          order = G.nextOrder(of)
          place = '@' .. mark .. order
        end
        G.wait(of, group, order, value)
      end
      if place then redis.call('SET', KEYS[2 * lanes + #statuses], 'P' .. place, 'XX') end
    end
    -- After it waits: else the order of its group would be forgotten.
    local _, entered = remove(stream, entry)
    moved[stream] = (moved[stream] or 0) + entered + (found and delay == 0 and 1 or 0)
  end
end
for stream, count in pairs(moved) do if count > 0 then wake(stream, count) end end
for stream in pairs(late) do wake(stream, delay, '+') end
return statuses
`
