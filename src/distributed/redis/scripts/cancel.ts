// Cancel script: ends a command that is not wanted any more, with a failure as its result.
//
// KEYS  1  key of the command
//       2  stream of its lane
//       3  delayed set of its lane
//       4…  keys of groups, if the command has one
// ARGV  1  id
//       2  its entry, or `@` and group and order while it waits for its turn; empty if it is kept
//          back
//       3  when it is due; empty if it is not kept back
//       4  the result
//       5  time to live of the result, ms
//       6  channel of the submitter; empty: none
// Returns 0 if it is not there any more, 1 if it waited, 2 if a worker had it.

import { type Script, script } from './script.ts'

export const CANCEL: Script = script('cancel')`
if redis.call('GETRANGE', KEYS[1], 0, 0) ~= 'P' then return 0 end
local entry, result, wasLeased, isGone = ARGV[2], ARGV[4], false, false
local of = groupsOf(KEYS[2])
if string.sub(entry, 1, 1) == '@' then
  local from = string.sub(entry, 2)
  -- Orders begin anew once the lane is empty: this one may be another command's by now.
  local value = redis.call('ZRANGE', of.waiting, '[' .. from .. ':' .. ARGV[1] .. ':',
    '(' .. from .. ':' .. ARGV[1] .. ';', 'BYLEX')[1]
  isGone = value and redis.call('ZREM', of.waiting, value) == 1
  if isGone then
    local _, group = G.keptBack(value)
    if not G.firstOf(of, group) then
      redis.call('ZREM', of.turns, group)
      redis.call('ZREM', of.parked, group)
    end
    G.forget(of)
  end
elseif entry == '' then
  for _, value in ipairs(redis.call('ZRANGE', KEYS[3], ARGV[3], ARGV[3], 'BYSCORE')) do
    local bare = of and G.keptBack(value) or value
    if string.sub(bare, 1, #ARGV[1] + 1) == ARGV[1] .. ':' then
      isGone = redis.call('ZREM', KEYS[3], value) == 1
    end
  end
else
  local held = pendingIn(KEYS[2], entry, entry, 1)[1]
  wasLeased = held and held[2] ~= RETURNED
  local gone, entered = remove(KEYS[2], entry)
  isGone = gone == 1
  if entered > 0 then wake(KEYS[2], entered) end
end
if not isGone then return 0 end
redis.call('SET', KEYS[1], 'E' .. result, 'PX', ARGV[5])
if ARGV[6] ~= '' then
  redis.call('PUBLISH', ARGV[6], struct.pack('>I4', #result) .. result)
end
if wasLeased then wake(KEYS[2], entry, 'x') end
return wasLeased and 2 or 1
`
