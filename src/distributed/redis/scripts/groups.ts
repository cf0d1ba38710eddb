// Groups: Lua that scripts share about the commands of a lane that have a group.
// Owns: nothing; text only.
//
// They are a lane of their own, whose name begins with `@`. Its stream has those that workers were
// given, with group and order; the others wait in sorted sets until the turn of their group:
//
// - `w`: commands that wait, `<length of the group>:<group>:<order>:<value>`, by these bytes. Those
//   that are kept back have no order.
// - `t`: groups that may have a turn, by the virtual time at which the next command of each would
//   end. This is self-clocked fair queueing (S. J. Golestani, "A self-clocked fair queueing scheme
//   for broadband applications", INFOCOM 1994): each command moves its group back by one share, and
//   a group that comes begins one share after the command that was given last.
// - `g`: that command's time, `at`; the last order; how many commands are `out`; of each group that
//   has some out how many, `.<group>`; and the group of each, `@<entry>`.
// - `x`: weights of groups. `p`: groups that wait for their rate, by when it allows a start. `r`:
//   groups by when their rate is as if they had never started anything.
//
// The keys of a lane are all given to a script that touches one, and their names follow from that
// of its stream.

/** See above. Nothing is defined until a lane with groups is met, which most scripts never do. */
export const GROUPS = `
local G
local function define()
  G = {}
  function G.mark(group) return #group .. ':' .. group .. ':' end
  function G.number(of, field) return tonumber(redis.call('HGET', of.state, field) or 0) end
  function G.firstOf(of, group, skip)
    local from = G.mark(group)
    local to = '(' .. string.sub(from, 1, -2) .. ';'
    return redis.call('ZRANGE', of.waiting, '[' .. from, to, 'BYLEX', 'LIMIT', skip or 0, 1)[1]
  end
  function G.share(of, group) return 1 / (redis.call('HGET', of.weights, group) or 1) end
  function G.tag(time) return string.format('%.17g', time) end
  function G.enter(of, group)
    return redis.call('ZADD', of.turns, 'NX', G.tag(G.number(of, 'at') + G.share(of, group)), group)
  end
  function G.nextOrder(of)
    local order = string.format('%.0f', G.number(of, 'last') + 1)
    redis.call('HSET', of.state, 'last', order)
    return string.rep('0', 15 - #order) .. order
  end
  function G.wait(of, group, order, value)
    redis.call('ZADD', of.waiting, 0, G.mark(group) .. order .. ':' .. value)
    return G.enter(of, group)
  end
  function G.forget(of)
    if G.number(of, 'out') == 0 and redis.call('ZCARD', of.waiting) == 0 then
      -- Removes it at once, and needs no right to DEL.
      redis.call('PEXPIRE', of.state, 0)
    end
  end
  -- An entry has left: its group may have a turn again.
  function G.leave(of, entry)
    local group = redis.call('HGET', of.state, '@' .. entry)
    if not group then return 0 end
    local out = G.number(of, '.' .. group) - 1
    redis.call('HDEL', of.state, '@' .. entry, out < 1 and '.' .. group or '')
    if out > 0 then redis.call('HSET', of.state, '.' .. group, out) end
    redis.call('HSET', of.state, 'out', G.number(of, 'out') - 1)
    local entered = G.firstOf(of, group) and G.enter(of, group) or 0
    G.forget(of)
    return entered
  end
  function G.readyIn(of)
    return redis.call('ZCARD', of.turns) > 0 and redis.call('ZCARD', of.waiting) or 0
  end
  -- Groups whose rate allows a start by now; then when the next may be allowed one.
  function G.ripen(of, time)
    local ripe = redis.call('ZRANGE', of.parked, '-inf', time, 'BYSCORE', 'LIMIT', 0, PASSED_MAX)
    for _, group in ipairs(ripe) do
      redis.call('ZREM', of.parked, group)
      if G.firstOf(of, group) then G.enter(of, group) end
    end
    return redis.call('ZRANGE', of.parked, 0, 0, 'WITHSCORES')[2]
  end
  -- What is kept back, without its group; and that.
  function G.keptBack(value)
    local length, from = string.match(value, '^(%d+):()')
    return string.sub(value, from + length + 1), string.sub(value, from, from + length - 1)
  end
end
local function groupsOf(stream)
  if not string.find(stream, ':s:@', 1, true) then return nil end
  local head, lane = string.match(stream, '^(.-}:)s:(@.+)$')
  if not G then define() end
  local function key(kind) return head .. kind .. ':' .. lane end
  return {waiting = key('w'), turns = key('t'), state = key('g'), weights = key('x'), parked = key('p'),
    rates = key('r')}
end
-- Takes entries out of a stream; how many there were, and how many groups have a turn by that.
local function remove(stream, ...)
  redis.call('XACK', stream, 'workers', ...)
  local gone, of, entered = redis.call('XDEL', stream, ...), groupsOf(stream), 0
  for _, entry in ipairs(of and {...} or {}) do entered = entered + G.leave(of, entry) end
  return gone, entered
end
`
