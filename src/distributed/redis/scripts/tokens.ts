// Tokens script: grants tokens of a rate by the generic cell rate algorithm. A batch of k is
// granted at t and may be used until t + E, so it is admitted as if used now and charged as if used
// then.
//
// KEYS  1  when the next start of the lane would be in time
// ARGV  1  µs between two starts
//       2  µs of the window
//       3  µs for which tokens are valid
//       4  tokens wanted
// Returns how many are granted, and after how many µs one more might be.

import { type Script, script } from './script.ts'

export const TOKENS: Script = script('tokens')`
local clock = redis.call('TIME')
local time = clock[1] * 1000000 + clock[2]
local step, window, validity = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tolerance = window - step
local known = math.max(time, tonumber(redis.call('GET', KEYS[1]) or 0))
-- Only a limit that was less before, or a clock that was set back, can make it later than this.
local due = math.min(known, time + validity + window)
local granted = math.floor((time + tolerance - due) / step) + 1
granted = math.max(0, math.min(granted, tonumber(ARGV[4])))
if granted > 0 then due = math.max(due, time + validity) + granted * step end
if granted > 0 or due < known then
  redis.call('SET', KEYS[1], string.format('%.3f', due), 'PX', math.ceil((due - time + window) / 1000))
end
return {granted, math.ceil(math.max(0, due - tolerance - time))}
`
