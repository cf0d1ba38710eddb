// Live script: a worker says that it lives, or that it leaves; or somebody asks who lives.
//
// KEYS  1  workers that live, by when they count as dead
//       2  what each says of itself; absent if they say nothing
// ARGV  1  worker; empty: somebody asks
//       2  how long it counts as living, ms; 0: it leaves, or somebody asks
//       3  channel on which workers hear of those that came or went; empty: none
//       4  what it says of itself
// Returns the workers that live; where somebody asks each with in how many ms it counts as dead,
// and what it says of itself.

import { type Script, script } from './script.ts'

export const LIVE: Script = script('live')`
local time, ttl, changed = now(), tonumber(ARGV[2]), 0
if ttl > 0 then
  changed = redis.call('ZADD', KEYS[1], time + ttl, ARGV[1])
  if KEYS[2] then redis.call('HSET', KEYS[2], ARGV[1], ARGV[4]) end
else
  redis.call('ZADD', KEYS[1], 'XX', 0, ARGV[1])
end
for _, worker in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', time, 'BYSCORE')) do
  changed = changed + redis.call('ZREM', KEYS[1], worker)
  if KEYS[2] then redis.call('HDEL', KEYS[2], worker) end
end
if changed > 0 and ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3], '!') end
if ARGV[1] ~= '' then return redis.call('ZRANGE', KEYS[1], 0, -1) end
local reply, some = {}, redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #some, 2 do
  local n, standing = #reply, redis.call('HGET', KEYS[2], some[i])
  reply[n + 1], reply[n + 2], reply[n + 3] = some[i], some[i + 1] - time, standing or ''
end
return reply
`
