// Limit script: sets a limit of a lane for all workers, or removes it, and announces that.
//
// KEYS  1  limits that were set for all workers
// ARGV  1  field of the limit
//       2  the limit; empty: none any more
//       3  channel of wakes
//       4  what is announced there
// Returns 1.

import { type Script, script } from './script.ts'

export const LIMIT: Script = script('limit')`
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
`
