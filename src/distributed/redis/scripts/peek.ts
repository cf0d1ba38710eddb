// Peek script: lists the commands of lanes that would be given out next.
//
// KEYS  1…    the streams
//       then  keys of groups of each lane whose commands have some
// ARGV  1   most commands of each
//       2   how many streams
// Returns how many streams were listed, the last of which may have ended the answer by the size of
// its values. Then of each command: number of its stream, entry, counter, value. One that waits for
// the turn of its group has the entry 0-0; these come in turns, and behind them those that must
// wait longer.

import { ANSWER_BYTES, type Script, script } from './script.ts'

/** Values of so many bytes are enough of a stream; of all, it is the last. */
const LISTED_BYTES: number = ANSWER_BYTES / 2

export const PEEK: Script = script('peek')`
local reply, max, total = {0}, tonumber(ARGV[1]), 0
for lane = 1, ARGV[2] do
  local stream, count, bytes = KEYS[lane], 0, 0
  local of = groupsOf(stream)
  local function isFull() return count >= max or bytes >= ${LISTED_BYTES} end
  local function add(entry, counter, value)
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = lane, entry, counter, value
    count, bytes = count + 1, bytes + #value
  end
  -- Reads few at a time: only then it is known how large they are.
  local function addFresh(from)
    while from and not isFull() do
      local some = redis.call('XRANGE', stream, from, '+', 'COUNT', READ_MAX)
      for _, found in ipairs(some) do
        if not isFull() then add(found[1], 0, found[2][2]) end
      end
      from = #some == READ_MAX and '(' .. some[#some][1]
    end
  end
  local function addTurns()
    local groups, listed, isEnd, skip = redis.call('ZRANGE', of.turns, 0, max - 1), {}, false, 0
    local function list(value)
      listed[value] = true
      add('0-0', 0, string.sub(G.keptBack(value), 17))
    end
    while not isEnd and not isFull() do
      isEnd = true
      for _, group in ipairs(groups) do
        local value = not isFull() and G.firstOf(of, group, skip)
        if value then
          list(value)
          isEnd = false
        end
      end
      skip = skip + 1
    end
    local from = 0
    while from and not isFull() do
      local some = redis.call('ZRANGE', of.waiting, from, from + READ_MAX - 1)
      for _, value in ipairs(some) do
        if not isFull() and not listed[value] then list(value) end
      end
      from = #some == READ_MAX and from + READ_MAX
    end
  end
  local last = groupInfo(stream)['last-delivered-id']
  for _, pending in ipairs(pendingIn(stream, '-', '+', max, RETURNED)) do
    local found = not isFull() and redis.call('XRANGE', stream, pending[1], pending[1])[1]
    if found then add(found[1], pending[4], found[2][2]) end
  end
  addFresh(last and '(' .. last or '-')
  if of then addTurns() end
  reply[1], total = lane, total + bytes
  if total >= ${LISTED_BYTES} then break end
end
return reply
`
