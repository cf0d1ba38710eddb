// Read script: reads values, as many as one answer should carry.
//
// KEYS  1…  keys of commands; or the dead by id
// ARGV  1…  ids of the dead
// Returns values from the first on, until they are large enough; nothing for what is not there.

import { type Script, script } from './script.ts'

export const READ: Script = script('read')`
local reply, bytes, ids = {}, 0, #ARGV > 0
for i = 1, ids and #ARGV or #KEYS do
  if ids then reply[i] = redis.call('HGET', KEYS[1], ARGV[i]) else reply[i] = redis.call('GET', KEYS[i]) end
  bytes = bytes + #(reply[i] or '')
  if bytes >= ANSWER_BYTES then break end
end
return reply
`
