// Count script: counts what a partition holds.
//
// KEYS  1   ids of the dead, by the time of their death
//       2   the dead by id
//       3   how many of each lane are dead
//       4…  stream and delayed set of each lane
//       then  keys of groups of each lane whose commands have some
// ARGV  1   how many lanes
// Returns how many are dead, and each lane with how many of it are; then of each lane: waiting and
// leased, leased, delayed.

import { type Script, script } from './script.ts'

/** Most dead commands of a partition that are counted anew: other clients wait meanwhile. */
const RECOUNT_MAX = 10_000

export const COUNT: Script = script('count')`
local dead, lanes, sum = redis.call('ZCARD', KEYS[1]), redis.call('HGETALL', KEYS[3]), 0
for i = 2, #lanes, 2 do sum = sum + lanes[i] end
if sum ~= dead and dead <= ${RECOUNT_MAX} then
  -- A version that does not count by lane has been here: all are counted, once.
  redis.call('PEXPIRE', KEYS[3], 0)
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    countDead(KEYS[3], redis.call('HGET', KEYS[2], id) or '', 1)
  end
  lanes = redis.call('HGETALL', KEYS[3])
end
local reply = {dead, lanes}
for i = 4, 2 + 2 * ARGV[1], 2 do
  local length, of = redis.call('XLEN', KEYS[i]), groupsOf(KEYS[i])
  reply[#reply + 1] = length + (of and redis.call('ZCARD', of.waiting) or 0)
  reply[#reply + 1] = length > 0 and leased(KEYS[i]) or 0
  reply[#reply + 1] = redis.call('ZCARD', KEYS[i + 1])
end
return reply
`
