// Find script: finds a command and returns its state.
//
// KEYS  1   key of the command
//       2…  stream and delayed set of each lane of its partition
//       then  keys of groups of each lane whose commands have some
// ARGV  1   id
//       2   where to go on: number of a lane and entry, with a blank between them; empty at first
//       3   how many lanes
// Returns nothing if it is not there or has ended; `S` and where to go on. Else `W`, `L` or `D`,
// the number of its lane, its entry or when it is due, and its value; for an entry its consumer and
// its counter, empty and 0 if it was never given. The entry of a command that waits for the turn of
// its group is `@` and its group and order.
//
// Its key says where it was put. One that was kept back and has come into its stream is looked for
// from when it was due.

import { type Script, script } from './script.ts'

export const FIND: Script = script('find')`
local place, id = redis.call('GET', KEYS[1]), ARGV[1] .. ':'
if not place or string.byte(place) ~= 80 then return {} end
local function isIt(value) return value and string.sub(value, 1, #id) == id end
local function stand(lane, entry, value)
  local held = pendingIn(KEYS[2 * lane], entry, entry, 1)[1] or {entry, '', 0, 0}
  local isFree = held[2] == '' or held[2] == RETURNED
  return {isFree and 'W' or 'L', lane, entry, value, held[2], held[4]}
end
local lanes, due = tonumber(ARGV[3]), string.match(place, '^P%+(%d+)$')
local entry = string.match(place, '^P(%d+%-%d+)$')
local function findInTurns(lane, of, lateAt, spot, from)
  for _, value in ipairs(lateAt == '' and {} or redis.call('ZRANGE', KEYS[2 * lane + 1], lateAt, lateAt, 'BYSCORE')) do
    local bare = G.keptBack(value)
    if isIt(bare) then return {'D', lane, lateAt, bare} end
  end
  local _, group = G.keptBack(spot)
  local head = G.mark(group)
  local to = '(' .. string.sub(head, 1, -2) .. ';'
  local bytes = 0
  while from and bytes < ANSWER_BYTES do
    local some = redis.call('ZRANGE', of.waiting, '[' .. from, to, 'BYLEX', 'LIMIT', 0, READ_MAX)
    for _, value in ipairs(some) do
      local bare = G.keptBack(value)
      if isIt(string.sub(bare, 17)) then
        return {'W', lane, '@' .. head .. string.sub(bare, 1, 15), string.sub(bare, 17), '', 0}
      end
      bytes = bytes + #value
    end
    from = #some == READ_MAX and string.sub(some[#some], 1, #head + 15) .. ';'
  end
  -- All that are out are pending; those of other groups are not read.
  for _, held in ipairs(pendingIn(KEYS[2 * lane], '-', '+', 10000)) do
    if redis.call('HGET', of.state, '@' .. held[1]) == group then
      local found = redis.call('XRANGE', KEYS[2 * lane], held[1], held[1])[1]
      if found and isIt(found[2][2]) then return stand(lane, held[1], found[2][2]) end
    end
  end
  if from then return {'S', lane .. ' ' .. from} end
end
local lateAt, spot = string.match(place, '^P%+?(%d*)@(.*)$')
if spot then
  local first, from = string.match(ARGV[2], '^(%d+) (.*)$')
  for lane = tonumber(first or 1), lanes do
    local of = groupsOf(KEYS[2 * lane])
    local answer = of and findInTurns(lane, of, lateAt, spot, from or spot)
    if answer then return answer end
    from = nil
  end
  return {'S', ''}
end
for lane = 1, lanes do
  if due then
    for _, value in ipairs(redis.call('ZRANGE', KEYS[2 * lane + 1], due, due, 'BYSCORE')) do
      if isIt(value) then return {'D', lane, due, value} end
    end
  elseif entry then
    local found = redis.call('XRANGE', KEYS[2 * lane], entry, entry)[1]
    if found and isIt(found[2][2]) then return stand(lane, entry, found[2][2]) end
  end
end
local lane, from = string.match(ARGV[2], '^(%d+) (%S+)$')
lane, from = tonumber(lane or 1), from or due or '-'
if lane > lanes then return {'S', ''} end
local bytes = 0
while from and bytes < ANSWER_BYTES do
  local some = redis.call('XRANGE', KEYS[2 * lane], from, '+', 'COUNT', READ_MAX)
  for _, found in ipairs(some) do
    if isIt(found[2][2]) then return stand(lane, found[1], found[2][2]) end
    bytes = bytes + #found[2][2]
  end
  from = #some == READ_MAX and '(' .. some[#some][1]
end
if from then return {'S', lane .. ' ' .. from} end
return {'S', lane + 1 .. ' ' .. (due or '-')}
`
