// Tidy script: removes lanes of a partition that have been empty for long, and consumers of dead
// processes from the others. Commands that come later find a lane that is new. By then the names of
// entries, which begin with the time, are others, so no old delivery is mistaken for a new one.
//
// KEYS  1   names of the lanes of the partition
//       2   owner of the partition
//       3…  stream and delayed set of each lane
//       then  keys of groups of each lane whose commands have some
// ARGV  1   age in ms of its last command at which an empty lane goes
//       2…  name of each lane
// Returns how many went.

import { GROUPS } from './groups.ts'
import { NOW, type Script, script } from './script.ts'

/** How long a consumer that has nothing may be idle: its process has ended. */
const CONSUMER_IDLE_MS = 3_600_000

export const TIDY: Script = script('tidy')`${NOW}${GROUPS}
local oldest, gone = now() - ARGV[1], 0
for lane = 1, #ARGV - 1 do
  local stream, delayed, name = KEYS[1 + 2 * lane], KEYS[2 + 2 * lane], ARGV[1 + lane]
  local groups, last, pending = redis.pcall('XINFO', 'GROUPS', stream), 0, 0
  for i = 1, groups[1] and #groups[1] or 0, 2 do
    local field, value = groups[1][i], groups[1][i + 1]
    if field == 'pending' then pending = value end
    if field == 'last-delivered-id' then last = tonumber(string.match(value, '^%d+')) end
  end
  local of = groupsOf(stream)
  local isEmpty = not (of and redis.call('ZCARD', of.waiting) > 0) and pending == 0 and redis.call('XLEN', stream) == 0 and redis.call('ZCARD', delayed) == 0
  if isEmpty and last < oldest then
    -- Removes it at once, and needs no right to DEL.
    redis.call('PEXPIRE', stream, 0)
    redis.call('SREM', KEYS[1], name)
    redis.call('HDEL', KEYS[2], 'swept:' .. name)
    local known = of and redis.call('HGET', KEYS[2], 'groups')
    local first, till = string.find(known or '', ' ' .. name .. ' ', 1, true)
    if first then
      known = string.sub(known, 1, first) .. string.sub(known, till + 1)
      if known == ' ' then
        redis.call('HDEL', KEYS[2], 'groups')
      else
        redis.call('HSET', KEYS[2], 'groups', known)
      end
    end
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
`
