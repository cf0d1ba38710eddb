// Look-lanes script: says whether workers have announced lanes.
//
// KEYS  1  lanes that workers take, by when their last worker counts as dead
// ARGV  1   how long names are remembered, ms
//       2   most names to give
//       3…  the lanes
// Returns a letter for each lane (`s`: a live worker takes it, `u`: a worker did, or none has
// announced any, `?`: none ever did), then names that workers have announced, the latest first.

import { NOW, type Script, script } from './script.ts'

export const LOOK_LANES: Script = script('look-lanes')`${NOW}
local time, states = now(), {}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time - ARGV[1])
local isNew = redis.call('ZCARD', KEYS[1]) == 0
for i = 3, #ARGV do
  local till = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or nil)
  states[i - 2] = (till or isNew) and ((till or 0) >= time and 's' or 'u') or '?'
end
local reply = redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1, 'REV')
table.insert(reply, 1, table.concat(states))
return reply
`
