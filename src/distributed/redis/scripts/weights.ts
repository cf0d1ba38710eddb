// Weights script: stores the weights of a lane's groups.
// Owns: nothing; text only.
//
// KEYS  1  weights of the lane
// ARGV  1   name of the whole
//       2   how long they are kept, ms; a lease that finds none makes its worker send them again
//       3…  of each group: name, weight
// Returns 1.

import { type Script, script } from './script.ts'

export const WEIGHTS: Script = script('weights')`
redis.call('PEXPIRE', KEYS[1], 0)
redis.call('HSET', KEYS[1], '', ARGV[1])
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
`
