// Tend script: looks after lanes. Brings back what is due and what has expired, and says how much
// waits.
//
// KEYS  1…    stream and delayed set of each lane
//       then  owner of the partition, with the lanes that are paused
// ARGV  1   lease of the caller, ms
//       2   partition
//       3   channel of wakes
//       4…  name of each lane
// Returns in how many ms the next command is due, and the next lease may expire (-1: none); then
// for each lane how much can be given out.

import { AVAILABLE, NOW, RETURNED, SCRIPT_MAX, type Script, script } from './script.ts'

/** See the table above. */
export const TEND: Script = script('tend')`${NOW}${AVAILABLE}
local time, lease = now(), tonumber(ARGV[1])
local reply, paused = {-1, -1}, redis.call('HGET', KEYS[#KEYS], 'paused')
local function sooner(at, ms)
  if reply[at] < 0 or ms < reply[at] then reply[at] = ms end
end
local function reap(stream, held, pending)
  local isAll, moved, from = pending <= ${SCRIPT_MAX}, 0, '-'
  for _ = 1, isAll and 1 or 8 do
    local some = isAll and redis.call('XPENDING', stream, 'workers', '-', '+', ${SCRIPT_MAX})
      or redis.call('XPENDING', stream, 'workers', 'IDLE', lease, from, '+', ${SCRIPT_MAX})
    for _, entry in ipairs(some) do
      -- A consumer's name ends with the length of its lease; that of others does not matter.
      local left = tonumber(string.match(entry[2], '~(%d+)$') or lease) - entry[3]
      if entry[2] ~= '${RETURNED}' and left <= 0 then
        redis.call('XCLAIM', stream, 'workers', '${RETURNED}', 0, entry[1], 'JUSTID')
        moved = moved + 1
      elseif entry[2] ~= '${RETURNED}' and isAll then
        sooner(2, left)
      end
      from = '(' .. entry[1]
    end
    if #some < ${SCRIPT_MAX} then break end
  end
  -- Too many to ask each for its end.
  if not isAll and moved < held then sooner(2, math.ceil(lease / 4)) end
  return moved
end
for lane = 1, (#KEYS - 1) / 2 do
  local stream, delayed = KEYS[2 * lane - 1], KEYS[2 * lane]
  local due = redis.call('ZRANGE', delayed, '-inf', time, 'BYSCORE', 'LIMIT', 0, ${SCRIPT_MAX})
  for _, value in ipairs(due) do
    redis.call('XADD', stream, '*', 'v', value)
    redis.call('ZREM', delayed, value)
  end
  local moved, count, length = #due, 0, redis.call('XLEN', stream)
  if length > 0 then
    local held, pending = leased(stream)
    local expired = held > 0 and reap(stream, held, pending) or 0
    moved, count = moved + expired, length - held + expired
  end
  -- Nothing of a paused lane is given out.
  if paused and string.find(paused, ' ' .. ARGV[3 + lane] .. ' ', 1, true) then moved, count = 0, 0 end
  if moved > 0 then
    redis.call('PUBLISH', ARGV[3], ARGV[2] .. ' ' .. ARGV[3 + lane] .. ' ' .. moved)
  end
  local head = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if head[2] then sooner(1, math.max(0, tonumber(head[2]) - time)) end
  reply[lane + 2] = count
end
return reply
`
