// Redrive script: takes a command from the dead, to enqueue it again or to forget it.
//
// KEYS  1  the dead by id
//       2  ids of the dead, by the time of their death
//       3  how many of each lane are dead
//       4  key of the command; absent if it is to be forgotten
//       5  stream of its lane
//       6  names of the lanes of the partition
//       7  owner of the partition
//       8…  keys of groups, if it has one
// ARGV  1  id
//       2  lane
//       3  its group; empty if it has none
// Returns 1 if it was dead, 0 if not, -1 if it died in another lane than the caller thinks.

import { type Script, script } from './script.ts'

export const REDRIVE: Script = script('redrive')`
local record = redis.call('HGET', KEYS[1], ARGV[1])
local lane, reason, value, from = string.match(record or '', '^([^:]*):%d+:(%d+):(%d+):()')
-- It died again meanwhile, in another lane: the caller looks once more.
if record and KEYS[4] and lane ~= ARGV[2] then return -1 end
redis.call('ZREM', KEYS[2], ARGV[1])
if not record then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
countDead(KEYS[3], record, -1)
-- Somebody has enqueued the id again meanwhile: then there it is.
if not KEYS[4] or redis.call('GETRANGE', KEYS[4], 0, 0) == 'P' then return 1 end
from = from + reason
local entry = rewritten(string.sub(record, from, from + value - 1), function() return 0, 0, 0 end)
local stream, group = KEYS[5], ARGV[3]
local of = groupsOf(stream)
-- Its lane may have been removed while it was dead.
redis.call('SADD', KEYS[6], laneOf(stream))
if of then
  setWord(KEYS[7], 'groups', laneOf(stream), true)
  local order = G.nextOrder(of)
  redis.call('SET', KEYS[4], 'P@' .. G.mark(group) .. order)
  G.wait(of, group, order, dated(entry, now()))
else
  redis.call('SET', KEYS[4], 'P' .. redis.call('XADD', stream, '*', 'v', entry))
end
wake(stream, 1)
return 1
`
