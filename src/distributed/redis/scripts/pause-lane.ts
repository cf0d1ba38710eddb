// Pause-lane script: keeps the commands of a lane of a partition from being given out, or no more.
//
// KEYS  1  owner of the partition, with the lanes that are paused: a blank, and each with one
//       2  stream of the lane
//       3  stream of its commands that have groups
//       4…  keys of its groups
// ARGV  1  lane
//       2  `1` to pause it, `0` to resume it
// Returns 1 if that was new, else 0. Workers hear of it.

import { type Script, script } from './script.ts'

export const PAUSE_LANE: Script = script('pause-lane')`
local isPaused, of = ARGV[2] == '1', groupsOf(KEYS[3])
if not setWord(KEYS[1], 'paused', ARGV[1], isPaused) then return 0 end
if isPaused then
  wake(KEYS[2], 0, 'p')
else
  local count, turns = available(KEYS[2]), available(KEYS[3]) + G.readyIn(of)
  if count > 0 then wake(KEYS[2], count) end
  if turns > 0 then wake(KEYS[3], turns) end
end
return 1
`
