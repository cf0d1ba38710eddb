// Drop script: forgets a dead command.
//
// KEYS  1  the dead by id
//       2  ids of the dead, by the time of their death
// ARGV  1  id
// Returns 1 if it was dead, else 0.

import { type Script, script } from './script.ts'

/** See the table above. */
export const DROP: Script = script('drop')`
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
`
