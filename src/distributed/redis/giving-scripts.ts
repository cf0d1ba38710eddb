// Giving scripts: how commands come in, are looked after and are given out.
// Thread: main.   Owns: nothing; text only.

import { AVAILABLE, BATCH_MAX, GIVEN_AGAIN, NOW, RETURNED, type Script, script } from './script.ts'

/**
 * Adds commands whose ids are new. The only script that a full Redis refuses, and then as a whole.
 */
export const ENQUEUE: Script = script(
  'enqueue',
  `${AVAILABLE}
-- KEYS: lanes, order of the dead, a stream for each lane, the key of each command in the order of the
-- lanes.
-- ARGV: lanes, partition, channel, the values one after the other, each with its length before it, then
-- name and number of commands for each lane.
local lanes, packed = tonumber(ARGV[1]), ARGV[4]
local statuses = {}
local key, at = 2 + lanes, 1
-- The key of a dead command may have expired; its id is known for as long as it is dead.
local hasDead = redis.call('ZCARD', KEYS[2]) > 0
for lane = 1, lanes do
  local stream, name = KEYS[2 + lane], ARGV[3 + 2 * lane]
  -- While something waits, workers come again without being told.
  local wasIdle = available(stream) == 0
  local added = 0
  for _ = 1, tonumber(ARGV[4 + 2 * lane]) do
    key = key + 1
    local length = struct.unpack('>I4', packed, at)
    at = at + 4 + length
    local value = string.sub(packed, at - length, at - 1)
    local isDead = hasDead and redis.call('ZSCORE', KEYS[2], string.match(value, '^[^:]*'))
    if not isDead and redis.call('SET', KEYS[key], 'P', 'NX') then
      redis.call('XADD', stream, '*', 'v', value)
      added = added + 1
      statuses[#statuses + 1] = 1
    else
      statuses[#statuses + 1] = 0
    end
  end
  if added > 0 then
    redis.call('SADD', KEYS[1], name)
    if wasIdle then redis.call('PUBLISH', ARGV[3], ARGV[2] .. ' ' .. name .. ' ' .. added) end
  end
end
return statuses
`,
  '',
)

/** Looks after lanes: brings back what is due and what has expired, and tells how much waits. */
export const TEND: Script = script(
  'tend',
  `${NOW}${AVAILABLE}
-- KEYS: stream and delayed of each lane. ARGV: lease of the caller, partition, channel, names of the lanes.
-- Returns after how many milliseconds the next is due and the next lease may expire (-1: none), then for
-- each lane how much is to be had.
local time, lease = now(), tonumber(ARGV[1])
local reply = {-1, -1}
local function sooner(at, ms)
  if reply[at] < 0 or ms < reply[at] then reply[at] = ms end
end
local function reap(stream, held, pending)
  local isAll, moved, from = pending <= ${BATCH_MAX}, 0, '-'
  for _ = 1, isAll and 1 or 8 do
    local some = isAll and redis.call('XPENDING', stream, 'workers', '-', '+', ${BATCH_MAX})
      or redis.call('XPENDING', stream, 'workers', 'IDLE', lease, from, '+', ${BATCH_MAX})
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
    if #some < ${BATCH_MAX} then break end
  end
  -- Too many to ask each for its end.
  if not isAll and moved < held then sooner(2, math.ceil(lease / 4)) end
  return moved
end
for lane = 1, #KEYS / 2 do
  local stream, delayed = KEYS[2 * lane - 1], KEYS[2 * lane]
  local due = redis.call('ZRANGE', delayed, '-inf', time, 'BYSCORE', 'LIMIT', 0, ${BATCH_MAX})
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
  if moved > 0 then
    redis.call('PUBLISH', ARGV[3], ARGV[2] .. ' ' .. ARGV[3 + lane] .. ' ' .. moved)
  end
  local head = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if head[2] then sooner(1, math.max(0, tonumber(head[2]) - time)) end
  reply[lane + 2] = count
end
return reply
`,
)

/** Gives commands to a worker. */
export const LEASE: Script = script(
  'lease',
  `${NOW}${AVAILABLE}
-- KEYS: own, a stream for each lane. ARGV: consumer, worker, lease, epoch ('' without ownership, '0' to
-- take what is free), max, whether the first delivery counts at once, then for each lane: name, max,
-- priority, steps, and for each step after, levels.
-- Returns {0, epoch} if the partition is another's, else {1, epoch, the time, what is left of each lane,
-- the commands}. A command is a line with lane, entry, counter and length, and then its value.
local consumer, worker, time = ARGV[1], ARGV[2], now()
local owned, epoch = ARGV[4] ~= '', '0'
if owned then
  local own = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'until')
  epoch = own[2] or '0'
  local isMine = own[1] == worker and (ARGV[4] == '0' or ARGV[4] == epoch)
  local isFree = not own[1] or tonumber(own[3]) < time
  if not isMine then
    if ARGV[4] ~= '0' or not isFree then return {0, epoch} end
    epoch = string.format('%.0f', tonumber(epoch) + 1)
    redis.call('HSET', KEYS[1], 'owner', worker, 'epoch', epoch, 'until', time + ARGV[3])
  end
end
-- The first lease of an owner takes from its predecessors what they still have: after that nothing of
-- theirs counts, and it comes before what is younger.
local function sweep(stream, name)
  if redis.call('HGET', KEYS[1], 'swept:' .. name) == epoch then return end
  local from = '-'
  while from do
    local pending = redis.pcall('XPENDING', stream, 'workers', from, '+', ${BATCH_MAX})
    from = nil
    for _, held in ipairs(pending.err and {} or pending) do
      if held[2] ~= consumer and held[2] ~= '${RETURNED}' then
        redis.call('XCLAIM', stream, 'workers', '${RETURNED}', 0, held[1], 'JUSTID')
      end
      from = '(' .. held[1]
    end
  end
  redis.call('HSET', KEYS[1], 'swept:' .. name, epoch)
end
local function headOf(stream)
  local returned = redis.call('XPENDING', stream, 'workers', '-', '+', 1, '${RETURNED}')
  if returned[1] then return returned[1][1] end
  local info = redis.call('XINFO', 'GROUPS', stream)[1]
  local last
  for i = 1, #info, 2 do if info[i] == 'last-delivered-id' then last = info[i + 1] end end
  local fresh = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1)
  return fresh[1] and fresh[1][1]
end
local reply, lanes, at = {1, tonumber(epoch), time}, {}, 6
for lane = 1, #KEYS - 1 do
  local one = {lane = lane, stream = KEYS[1 + lane], max = tonumber(ARGV[at + 2]),
    priority = tonumber(ARGV[at + 3]), steps = tonumber(ARGV[at + 4]), at = at + 4}
  reply[3 + lane] = 0
  if redis.call('XLEN', one.stream) > 0 then
    if owned then sweep(one.stream, ARGV[at + 1]) end
    if available(one.stream) > 0 then lanes[#lanes + 1] = one end
  end
  at = at + 4 + 2 * one.steps
end
if #lanes > 1 then
  for _, one in ipairs(lanes) do
    local head = headOf(one.stream) or '0-0'
    local ms, order = string.match(head, '^(%d+)-(%d+)$')
    one.since, one.order = tonumber(ms), tonumber(order)
    local levels = 0
    for step = 1, one.steps do
      if time - one.since >= tonumber(ARGV[one.at + 2 * step - 1]) then
        levels = tonumber(ARGV[one.at + 2 * step])
      end
    end
    one.priority = math.max(0, one.priority - levels)
  end
  table.sort(lanes, function(a, b)
    if a.priority ~= b.priority then return a.priority < b.priority end
    if a.since ~= b.since then return a.since < b.since end
    return a.order < b.order
  end)
end
local left, given = tonumber(ARGV[5]), {}
local function give(one, entry, counter, fields)
  local value = fields and fields[2] or ''
  local n = #given
  given[n + 1] = string.format('%d %s %.0f %d\\n', one.lane, entry, counter, #value)
  given[n + 2] = value
  left = left - 1
end
for _, one in ipairs(lanes) do
  local quota = math.min(one.max, left)
  local isEmpty = false
  if quota > 0 then
    -- Everything that was given back is older than what was never given.
    local returned =
      redis.call('XPENDING', one.stream, 'workers', '-', '+', quota, '${RETURNED}')
    for _, pending in ipairs(returned) do
      local counter = pending[4] + ${GIVEN_AGAIN}
      local claimed = redis.call('XCLAIM', one.stream, 'workers', consumer, 0, pending[1],
        'RETRYCOUNT', string.format('%.0f', counter))
      if claimed[1] then give(one, pending[1], counter, claimed[1][2]) end
    end
    quota = quota - #returned
    if quota > 0 then
      local fresh = redis.call('XREADGROUP', 'GROUP', 'workers', consumer, 'COUNT', quota,
        'STREAMS', one.stream, '>')
      local entries = fresh and fresh[1][2] or {}
      for _, entry in ipairs(entries) do
        if ARGV[6] == '0' then
          redis.call('XCLAIM', one.stream, 'workers', consumer, 0, entry[1], 'RETRYCOUNT', 0, 'JUSTID')
        end
        give(one, entry[1], tonumber(ARGV[6]), entry[2])
      end
      isEmpty = #entries < quota
    end
  end
  if not isEmpty then reply[3 + one.lane] = available(one.stream) end
end
-- No delivery may outlast the ownership it was given under.
if owned and #given > 0 then redis.call('HSET', KEYS[1], 'until', time + ARGV[3]) end
reply[3 + #KEYS] = table.concat(given)
return reply
`,
)
