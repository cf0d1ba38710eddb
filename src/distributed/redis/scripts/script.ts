// Script: Lua that Redis runs for us, and the pieces that several scripts are made of.
// Owns: nothing; text only. Why the scripts are right is in README.md of the folder above.
// Must not: put text from users anywhere but in ARGV, touch a key that is not in KEYS, or read a
// clock other than TIME.
//
// A stream entry has one field, v: `<id>:<retries>:<spent>:<since>:<body>`. `spent` are deliveries
// before the entry was made, for entries that were kept back. `since` is when Redis accepted the
// command, in milliseconds of its clock; 0: when the entry was made, as its name says. The delivery
// counter of the pending list holds two counts: by ten thousands how often the entry was given
// again, and below that the deliveries that count: the first if it was given as 1, each other from
// its start on. So the counter under which an entry was given names one delivery; it is one higher
// once that starts.

import { createHash } from 'node:crypto'
import { GROUPS } from './groups.ts'

/** A script and the name Redis knows it by. */
export interface Script {
  /** Whether it is not asked again when its answer was lost. */
  readonly isOnce: boolean
  readonly name: string
  readonly source: string
  readonly sha: string
}

/** Most commands that one run of a script handles: it keeps every other client waiting. */
export const SCRIPT_MAX = 256

/** Values of so many bytes are enough for an answer: it must come within `commandTimeoutMs`. */
export const ANSWER_BYTES: number = 2 ** 22

/** What one more giving adds to the delivery counter. */
export const GIVEN_AGAIN = 10_000

/** Names that stand for values in scripts. */
const VALUES: Readonly<Record<string, number | string>> = {
  ...{ SCRIPT_MAX, ANSWER_BYTES, GIVEN_AGAIN },
  // How many commands are read at a time: only then it is known how large they are.
  READ_MAX: 16,
  // How many groups that may not go on a lease passes over at most.
  PASSED_MAX: 1024,
  // Consumer that has what was given back, or was taken from those whose lease expired.
  RETURNED: "'~returned'",
}

/** Time of the server, in milliseconds since 1970. */
const NOW = `
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
`

/**
 * How much of a stream workers have, and how much is pending in all; how much can be given out. The
 * group is made when it is first missed, and starts at the beginning, so that nothing is
 * overlooked.
 */
const AVAILABLE = `
local function leased(stream)
  local pending = redis.pcall('XPENDING', stream, 'workers')
  if pending.err then
    redis.pcall('XGROUP', 'CREATE', stream, 'workers', '0')
    return 0, 0
  end
  local count = pending[1]
  for _, consumer in ipairs(pending[4] or {}) do
    if consumer[1] == RETURNED then count = count - tonumber(consumer[2]) end
  end
  return count, pending[1]
end
local function available(stream)
  local length = redis.call('XLEN', stream)
  return length == 0 and 0 or length - leased(stream)
end
`

/** What is pending in a stream, as XPENDING lists it; nothing if the stream has no group. */
const PENDING = `
local function pendingIn(stream, ...)
  local pending = redis.pcall('XPENDING', stream, 'workers', ...)
  return pending.err and {} or pending
end
`

/**
 * Whether a delivery is the present one: its consumer has the entry, under the counter with which
 * it was given or, where that did not count yet, with its start counted. And those two counters.
 */
const HELD = `
local function unstarted(counter) return counter == 1 and 0 or counter end
local function started(counter) return counter == 1 and 1 or counter + 1 end
local function isHeld(stream, entry, consumer, counter)
  local held, given = pendingIn(stream, entry, entry, 1)[1], tonumber(counter)
  return held and held[2] == consumer and (held[4] == given or held[4] == started(given)) and held
end
`

/** Counts a dead command more, or less, in its lane, with which its record begins. */
const COUNT_DEAD = `
local function countDead(lanes, record, change)
  local lane = string.match(record, '^[^:]*')
  local count = (redis.call('HGET', lanes, lane) or 0) + change
  if count > 0 then redis.call('HSET', lanes, lane, count) else redis.call('HDEL', lanes, lane) end
end
`

/** What a stream says of its workers' group; empty if there is none. */
const GROUP_INFO = `
local function groupInfo(stream)
  local info, about = redis.pcall('XINFO', 'GROUPS', stream), {}
  for i = 1, info[1] and #info[1] or 0, 2 do about[info[1][i]] = info[1][i + 1] end
  return about
end
`

/**
 * Announces something of a lane to workers: a letter for its kind, partition, lane and an amount.
 * All names follow from that of the stream.
 */
const WAKE = `
local function laneOf(stream) return string.match(stream, '}:s:(.*)$') end
local function wake(stream, amount, kind)
  local queue, partition = string.match(stream, '^(.*):(%d+)}:s:')
  redis.call('PUBLISH', queue .. ':meta}:wakes',
    (kind or '') .. partition .. ' ' .. laneOf(stream) .. ' ' .. amount)
end
`

/** Puts a word into a field that has a blank before and after each, or takes it out of it. */
const SET_WORD = `
local function setWord(key, field, word, isIn)
  local words = redis.call('HGET', key, field) or ' '
  local from, to = string.find(words, ' ' .. word .. ' ', 1, true)
  if (from ~= nil) == isIn then return false end
  words = from and string.sub(words, 1, from) .. string.sub(words, to + 1) or words .. word .. ' '
  if words == ' ' then redis.call('HDEL', key, field) else redis.call('HSET', key, field, words) end
  return true
end
`

/** Gives a value other retries, spent and since, as a function makes them, if it has a head. */
const REWRITTEN = `
local function rewritten(value, change)
  local id, retries, spent, since, body = string.match(value, '^([^:]*):(%d+):(%d+):(%d+):()')
  if not id then return value end
  retries, spent, since = change(retries, spent, since)
  return table.concat({id, retries, spent, since, string.sub(value, body)}, ':')
end
local function dated(value, time)
  return rewritten(value, function(retries) return retries, 0, string.format('%.0f', time) end)
end
`

/** The functions that a piece defines. */
function functionsOf(piece: string): string[] {
  return Array.from(piece.matchAll(/^local function (\w+)/gm), ([, name]) => name!)
}

/** Pieces of scripts; each may use those before it. */
const PIECES = [
  ...[NOW, AVAILABLE, PENDING, HELD, GROUPS, COUNT_DEAD],
  ...[GROUP_INFO, WAKE, SET_WORD, REWRITTEN],
].map((text) => ({ text, functions: functionsOf(text) }))

/**
 * Makes a script of the template that follows, and of the pieces and values that it names. By
 * default it runs when Redis is full, too, so that a full queue can be emptied.
 */
export function script(
  name: string,
  { flags = 'allow-oom', isOnce = false } = {},
): (texts: TemplateStringsArray, ...values: readonly number[]) => Script {
  return (texts, ...values) => {
    let source = String.raw({ raw: texts }, ...values)
    for (const { text, functions } of PIECES.toReversed()) {
      if (functions.some((one) => source.includes(`${one}(`))) source = text + source
    }
    for (const [value, is] of Object.entries(VALUES)) {
      if (source.includes(value)) source = `\nlocal ${value} = ${is}${source}`
    }
    const head = `#!lua${flags === '' ? '' : ` flags=${flags}`}\n-- corelane ${name}`
    source = head + source
    const sha = createHash('sha1').update(source).digest('hex')
    return Object.freeze({ name, source, sha, isOnce })
  }
}
