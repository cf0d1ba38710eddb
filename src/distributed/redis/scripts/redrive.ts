// Redrive script: enqueues a dead command again.
//
// KEYS  1  the dead by id
//       2  ids of the dead, by the time of their death
//       3  how many of each lane are dead
//       4  key of the command
//       5  stream of its lane
//       6…  keys of groups, if it has one
// ARGV  1  id
//       2  lane
//       3  partition
//       4  channel of wakes
//       5  its group; empty if it has none
// Returns 1 if it was dead, 0 if not, -1 if it died in another lane than the caller thinks.

import { DATED, GROUPS } from './groups.ts'
import { COUNT_DEAD, NOW, type Script, script } from './script.ts'

export const REDRIVE: Script = script('redrive')`${NOW}${GROUPS}${DATED}${COUNT_DEAD}
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then return 0 end
local lane, reason, value, from = string.match(record, '^([^:]*):%d+:(%d+):(%d+):()')
-- It died again meanwhile, in another lane: the caller looks once more.
if lane ~= ARGV[2] then return -1 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
countDead(KEYS[3], record, -1)
-- Somebody has enqueued the id again meanwhile: then there it is.
if redis.call('GETRANGE', KEYS[4], 0, 0) == 'P' then return 1 end
from = from + reason
local entry = string.sub(record, from, from + value - 1)
local id, body = string.match(entry, '^([^:]*):%d+:%d+:%d+:()')
if id then entry = id .. ':0:0:0:' .. string.sub(entry, body) end
local of, group = groupsOf(KEYS[5]), ARGV[5]
if of then
  local order = G.nextOrder(of)
  redis.call('SET', KEYS[4], 'P@' .. G.mark(group) .. order)
  G.wait(of, group, order, dated(entry, now()))
  G.announce(of, 1)
  return 1
end
redis.call('SET', KEYS[4], 'P' .. redis.call('XADD', KEYS[5], '*', 'v', entry))
redis.call('PUBLISH', ARGV[4], ARGV[3] .. ' ' .. lane .. ' 1')
return 1
`
