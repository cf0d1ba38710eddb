// Drop script: forgets a dead command.
//
// KEYS  1  the dead by id
//       2  ids of the dead, by the time of their death
//       3  how many of each lane are dead
// ARGV  1  id
// Returns 1 if it was dead, else 0.

import { COUNT_DEAD, type Script, script } from './script.ts'

export const DROP: Script = script('drop')`${COUNT_DEAD}
local record = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if not record then return 0 end
countDead(KEYS[3], record, -1)
return redis.call('HDEL', KEYS[1], ARGV[1])
`
