// Announce-worker script: a worker says that it lives and how it stands, or that it leaves.
//
// KEYS  1  workers that live, by when they count as dead
//       2  what each says of itself
// ARGV  1  worker
//       2  how long it counts as living, ms; 0: it leaves
//       3  what it says of itself
// Returns 1.

import { NOW, type Script, script } from './script.ts'

export const ANNOUNCE_WORKER: Script = script('announce-worker')`${NOW}
local time, ttl = now(), tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], ttl > 0 and time + ttl or 0, ARGV[1])
if ttl > 0 then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
for _, worker in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', time, 'BYSCORE')) do
  redis.call('ZREM', KEYS[1], worker)
  redis.call('HDEL', KEYS[2], worker)
end
return 1
`
