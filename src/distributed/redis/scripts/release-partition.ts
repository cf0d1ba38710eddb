// Release-partition script: gives a partition up. The epoch stays, so that of the next owner is
// higher.
//
// KEYS  1  owner of the partition
// ARGV  1  worker
//       2  channel of wakes
// Returns 1 if it was the worker's, else 0.

import { type Script, script } from './script.ts'

export const RELEASE_PARTITION: Script = script('release-partition')`
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'owner', 'until')
redis.call('PUBLISH', ARGV[2], '!')
return 1
`
