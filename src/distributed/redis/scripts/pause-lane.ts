// Pause-lane script: keeps the commands of a lane of a partition from being given out, or no more.
//
// KEYS  1  owner of the partition, with the lanes that are paused: a blank, and each with one
//       2  stream of the lane
//       3  stream of its commands that have groups
//       4…  keys of its groups
// ARGV  1  lane
//       2  `1` to pause it, `0` to resume it
//       3  partition
//       4  channel of wakes
// Returns 1 if that was new, else 0. Workers hear of it.

import { GROUPS } from './groups.ts'
import { AVAILABLE, type Script, script } from './script.ts'

export const PAUSE_LANE: Script = script('pause-lane')`${AVAILABLE}${GROUPS}
local paused, word = redis.call('HGET', KEYS[1], 'paused') or ' ', ' ' .. ARGV[1] .. ' '
local from, to = string.find(paused, word, 1, true)
if (from ~= nil) == (ARGV[2] == '1') then return 0 end
if from then
  paused = string.sub(paused, 1, from) .. string.sub(paused, to + 1)
else
  paused = paused .. ARGV[1] .. ' '
end
if paused == ' ' then
  redis.call('HDEL', KEYS[1], 'paused')
else
  redis.call('HSET', KEYS[1], 'paused', paused)
end
local count, of = from and available(KEYS[2]) or 0, groupsOf(KEYS[3])
if from and G.readyIn(of) > 0 then G.announce(of, G.readyIn(of)) end
if not from then
  redis.call('PUBLISH', ARGV[4], 'p' .. ARGV[3] .. ' ' .. ARGV[1] .. ' 0')
elseif count > 0 then
  redis.call('PUBLISH', ARGV[4], ARGV[3] .. ' ' .. ARGV[1] .. ' ' .. count)
end
return 1
`
