// Enqueue script: adds commands whose ids are new. The only script that a full Redis refuses, and
// then as a whole.
// Owns: nothing; text only.
//
// KEYS  1     names of the lanes of the partition
//       2     ids of the dead, by the time of their death
//       3…    stream of each lane
//       then  key of each command, lane by lane
// ARGV  1   how many lanes
//       2   partition
//       3   channel of wakes
//       4   the entries, lane by lane, each with its length before it
//       5…  name of each lane, and how many commands it gets
// Returns for each command 1 if it was added, 0 if its id was known.

import { AVAILABLE, type Script, script } from './script.ts'

/** See the table above. */
export const ENQUEUE: Script = script(
  'enqueue',
  `${AVAILABLE}
local lanes, packed = tonumber(ARGV[1]), ARGV[4]
local statuses = {}
local key, at = 2 + lanes, 1
-- The key of a dead command may have expired; its id is known for as long as it is dead.
local hasDead = redis.call('ZCARD', KEYS[2]) > 0
for lane = 1, lanes do
  local stream, name = KEYS[2 + lane], ARGV[3 + 2 * lane]
  -- While something waits, workers come again by themselves.
  local wasIdle = available(stream) == 0
  local added = 0
  for _ = 1, tonumber(ARGV[4 + 2 * lane]) do
    key = key + 1
    local length = struct.unpack('>I4', packed, at)
    at = at + 4 + length
    local value = string.sub(packed, at - length, at - 1)
    local isDead = hasDead and redis.call('ZSCORE', KEYS[2], string.match(value, '^[^:]*'))
    if not isDead and redis.call('SET', KEYS[key], 'P', 'NX') then
      redis.call('XADD', stream, '*', 'v', value)
      added = added + 1
      statuses[#statuses + 1] = 1
    else
      statuses[#statuses + 1] = 0
    end
  end
  if added > 0 then
    redis.call('SADD', KEYS[1], name)
    if wasIdle then redis.call('PUBLISH', ARGV[3], ARGV[2] .. ' ' .. name .. ' ' .. added) end
  end
end
return statuses
`,
  '',
)
