// Peek script: lists the commands of lanes that would be given out next.
//
// KEYS  1…    the streams
//       then  keys of groups of each lane whose commands have some
// ARGV  1   most commands of each
//       2   how many streams
// Returns of each command: number of its stream, entry, counter, value. One that waits for the turn
// of its group has the entry 0-0; these come in turns, and behind them those that must wait longer.

import { GROUPS } from './groups.ts'
import { GROUP_INFO, PENDING, RETURNED, type Script, script } from './script.ts'

export const PEEK: Script = script('peek')`${GROUPS}${GROUP_INFO}${PENDING}
local reply, max = {}, tonumber(ARGV[1])
for lane = 1, ARGV[2] do
  local stream = KEYS[lane]
  local function add(entry, counter)
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = lane, entry[1], counter, entry[2][2]
  end
  local of = groupsOf(stream)
  local function listTurns()
    local groups, listed, count = redis.call('ZRANGE', of.turns, 0, max - 1), {}, 0
    local function list(value)
      listed[value], count = true, count + 1
      add({'0-0', {'v', string.sub(G.keptBack(value), 17)}}, 0)
    end
    for skip = 0, max - 1 do
      local isEnd = true
      for _, group in ipairs(groups) do
        local value = count < max and G.firstOf(of, group, skip)
        if value then
          list(value)
          isEnd = false
        end
      end
      if isEnd then break end
    end
    for _, value in ipairs(redis.call('ZRANGE', of.waiting, 0, 2 * max - 1)) do
      if count < max and not listed[value] then list(value) end
    end
  end
  local last, left = groupInfo(stream)['last-delivered-id'], max
  for _, pending in ipairs(pendingIn(stream, '-', '+', max, '${RETURNED}')) do
    local found = redis.call('XRANGE', stream, pending[1], pending[1])[1]
    if found then
      left = left - 1
      add(found, pending[4])
    end
  end
  if left > 0 then
    for _, found in ipairs(redis.call('XRANGE', stream, last and '(' .. last or '-', '+', 'COUNT', left)) do
      add(found, 0)
    end
  end
  if of then listTurns() end
end
return reply
`
