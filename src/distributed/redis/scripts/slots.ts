// Slots script: takes slots among the runs of a lane, or keeps those that the holders have.
//
// KEYS  1  holders of slots, by when these expire
// ARGV  1   how many slots there are
//       2   how long they are kept, ms
//       3…  the holders
// Returns for each holder 1 if it has a slot now, else 0.

import { type Script, script } from './script.ts'

export const SLOTS: Script = script('slots')`
local time, reply = now(), {}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time)
local free = ARGV[1] - redis.call('ZCARD', KEYS[1])
for i = 3, #ARGV do
  local has = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if not has and free > 0 then
    free = free - 1
    has = true
  end
  if has then redis.call('ZADD', KEYS[1], time + ARGV[2], ARGV[i]) end
  reply[#reply + 1] = has and 1 or 0
end
-- Never earlier than before: others' leases may be longer.
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2], 'NX')
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2], 'GT')
return reply
`
