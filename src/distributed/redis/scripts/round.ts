// Round script: takes the present round of the janitor, unless another worker has it.
//
// KEYS  1  who has the round
// ARGV  1  worker
//       2  how long the round is its own, ms
// Returns 1 if it is this worker's, else 0.

import { type Script, script } from './script.ts'

export const ROUND: Script = script('round')`
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
`
