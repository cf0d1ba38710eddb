// Members script: a worker says that it lives, or that it leaves.
//
// KEYS  1  workers that live, by when they count as dead
// ARGV  1  worker
//       2  how long it counts as living, ms; 0: it leaves
//       3  channel of wakes
// Returns the workers that live.

import { NOW, type Script, script } from './script.ts'

export const MEMBERS: Script = script('members')`${NOW}
local time, ttl = now(), tonumber(ARGV[2])
local changed = redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time)
if ttl > 0 then
  changed = changed + redis.call('ZADD', KEYS[1], time + ttl, ARGV[1])
else
  changed = changed + redis.call('ZREM', KEYS[1], ARGV[1])
end
if changed > 0 then redis.call('PUBLISH', ARGV[3], '!') end
return redis.call('ZRANGE', KEYS[1], 0, -1)
`
