// Enqueue script: adds commands whose ids are new. The only script that a full Redis refuses, and
// then as a whole.
//
// KEYS  1     names of the lanes of the partition
//       2     ids of the dead, by the time of their death
//       3…    stream of each lane
//       then  key of each command, lane by lane
//       then  delayed set of each lane, if there are delays
//       then  keys of groups of each lane whose commands have some, and the owner of the partition
// ARGV  1   how many lanes
//       2   the entries, lane by lane, each with its length before it
//       3   delay of each command in ms; empty: none has one
//       4…  how many commands each lane gets
//       then  the groups, each with its length before it, if there are some
// The key of a command says where it is: `P<entry>`, or `P+<due>` while it is kept back. With a
// group it says `P@<group and order>` from then on, or `P+<due>@<group>`.
// Returns for each command 1 if it was added, 0 if its id was known.

import { type Script, script } from './script.ts'

export const ENQUEUE: Script = script('enqueue', {
  flags: '',
})`
local lanes, packed = tonumber(ARGV[1]), ARGV[2]
local statuses, delays, time = {}, {}, 0
local key, at, first, grouped, from = 2 + lanes, 1, 2 + lanes, ARGV[4 + lanes], 1
for lane = 1, lanes do first = first + ARGV[3 + lane] end
if ARGV[3] ~= '' or grouped then time = now() end
for delay in string.gmatch(ARGV[3], '%d+') do delays[#delays + 1] = tonumber(delay) end
-- The key of a dead command may have expired; its id is known for as long as it is dead.
local hasDead = redis.call('ZCARD', KEYS[2]) > 0
for lane = 1, lanes do
  local stream = KEYS[2 + lane]
  -- While something waits, workers come again by themselves.
  local of = groupsOf(stream)
  local wasIdle = (of and G.readyIn(of) or available(stream)) == 0
  local added, late = 0, nil
  for _ = 1, tonumber(ARGV[3 + lane]) do
    key = key + 1
    local length = struct.unpack('>I4', packed, at)
    at = at + 4 + length
    local value = string.sub(packed, at - length, at - 1)
    local isDead = hasDead and redis.call('ZSCORE', KEYS[2], string.match(value, '^[^:]*'))
    local delay, isNew, group = delays[#statuses + 1] or 0, false, nil
    if of then
      local size = struct.unpack('>I4', grouped, from)
      group = string.sub(grouped, from + 4, from + 3 + size)
      from = from + 4 + size
    end
    if isDead then
      isNew = false
    elseif delay > 0 then
      local place = string.format('P+%.0f', time + delay) .. (of and '@' .. G.mark(group) or '')
      isNew = redis.call('SET', KEYS[key], place, 'NX')
      if isNew then
        value = (of and G.mark(group) or '') .. dated(value, time)
        redis.call('ZADD', KEYS[first + lane], time + delay, value)
        late = math.min(late or delay, delay)
      end
    elseif of then
      local order = G.nextOrder(of)
      isNew = redis.call('SET', KEYS[key], 'P@' .. G.mark(group) .. order, 'NX')
      if isNew then
        G.wait(of, group, order, dated(value, time))
        added = added + 1
      end
    else
      local entry = redis.call('XADD', stream, '*', 'v', value)
      isNew = redis.call('SET', KEYS[key], 'P' .. entry, 'NX')
      if isNew then added = added + 1 else redis.call('XDEL', stream, entry) end
    end
    statuses[#statuses + 1] = isNew and 1 or 0
  end
  if added > 0 or late then
    redis.call('SADD', KEYS[1], laneOf(stream))
    if of then setWord(KEYS[#KEYS], 'groups', laneOf(stream), true) end
  end
  if of then G.forget(of) end
  if added > 0 and wasIdle then wake(stream, added) end
  if late then wake(stream, late, '+') end
end
return statuses
`
