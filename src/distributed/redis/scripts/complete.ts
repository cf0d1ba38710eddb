// Complete script: ends commands, and keeps their results.
//
// KEYS  1…    the streams
//       then  key of each command
//       then  keys of groups, of streams whose commands have some
// ARGV  1   consumer
//       2   time to live of results, ms
//       3   how many streams
//       4   of each command: number of its stream, entry, counter, number of its channel (0: none;
//           -1: none, and nothing of it is kept)
//       5   the results, each with its length before it
//       6…  the channels
// Returns for each command 1 if this completion counts, or is one that counted, else 0.

import { type Script, script } from './script.ts'

export const COMPLETE: Script = script('complete')`
local consumer, ttl, results = ARGV[1], ARGV[2], ARGV[5]
local statuses, ended, frames = {}, {}, {}
local i, at, first = 0, 1, tonumber(ARGV[3])
for lane, entry, counter, to in string.gmatch(ARGV[4], '(%S+) (%S+) (%S+) (%S+)') do
  i = i + 1
  local stream, key, channel = KEYS[tonumber(lane)], KEYS[first + i], tonumber(to)
  local from = at
  at = at + 4 + struct.unpack('>I4', results, at)
  local result = 'E' .. string.sub(results, from + 4, at - 1)
  statuses[i] = 0
  if isHeld(stream, entry, consumer, counter) then
    ended[stream] = ended[stream] or {}
    table.insert(ended[stream], entry)
    local before = redis.call('SET', key, result, 'PX', channel < 0 and 1 or ttl, 'GET')
    if not before or string.byte(before) ~= 69 then
      statuses[i] = 1
      if channel > 0 then
        frames[channel] = frames[channel] or {}
        table.insert(frames[channel], string.sub(results, from, at - 1))
      end
    else
      -- The first completion counts.
      redis.call('SET', key, before, 'KEEPTTL')
    end
  elseif redis.call('GET', key) == result then
    -- It is said again: the answer of the first time was lost.
    statuses[i] = 1
  end
end
for stream, entries in pairs(ended) do
  local _, entered = remove(stream, unpack(entries))
  if entered > 0 then wake(stream, entered) end
end
for channel, parts in pairs(frames) do
  redis.call('PUBLISH', ARGV[5 + channel], table.concat(parts))
end
return statuses
`
