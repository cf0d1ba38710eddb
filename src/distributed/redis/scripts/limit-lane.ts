// Limit-lane script: sets or resets a limit of a lane for all workers.
//
// KEYS  1  limits that were set, by kind and lane
// ARGV  1  kind and lane
//       2  the limit; empty to reset it
//       3  channel of wakes
//       4  lane
// Returns 1. Workers hear of it.

import { type Script, script } from './script.ts'

export const LIMIT_LANE: Script = script('limit-lane')`
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
redis.call('PUBLISH', ARGV[3], 'l0 ' .. ARGV[4] .. ' 0')
return 1
`
