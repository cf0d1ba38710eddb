// Peek script: lists the commands of lanes that would be given out next.
//
// KEYS  1…  the streams
// ARGV  1   most commands of each
// Returns of each command: number of its stream, entry, counter, value.

import { RETURNED, type Script, script } from './script.ts'

/** See the table above. */
export const PEEK: Script = script('peek')`
local reply, max = {}, tonumber(ARGV[1])
for lane, stream in ipairs(KEYS) do
  local function add(entry, counter)
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = lane, entry[1], counter, entry[2][2]
  end
  local last, left = '-', max
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for i = 1, groups[1] and #groups[1] or 0, 2 do
    if groups[1][i] == 'last-delivered-id' then last = '(' .. groups[1][i + 1] end
  end
  local returned = redis.pcall('XPENDING', stream, 'workers', '-', '+', max, '${RETURNED}')
  for _, pending in ipairs(returned.err and {} or returned) do
    local found = redis.call('XRANGE', stream, pending[1], pending[1])[1]
    if found then
      left = left - 1
      add(found, pending[4])
    end
  end
  if left > 0 then
    for _, found in ipairs(redis.call('XRANGE', stream, last, '+', 'COUNT', left)) do add(found, 0) end
  end
end
return reply
`
