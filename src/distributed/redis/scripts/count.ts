// Count script: counts what a partition holds.
//
// KEYS  1   ids of the dead, by the time of their death
//       2…  stream and delayed set of each lane
//       then  keys of groups of each lane whose commands have some
// ARGV  1   how many lanes
// Returns how many are dead; then of each lane: waiting and leased, leased, delayed.

import { GROUPS } from './groups.ts'
import { AVAILABLE, type Script, script } from './script.ts'

/** See the table above. */
export const COUNT: Script = script('count')`${AVAILABLE}${GROUPS}
local reply = {redis.call('ZCARD', KEYS[1])}
for i = 2, 2 * ARGV[1], 2 do
  local length, of = redis.call('XLEN', KEYS[i]), groupsOf(KEYS[i])
  reply[#reply + 1] = length + (of and redis.call('ZCARD', of.waiting) or 0)
  reply[#reply + 1] = length > 0 and leased(KEYS[i]) or 0
  reply[#reply + 1] = redis.call('ZCARD', KEYS[i + 1])
end
return reply
`
