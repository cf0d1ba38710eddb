// Lease script: gives commands to a worker, the most urgent lane first.
//
// KEYS  1   owner of the partition, with the lanes that are paused
//       2…  stream of each lane
// ARGV  1   consumer
//       2   worker
//       3   lease, ms
//       4   epoch of the owner; `0` takes what is free; empty where partitions have no owners
//       5   most commands
//       6   counter of the first giving, 0 or 1
//       7…  of each lane: name, most commands, priority, how many boosts; of each boost: age in ms,
//           levels
// Returns 0 and the epoch if the partition is another worker's. Else 1, the epoch, the time in ms,
// for each lane how much is left, and the commands: each a line with lane, entry, counter and
// length, and then its value.

import { AVAILABLE, GIVEN_AGAIN, NOW, RETURNED, SCRIPT_MAX, type Script, script } from './script.ts'

/** See the table above. */
export const LEASE: Script = script('lease')`${NOW}${AVAILABLE}
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
    local pending = redis.pcall('XPENDING', stream, 'workers', from, '+', ${SCRIPT_MAX})
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
local paused = redis.call('HGET', KEYS[1], 'paused')
local function isPaused(name) return paused and string.find(paused, ' ' .. name .. ' ', 1, true) end
local reply, lanes, at = {1, tonumber(epoch), time}, {}, 6
for lane = 1, #KEYS - 1 do
  local one = {lane = lane, stream = KEYS[1 + lane], max = tonumber(ARGV[at + 2]),
    priority = tonumber(ARGV[at + 3]), steps = tonumber(ARGV[at + 4]), at = at + 4}
  reply[3 + lane] = 0
  if not isPaused(ARGV[at + 1]) and redis.call('XLEN', one.stream) > 0 then
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
`
