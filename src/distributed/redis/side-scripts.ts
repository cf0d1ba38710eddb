// Side scripts: everything around the path of a command: the queue's own facts, the dead, who owns
// what, and the limits that all workers share.
// Thread: main.   Owns: nothing; text only.

import { AVAILABLE, NOW, type Script, script } from './script.ts'

/** How long a consumer that has nothing may be idle: its process has ended. */
const CONSUMER_IDLE_MS = 3_600_000

/** Fixes what a queue is, or tells what it was made as. */
export const META: Script = script(
  'meta',
  `
-- KEYS: meta. ARGV: format, partitions, strategy.
local found = redis.call('HMGET', KEYS[1], 'format', 'partitions', 'strategy')
if found[1] then return {0, found[1], found[2], found[3]} end
redis.call('HSET', KEYS[1], 'format', ARGV[1], 'partitions', ARGV[2], 'strategy', ARGV[3])
return {1, ARGV[1], ARGV[2], ARGV[3]}
`,
)

/** Counts what a partition holds. */
export const COUNT: Script = script(
  'count',
  `${AVAILABLE}
-- KEYS: order of the dead, then stream and delayed of each lane.
-- Returns the dead, then for each lane: waiting and leased, leased, kept back.
local reply = {redis.call('ZCARD', KEYS[1])}
for i = 2, #KEYS, 2 do
  local length = redis.call('XLEN', KEYS[i])
  reply[#reply + 1] = length
  reply[#reply + 1] = length > 0 and leased(KEYS[i]) or 0
  reply[#reply + 1] = redis.call('ZCARD', KEYS[i + 1])
end
return reply
`,
)

/** Tells what a worker has. */
export const HELD_BY: Script = script(
  'held-by',
  `
-- KEYS: the streams. ARGV: consumer. Returns stream, entry, counter of each.
local reply = {}
for i, stream in ipairs(KEYS) do
  local held = redis.pcall('XPENDING', stream, 'workers', '-', '+', 10000, ARGV[1])
  for _, pending in ipairs(held.err and {} or held) do
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3] = i, pending[1], pending[4]
  end
end
return reply
`,
)

/** Forgets results. Commands that are pending stay. */
export const FORGET: Script = script(
  'forget',
  `
-- KEYS: the key of each command. Returns how many had ended.
local forgotten = 0
for _, key in ipairs(KEYS) do
  -- Removes it at once, and needs no right to DEL.
  if redis.call('GETRANGE', key, 0, 0) == 'E' then forgotten = forgotten + redis.call('PEXPIRE', key, 0) end
end
return forgotten
`,
)

/** Lists the dead of a partition. */
export const LIST_DEAD: Script = script(
  'list-dead',
  `
-- KEYS: dead, order of the dead. ARGV: most of them. Returns id and record of each, the oldest first.
local reply = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1)) do
  reply[#reply + 1] = id
  reply[#reply + 1] = redis.call('HGET', KEYS[1], id) or ''
end
return reply
`,
)

/** Enqueues a dead command again. */
export const REDRIVE: Script = script(
  'redrive',
  `
-- KEYS: dead, order of the dead, key of the command, stream. ARGV: id, lane, partition, channel.
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then return 0 end
local lane, reason, value, from = string.match(record, '^([^:]*):%d+:(%d+):(%d+):()')
-- It died again meanwhile, in another lane: the caller looks once more.
if lane ~= ARGV[2] then return -1 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
-- Somebody has enqueued the id again meanwhile: then there it is.
if redis.call('GETRANGE', KEYS[3], 0, 0) == 'P' then return 1 end
from = from + reason
local entry = string.sub(record, from, from + value - 1)
local id, body = string.match(entry, '^([^:]*):%d+:%d+:%d+:()')
if id then entry = id .. ':0:0:0:' .. string.sub(entry, body) end
redis.call('SET', KEYS[3], 'P')
redis.call('XADD', KEYS[4], '*', 'v', entry)
redis.call('PUBLISH', ARGV[4], ARGV[3] .. ' ' .. lane .. ' 1')
return 1
`,
)

/** Forgets a dead command. */
export const DROP: Script = script(
  'drop',
  `
-- KEYS: dead, order of the dead. ARGV: id.
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
`,
)

/** A worker says that it lives, or that it leaves. */
export const MEMBERS: Script = script(
  'members',
  `${NOW}
-- KEYS: members. ARGV: worker, how long it counts as living (0: it leaves), channel.
-- Returns those who live.
local time, ttl = now(), tonumber(ARGV[2])
local changed = redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time)
if ttl > 0 then
  changed = changed + redis.call('ZADD', KEYS[1], time + ttl, ARGV[1])
else
  changed = changed + redis.call('ZREM', KEYS[1], ARGV[1])
end
if changed > 0 then redis.call('PUBLISH', ARGV[3], '!') end
return redis.call('ZRANGE', KEYS[1], 0, -1)
`,
)

/** Renews partitions, or takes those that are free. One call for all: most workers are idle. */
export const OWN: Script = script(
  'own',
  `${NOW}
-- KEYS: own of each partition. ARGV: worker, lease, a letter for each partition: 1 if it is to be taken if
-- it is free. Returns for each whether it is the worker's, and the epoch.
local time, reply = now(), {}
for i, key in ipairs(KEYS) do
  local own = redis.call('HMGET', key, 'owner', 'epoch', 'until')
  local epoch = tonumber(own[2] or 0)
  local isMine = own[1] == ARGV[1]
  local isFree = not own[1] or tonumber(own[3]) < time
  if not isMine and isFree and string.sub(ARGV[3], i, i) == '1' then
    isMine, epoch = true, epoch + 1
    redis.call('HSET', key, 'owner', ARGV[1], 'epoch', string.format('%.0f', epoch))
  end
  if isMine then redis.call('HSET', key, 'until', time + ARGV[2]) end
  reply[2 * i - 1], reply[2 * i] = isMine and 1 or 0, epoch
end
return reply
`,
)

/** Gives a partition up. The epoch stays: the next owner has a higher one. */
export const YIELD: Script = script(
  'yield',
  `
-- KEYS: own. ARGV: worker, channel.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'owner', 'until')
redis.call('PUBLISH', ARGV[2], '!')
return 1
`,
)

/**
 * Grants permits by the generic cell rate algorithm. A batch of k is granted at t and may be used
 * until t + E, so it is admitted as if used now and charged as if used then.
 */
export const PERMITS: Script = script(
  'permits',
  `
-- KEYS: rate. ARGV: microseconds between starts, of the window, of validity, permits wanted.
-- Returns permits granted, and the microseconds after which one more might be.
local clock = redis.call('TIME')
local time = clock[1] * 1000000 + clock[2]
local step, window, validity = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tolerance = window - step
local due = math.max(time, tonumber(redis.call('GET', KEYS[1]) or 0))
-- Only a clock that was set back can make it later than this.
due = math.min(due, time + validity + window)
local granted = math.floor((time + tolerance - due) / step) + 1
granted = math.max(0, math.min(granted, tonumber(ARGV[4])))
if granted > 0 then
  due = math.max(due, time + validity) + granted * step
  redis.call('SET', KEYS[1], string.format('%.3f', due), 'PX', math.ceil((due - time + window) / 1000))
end
return {granted, math.ceil(math.max(0, due - tolerance - time))}
`,
)

/** Takes places among those that run, or keeps those that one has. */
export const PLACES: Script = script(
  'places',
  `${NOW}
-- KEYS: places. ARGV: how many there are, how long they are kept, the holders.
-- Returns 1 for each holder that has one.
local time, reply = now(), {}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time)
local free = ARGV[1] - redis.call('ZCARD', KEYS[1])
for i = 3, #ARGV do
  local has = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if not has and free > 0 then
    free = free - 1
    has = true
  end
  if has then redis.call('ZADD', KEYS[1], time + ARGV[2], ARGV[i]) end
  reply[#reply + 1] = has and 1 or 0
end
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2])
return reply
`,
)

/** Gives places back, and tells those who wait for one. */
export const DROP_PLACES: Script = script(
  'drop-places',
  `
-- KEYS: places. ARGV: channel, the holders.
local dropped = 0
for i = 2, #ARGV do dropped = dropped + redis.call('ZREM', KEYS[1], ARGV[i]) end
if dropped > 0 then redis.call('PUBLISH', ARGV[1], '') end
return dropped
`,
)

/** A worker says which lanes it takes. */
export const ANNOUNCE_LANES: Script = script(
  'announce-lanes',
  `${NOW}
-- KEYS: lanes. ARGV: lease, how long names are remembered, the lanes.
local time = now()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time - ARGV[2])
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], 'GT', time + ARGV[1], ARGV[i]) end
return 1
`,
)

/** Tells what workers have said of lanes. */
export const LOOK_LANES: Script = script(
  'look-lanes',
  `${NOW}
-- KEYS: lanes. ARGV: how long names are remembered, most names to tell, the lanes.
-- Returns a letter for each lane (s: a worker that lives takes it, u: one has, ?: none ever has), then names
-- that workers have said, the latest first.
local time, states = now(), {}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time - ARGV[1])
local isNew = redis.call('ZCARD', KEYS[1]) == 0
for i = 3, #ARGV do
  local till = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or nil)
  states[i - 2] = (till or isNew) and ((till or 0) >= time and 's' or 'u') or '?'
end
local reply = redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1, 'REV')
table.insert(reply, 1, table.concat(states))
return reply
`,
)

/**
 * Removes lanes of a partition that have been empty for long, and what dead processes left in the
 * others. Commands that come later find a lane that is new. By then the names of entries, which
 * begin with the time, are others, so no old delivery can be mistaken for a new one.
 */
export const TIDY: Script = script(
  'tidy',
  `${NOW}
-- KEYS: lanes, own, then stream and delayed of each lane. ARGV: age in ms of the last command at which an
-- empty lane goes, then the names. Returns how many went.
local oldest, gone = now() - ARGV[1], 0
for lane = 1, #ARGV - 1 do
  local stream, delayed, name = KEYS[1 + 2 * lane], KEYS[2 + 2 * lane], ARGV[1 + lane]
  local groups, last, pending = redis.pcall('XINFO', 'GROUPS', stream), 0, 0
  for i = 1, groups[1] and #groups[1] or 0, 2 do
    local field, value = groups[1][i], groups[1][i + 1]
    if field == 'pending' then pending = value end
    if field == 'last-delivered-id' then last = tonumber(string.match(value, '^%d+')) end
  end
  local isEmpty = pending == 0 and redis.call('XLEN', stream) == 0 and redis.call('ZCARD', delayed) == 0
  if isEmpty and last < oldest then
    -- Removes it at once, and needs no right to DEL.
    redis.call('PEXPIRE', stream, 0)
    redis.call('SREM', KEYS[1], name)
    redis.call('HDEL', KEYS[2], 'swept:' .. name)
    gone = gone + 1
  elseif groups[1] then
    -- One with something pending must never be deleted: what it has would be lost.
    for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', stream, 'workers')) do
      local about = {}
      for i = 1, #fields, 2 do about[fields[i]] = fields[i + 1] end
      if about.pending == 0 and about.idle > ${CONSUMER_IDLE_MS} then
        redis.call('XGROUP', 'DELCONSUMER', stream, 'workers', about.name)
      end
    end
  end
end
return gone
`,
)
