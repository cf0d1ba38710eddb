// Look-lanes script: says whether workers have announced lanes.
//
// KEYS  1  lanes that workers take, by when their last worker counts as dead
// ARGV  1   how long names are remembered, ms
//       2   most names to give
//       3…  the lanes
// Returns of each lane whether it is `served`, `unserved` or `unknown`, then names that workers
// have announced, the latest first.

import { type Script, script } from './script.ts'

export const LOOK_LANES: Script = script('look-lanes')`
local time, reply = now(), {}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time - ARGV[1])
local isNew = redis.call('ZCARD', KEYS[1]) == 0
for i = 3, #ARGV do
  local till = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or nil)
  local isServed = till and till >= time
  reply[i - 2] = isServed and 'served' or (till or isNew) and 'unserved' or 'unknown'
end
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1, 'REV')) do
  reply[#reply + 1] = name
end
return reply
`
