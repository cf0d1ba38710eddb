// Tend script: looks after lanes. Brings back what is due and what has expired, and says how much
// waits.
//
// KEYS  1…    stream and delayed set of each lane
//       then  owner of the partition, with the lanes that are paused and those with groups
//       then  keys of groups of each lane whose commands have some
// ARGV  1  lease of the caller, ms
//       2  how many lanes
// Returns in how many ms the next command is due, and the next lease may expire (-1: none); then
// for each lane how much can be given out; and the lanes whose commands have groups, if there are
// some.

import { type Script, script } from './script.ts'

export const TEND: Script = script('tend')`
local time, lease, lanes = now(), tonumber(ARGV[1]), tonumber(ARGV[2])
local own = redis.call('HMGET', KEYS[2 * lanes + 1], 'paused', 'groups')
local reply, paused = {-1, -1}, own[1]
local function sooner(at, ms)
  if reply[at] < 0 or ms < reply[at] then reply[at] = ms end
end
local function reap(stream, held, pending)
  local isAll, moved, from = pending <= SCRIPT_MAX, 0, '-'
  for _ = 1, isAll and 1 or 8 do
    local some = isAll and redis.call('XPENDING', stream, 'workers', '-', '+', SCRIPT_MAX)
      or redis.call('XPENDING', stream, 'workers', 'IDLE', lease, from, '+', SCRIPT_MAX)
    for _, entry in ipairs(some) do
      -- A consumer's name ends with the length of its lease; that of others does not matter.
      local left = tonumber(string.match(entry[2], '~(%d+)$') or lease) - entry[3]
      if entry[2] ~= RETURNED and left <= 0 then
        redis.call('XCLAIM', stream, 'workers', RETURNED, 0, entry[1], 'JUSTID')
        moved = moved + 1
      elseif entry[2] ~= RETURNED and isAll then
        sooner(2, left)
      end
      from = '(' .. entry[1]
    end
    if #some < SCRIPT_MAX then break end
  end
  -- Too many to ask each for its end.
  if not isAll and moved < held then sooner(2, math.ceil(lease / 4)) end
  return moved
end
local bytes = 0
-- What is due comes into its place. What is left, as they are large, is looked at again at once.
local function bringIn(delayed, stream, of)
  local moved, isEnd = 0, false
  while not isEnd and moved < SCRIPT_MAX and bytes < ANSWER_BYTES do
    local due = redis.call('ZRANGE', delayed, '-inf', time, 'BYSCORE', 'LIMIT', 0, READ_MAX)
    for _, value in ipairs(due) do
      if of then
        local bare, group = G.keptBack(value)
        G.wait(of, group, G.nextOrder(of), bare)
      else
        redis.call('XADD', stream, '*', 'v', value)
      end
      redis.call('ZREM', delayed, value)
      moved, bytes = moved + 1, bytes + #value
    end
    isEnd = #due < READ_MAX
  end
  return moved
end
for lane = 1, lanes do
  local stream, delayed = KEYS[2 * lane - 1], KEYS[2 * lane]
  local of, name = groupsOf(stream), laneOf(stream)
  local moved, count, length = bringIn(delayed, stream, of), 0, redis.call('XLEN', stream)
  if length > 0 then
    local held, pending = leased(stream)
    local expired = held > 0 and reap(stream, held, pending) or 0
    moved, count = moved + expired, length - held + expired
  end
  if of then
    local ripeAt = G.ripen(of, time)
    if ripeAt then sooner(1, math.max(1, math.ceil(ripeAt - time))) end
    count = count + G.readyIn(of)
    name = string.sub(name, 2)
  end
  -- Nothing of a paused lane is given out.
  if paused and string.find(paused, ' ' .. name .. ' ', 1, true) then moved, count = 0, 0 end
  if moved > 0 then wake(stream, moved) end
  local head = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if head[2] then sooner(1, math.max(0, tonumber(head[2]) - time)) end
  reply[lane + 2] = count
end
if own[2] then reply[lanes + 3] = own[2] end
return reply
`
