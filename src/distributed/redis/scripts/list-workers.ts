// List-workers script: lists the workers that live.
//
// KEYS  1  workers that live, by when they count as dead
//       2  what each says of itself
// Returns of each: the worker, in how many ms it counts as dead, and what it says of itself.

import { NOW, type Script, script } from './script.ts'

export const LIST_WORKERS: Script = script('list-workers')`${NOW}
local time, reply = now(), {}
local some = redis.call('ZRANGE', KEYS[1], time + 1, '+inf', 'BYSCORE', 'WITHSCORES')
for i = 1, #some, 2 do
  local n, standing = #reply, redis.call('HGET', KEYS[2], some[i])
  reply[n + 1], reply[n + 2], reply[n + 3] = some[i], some[i + 1] - time, standing or ''
end
return reply
`
