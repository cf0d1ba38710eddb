// Tidy script: removes lanes of a partition that have been empty for long, and consumers of dead
// processes from the others. Commands that come later find a lane that is new. By then the names of
// entries, which begin with the time, are others, so no old delivery is mistaken for a new one.
//
// KEYS  1   names of the lanes of the partition
//       2   owner of the partition
//       3…  stream and delayed set of each lane
//       then  keys of groups of each lane whose commands have some
// ARGV  1  age in ms of its last command at which an empty lane goes
//       2  how many lanes
// Returns how many went.

import { type Script, script } from './script.ts'

/** How long a consumer that has nothing may be idle: its process has ended. */
const CONSUMER_IDLE_MS = 3_600_000

export const TIDY: Script = script('tidy')`
local oldest, gone = now() - ARGV[1], 0
for lane = 1, ARGV[2] do
  local stream, delayed = KEYS[1 + 2 * lane], KEYS[2 + 2 * lane]
  local info, of, name = groupInfo(stream), groupsOf(stream), laneOf(stream)
  local last = tonumber(string.match(info['last-delivered-id'] or '0', '^%d+'))
  local isEmpty = (info.pending or 0) == 0 and redis.call('XLEN', stream) == 0
    and redis.call('ZCARD', delayed) == 0 and not (of and redis.call('ZCARD', of.waiting) > 0)
  if isEmpty and last < oldest then
    -- Removes it at once, and needs no right to DEL.
    redis.call('PEXPIRE', stream, 0)
    redis.call('SREM', KEYS[1], name)
    redis.call('HDEL', KEYS[2], 'swept:' .. name)
    if of then setWord(KEYS[2], 'groups', name, false) end
    gone = gone + 1
  elseif info.pending then
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
