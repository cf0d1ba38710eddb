// Lease script: gives commands to a worker, the most urgent lane first.
//
// KEYS  1   owner of the partition, with the lanes that are paused
//       2…  stream of each lane; that of its commands with groups follows that of those without
//       then  keys of groups of each lane whose commands have some
// ARGV  1   consumer
//       2   worker
//       3   lease, ms
//       4   epoch of the owner; `0` takes what is free; empty where partitions have no owners
//       5   most commands
//       6   counter of the first giving, 0 or 1
//       7…  of each lane: most commands, priority, how many boosts; of each boost: age in ms,
//           levels. For commands with groups then: most of a group, ms between two starts of one,
//           ms of the window, ms for which a start is allowed, name of the weights; or empty
// Returns 0 and the epoch if the partition is another worker's. Else 1, the epoch, the time in ms,
// for each lane how much is left, and the commands: each a line with lane, entry, counter and
// length, and then its value. Where there are lanes of commands with groups then: in how many ms
// the rate of a group allows a start (-1: unknown), and numbers of lanes whose weights must be said
// first.

import { type Script, script } from './script.ts'

export const LEASE: Script = script('lease', {
  isOnce: true,
})`
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
    local pending = pendingIn(stream, from, '+', SCRIPT_MAX)
    from = nil
    for _, held in ipairs(pending) do
      if held[2] ~= consumer and held[2] ~= RETURNED then
        redis.call('XCLAIM', stream, 'workers', RETURNED, 0, held[1], 'JUSTID')
      end
      from = '(' .. held[1]
    end
  end
  redis.call('HSET', KEYS[1], 'swept:' .. name, epoch)
end
local function headOf(stream)
  local returned = pendingIn(stream, '-', '+', 1, RETURNED)
  if returned[1] then return returned[1][1] end
  local last = groupInfo(stream)['last-delivered-id']
  local fresh = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1)
  return fresh[1] and fresh[1][1]
end
local paused = redis.call('HGET', KEYS[1], 'paused')
local function isPaused(name) return paused and string.find(paused, ' ' .. name .. ' ', 1, true) end
local reply, asked, lanes, at, room = {1, tonumber(epoch), time}, {}, {}, 6, nil
local clock, ripeIn, unweighed = time, -1, ''
local function ripenIn(ms)
  ms = math.max(1, math.ceil(ms))
  if ripeIn < 0 or ms < ripeIn then ripeIn = ms end
end
local function isReady(one)
  if not one.of then
    if redis.call('XLEN', one.stream) == 0 then return false end
    if owned then sweep(one.stream, one.name) end
    return available(one.stream) > 0
  end
  if redis.call('XLEN', one.stream) > 0 then
    if owned then sweep(one.stream, one.name) end
    if not G.comeBack(one) then
      -- Younger ones wait for the rest, which comes at once with the next lease.
      reply[3 + one.lane], ripeIn = 1, 1
      return false
    end
  end
  local fine = redis.call('TIME')
  clock = fine[1] * 1000 + fine[2] / 1000
  local ripeAt = G.ripen(one.of, clock)
  if ripeAt then ripenIn(ripeAt - clock) end
  local weights = ARGV[one.terms + 4]
  if weights ~= '' and redis.call('HGET', one.of.weights, '') ~= weights then
    unweighed = unweighed .. one.lane .. ' '
    return false
  end
  return G.readyIn(one.of) > 0
end
while at < #ARGV do
  local lane = #asked + 1
  local stream = KEYS[1 + lane]
  local one = {lane = lane, stream = stream, name = laneOf(stream), at = at + 3,
    priority = tonumber(ARGV[at + 2]), steps = tonumber(ARGV[at + 3]), of = groupsOf(stream)}
  -- Commands with and without groups share the most of their lane.
  if not one.of then room = {left = tonumber(ARGV[at + 1])} end
  one.room, one.terms = room, at + 4 + 2 * one.steps
  at = at + 3 + 2 * one.steps + (one.of and 5 or 0)
  asked[lane], reply[3 + lane] = one, 0
end
if G then
  -- What was given back takes its place in its group again, and its slot with it. Whether all has.
  function G.comeBack(one)
    local back, size = pendingIn(one.stream, '-', '+', SCRIPT_MAX, RETURNED), 0
    for _, returned in ipairs(back) do
      if size >= ANSWER_BYTES then return false end
      local found = redis.call('XRANGE', one.stream, returned[1], returned[1])[1]
      if found then
        local fields = found[2]
        size = size + #fields[2]
        G.wait(one.of, fields[4], fields[6], rewritten(fields[2], function(retries, spent, since)
          return retries, spent + returned[4] % GIVEN_AGAIN, since
        end))
      end
      remove(one.stream, returned[1])
    end
    return #back < SCRIPT_MAX
  end
  function G.headOf(of)
    local group = redis.call('ZRANGE', of.turns, 0, 0)[1]
    local first = group and G.firstOf(of, group)
    local since = first and string.match(first, '^[^:]*:%d+:%d+:(%d+):', #G.mark(group) + 17)
    return (since or '0') .. '-0'
  end
end
for _, one in ipairs(asked) do
  if not isPaused(one.of and string.sub(one.name, 2) or one.name) and isReady(one) then
    lanes[#lanes + 1] = one
  end
end
if #lanes > 1 then
  for _, one in ipairs(lanes) do
    local head = one.of and G.headOf(one.of) or headOf(one.stream) or '0-0'
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
local left, given, bytes = tonumber(ARGV[5]), {}, 0
local function give(one, entry, counter, fields)
  local value = fields and fields[2] or ''
  local n = #given
  given[n + 1] = string.format('%d %s %.0f %d\\n', one.lane, entry, counter, #value)
  given[n + 2] = value
  left, one.room.left, bytes = left - 1, one.room.left - 1, bytes + #value
end
if G then
  -- Lets groups take turns, and gives what they release.
  function G.takeTurns(one, quota)
    local of, terms, released = one.of, one.terms, {}
    local most, step = tonumber(ARGV[terms]), tonumber(ARGV[terms + 1])
    local window, validity = tonumber(ARGV[terms + 2]), tonumber(ARGV[terms + 3])
    local virtual, outs, more = G.number(of, 'at'), G.number(of, 'out'), 0
    if step then redis.call('ZREMRANGEBYSCORE', of.rates, '-inf', clock) end
    for _ = 1, quota + PASSED_MAX do
      local head = redis.call('ZRANGE', of.turns, 0, 0, 'WITHSCORES')
      local group = head[1]
      if #released == quota or not group or bytes + more >= ANSWER_BYTES then break end
      local first, out = G.firstOf(of, group), G.number(of, '.' .. group)
      local due = step and math.max(clock, tonumber(redis.call('ZSCORE', of.rates, group) or 0))
      -- Only a clock that was set back can make it later than this.
      if due then due = math.min(due, clock + validity + window) end
      local isSpent = due and due - window + step > clock
      if not first or most and out >= most then
        redis.call('ZREM', of.turns, group)
      elseif isSpent then
        redis.call('ZREM', of.turns, group)
        redis.call('ZADD', of.parked, G.tag(due - window + step), group)
        ripenIn(due - window + step - clock)
      else
        virtual = tonumber(head[2])
        redis.call('ZREM', of.waiting, first)
        local from = #G.mark(group)
        local value = string.sub(first, from + 17)
        local entry = redis.call('XADD', one.stream, '*', 'v', value, 'g', group, 'o',
          string.sub(first, from + 1, from + 15))
        outs = outs + 1
        redis.call('HSET', of.state, '@' .. entry, group, '.' .. group, out + 1)
        if step then
          -- Charged as if it started last of all.
          redis.call('ZADD', of.rates, G.tag(math.max(due, clock + validity) + step), group)
          redis.call('PEXPIRE', of.rates, math.ceil(2 * (validity + window)))
        end
        if G.firstOf(of, group) then
          redis.call('ZADD', of.turns, G.tag(virtual + G.share(of, group)), group)
        else
          redis.call('ZREM', of.turns, group)
        end
        released[#released + 1], more = value, more + #value
      end
    end
    if #released == 0 then return end
    redis.call('HSET', of.state, 'at', G.tag(virtual), 'out', outs)
    leased(one.stream)
    local fresh = redis.call('XREADGROUP', 'GROUP', 'workers', consumer, 'COUNT', #released,
      'STREAMS', one.stream, '>')
    for i, entry in ipairs(fresh[1][2]) do
      local spent = string.match(released[i], '^[^:]*:%d+:(%d+):')
      local isUncounted = ARGV[6] == '0' or spent ~= '0'
      if isUncounted then
        redis.call('XCLAIM', one.stream, 'workers', consumer, 0, entry[1], 'RETRYCOUNT', 0, 'JUSTID')
      end
      give(one, entry[1], isUncounted and 0 or 1, entry[2])
    end
  end
end
for _, one in ipairs(lanes) do
  local quota = math.min(one.room.left, left)
  local isEmpty = false
  if one.of then
    if quota > 0 then G.takeTurns(one, quota) end
  elseif quota > 0 then
    -- Everything that was given back is older than what was never given.
    local returned = pendingIn(one.stream, '-', '+', quota, RETURNED)
    for _, pending in ipairs(returned) do
      if bytes >= ANSWER_BYTES then break end
      local counter = pending[4] + GIVEN_AGAIN
      local claimed = redis.call('XCLAIM', one.stream, 'workers', consumer, 0, pending[1],
        'RETRYCOUNT', string.format('%.0f', counter))
      if claimed[1] then give(one, pending[1], counter, claimed[1][2]) end
    end
    quota = quota - #returned
    while quota > 0 and bytes < ANSWER_BYTES and not isEmpty do
      local count = math.min(quota, READ_MAX)
      local fresh = redis.call('XREADGROUP', 'GROUP', 'workers', consumer, 'COUNT', count,
        'STREAMS', one.stream, '>')
      local entries = fresh and fresh[1][2] or {}
      for _, entry in ipairs(entries) do
        if ARGV[6] == '0' then
          redis.call('XCLAIM', one.stream, 'workers', consumer, 0, entry[1], 'RETRYCOUNT', 0, 'JUSTID')
        end
        give(one, entry[1], tonumber(ARGV[6]), entry[2])
      end
      isEmpty, quota = #entries < count, quota - count
    end
  end
  if one.of then
    reply[3 + one.lane] = G.readyIn(one.of)
    G.forget(one.of)
  elseif not isEmpty then
    reply[3 + one.lane] = available(one.stream)
  end
end
-- No delivery may outlast the ownership it was given under.
if owned and #given > 0 then redis.call('HSET', KEYS[1], 'until', time + ARGV[3]) end
reply[4 + #asked] = table.concat(given)
if G then reply[5 + #asked], reply[6 + #asked] = ripeIn, unweighed end
return reply
`
