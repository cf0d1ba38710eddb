// Held-by script: lists what a worker has.
//
// KEYS  1…  the streams
// ARGV  1  consumer
// Returns of each delivery: number of its stream, entry, counter.

import { type Script, script } from './script.ts'

export const HELD_BY: Script = script('held-by')`
local reply = {}
for i, stream in ipairs(KEYS) do
  for _, pending in ipairs(pendingIn(stream, '-', '+', 10000, ARGV[1])) do
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3] = i, pending[1], pending[4]
  end
end
return reply
`
