// Meta script: fixes partitions and strategy of a queue, or returns those that it has.
//
// KEYS  1  what was fixed
// ARGV  1  format
//       2  partitions
//       3  strategy
// Returns 1 if the queue is new, else 0; then format, partitions and strategy as they are.

import { type Script, script } from './script.ts'

export const META: Script = script('meta')`
local found = redis.call('HMGET', KEYS[1], 'format', 'partitions', 'strategy')
if found[1] then return {0, found[1], found[2], found[3]} end
redis.call('HSET', KEYS[1], 'format', ARGV[1], 'partitions', ARGV[2], 'strategy', ARGV[3])
return {1, ARGV[1], ARGV[2], ARGV[3]}
`
