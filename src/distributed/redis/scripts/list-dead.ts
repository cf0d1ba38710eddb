// List-dead script: lists the dead of a partition.
//
// KEYS  1  the dead by id
//       2  ids of the dead, by the time of their death
// ARGV  1  most of them
// Returns id and record of each, the oldest first.

import { type Script, script } from './script.ts'

export const LIST_DEAD: Script = script('list-dead')`
local reply = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1)) do
  reply[#reply + 1] = id
  reply[#reply + 1] = redis.call('HGET', KEYS[1], id) or ''
end
return reply
`
