// Crash judge: the laws of a round. Each gives its violations: the law, the command if it is about
// one, and what was seen.

import { KINDS, kindOfDeath } from './crash-kinds.js'

const LOST = 'CORELANE_PARTITION_LOST'
const TIMEOUT = 'CORELANE_TIMEOUT'
const ABORTED = 'CORELANE_ABORTED'
const DROPPED = 'CORELANE_COMMAND_DROPPED'
const LATE = 'CORELANE_DEADLINE_EXCEEDED'

/** Whether a policy ever runs a command again; only then is a failed one a dead letter. */
const mayRetry = ({ retries = 0, retryLost = false }) => retries > 0 || retryLost

/** Whether a command has failed, and was to run again, and was late for that. */
function isLateRetry({ error, retries }) {
  return error?.code === LATE && retries.length > 0
}

/** The laws about one command. Each gives what is wrong, or nothing. */
const commandLaws = {
  'lost: every command settles once': ({ record }) =>
    record.settled !== 1 && `settled ${record.settled} times`,

  'one terminal event, as the caller sees it': ({ record }) => {
    const { completedEvents, failedEvents, isDone } = record
    const isRight = completedEvents === (isDone ? 1 : 0) && failedEvents === (isDone ? 0 : 1)
    return !isRight && `${completedEvents} completed, ${failedEvents} failed, done: ${isDone}`
  },

  'the caller and the events name the same command': ({ record }) =>
    record.info !== undefined &&
    (record.info.id !== record.id || record.info.attempt !== record.attempt) &&
    `${JSON.stringify(record.info)} is not id ${record.id} attempt ${record.attempt}`,

  'each attempt is run at most once': ({ record, started }) =>
    started > record.attempt && `run ${started} times in ${record.attempt} attempts`,

  'an attempt more for each retry': ({ record }) => {
    // The run that one was too late for does not come.
    const runs = isLateRetry(record) ? record.retries.length : 1 + record.retries.length
    return (
      record.attempt !== runs && `attempt ${record.attempt} after ${record.retries.length} retries`
    )
  },

  'retries are those of the policy': ({ record, command }) => {
    const { retries = 0, retryLost = false, retryTimeouts = false } = command.retry
    const codes = record.retries.map((error) => error?.code)
    const lost = codes.filter((code) => code === LOST).length
    const late = codes.filter((code) => code === TIMEOUT).length
    const isRight =
      codes.length - lost <= retries && (lost === 0 || retryLost) && (late === 0 || retryTimeouts)
    return !isRight && `retried for ${codes}`
  },

  'a delivered result was finished': ({ record, finished }) =>
    record.isDone && finished === 0 && 'delivered, and its handler never came to its end',

  'a delivered result is the right one': ({ record, command }) => {
    const { index, text } = command.payload
    const isRight = record.value?.[0] === index && record.value[1] === text.length
    return record.isDone && !isRight && `gave ${record.value}`
  },

  'untouched commands run exactly once': ({ record, started, finished }) =>
    record.isDone &&
    record.retries.length === 0 &&
    (started !== 1 || finished !== 1) &&
    `completed at once, but started ${started} and finished ${finished} times`,

  'it fails only as it may': ({ record, command, plan }) => {
    if (record.isDone || record.settled === 0) return false
    const { error } = record
    const { kind, type, retry } = command
    const code = error?.code
    if (code === LOST) return error.started !== true && `lost unstarted: ${error.message}`
    if (code === DROPPED && plan.closesEarly) return false
    if (code === LATE && command.options.deadlineMs !== undefined) return false
    if (kind?.codes.includes(code)) return false
    const isOwn = error instanceof RangeError && error.message.endsWith(' fails')
    const failures = record.retries.filter((one) => one?.code !== LOST).length
    const isSpent = failures === (retry.retries ?? 0) || plan.closesEarly
    if (type === 'flaky' && isOwn && isSpent) return false
    return `failed with ${code ?? error}`
  },

  'a deadly command does not complete': ({ record, command: { kind } }) =>
    record.isDone &&
    kind !== undefined &&
    !kind.settles &&
    // Native code may come to its end before its time-out is noticed.
    !['brotli', 'pbkdf2', 'exec'].includes(kind.type) &&
    'completed',

  'dead letters are what failed after all': ({ record, command, letter, plan }) => {
    const isOwn = ![ABORTED, DROPPED, LATE].includes(record.error?.code) || isLateRetry(record)
    const isDead = !record.isDone && mayRetry(command.retry) && isOwn
    const letters = letter === undefined ? 0 : 1
    const isRight = record.deadLettered === Number(isDead) && letters === Number(isDead)
    if (!isRight) return `${record.deadLettered} events, ${letters} letters`
    if (letter === undefined) return false
    const { attempts, crashes } = letter
    const isCounted = attempts === record.attempt && crashes <= attempts
    if (!isCounted) return `letter says ${attempts} attempts, ${crashes} crashes`
    // Only a command that killed its share of threads is not run again.
    const isTired = command.retry.retryLost && record.error?.code === LOST
    const isEarly = isTired && crashes < plan.options.maxCrashes
    return isEarly && `given up after ${crashes} crashes of ${plan.options.maxCrashes}`
  },

  'starts are told at most once for each attempt': ({ record }) =>
    record.startedEvents > record.attempt && `${record.startedEvents} started events`,
}

/** The laws about the whole round. */
const roundLaws = {
  'everything ends in time': ({ failures }) => failures,
  'the main thread throws nothing': ({ thrown }) => thrown,
  'no attempt is run twice': ({ ledger }) => (ledger.twice > 0 ? [`${ledger.twice} were`] : []),
  'no thread dies of anything else': ({ deaths }) =>
    deaths.filter(({ kind }) => kind === -1).map(({ error }) => `${error.message}`),
  'no partition is given up': ({ failedPartitions }) =>
    failedPartitions === 0 ? [] : [`${failedPartitions} were`],
  'no event is missed': ({ missed }) => (missed === 0 ? [] : [`${missed} were`]),
  'order per key': keyOrder,
  'one of a key at a time': keyOverlap,
  'a death hits no more than ran there': hits,
  'stats add up': statsAddUp,
}

/** By key: the commands that nothing happened to, in the order of their submission. */
function untouchedByKey({ records }, { commands }) {
  const byKey = new Map()
  for (const command of commands) {
    const { isDone, retries } = records[command.index]
    if (command.key < 0 || !isDone || retries.length > 0) continue
    byKey.set(command.key, [...(byKey.get(command.key) ?? []), command])
  }
  return byKey
}

/** Each ends before the next starts; a deadline may make one more urgent than those before it. */
function keyOrder(round, plan) {
  const { ledger, records } = round
  const wrong = []
  for (const [key, all] of untouchedByKey(round, plan)) {
    const undated = all.filter(({ options }) => options.deadlineMs === undefined)
    for (const [at, { index }] of undated.entries()) {
      const before = undated[at - 1]?.index
      if (before === undefined || ledger.lastFinish(before) < ledger.firstStart(index)) continue
      wrong.push(`key ${key}: ${index} started before ${before} had finished`)
    }
    // What finished last is the last of them, or was hit itself.
    const final = ledger.lastOfKey(key)
    const { isDone, retries } = records[final]
    const isDated = plan.commands[final].options.deadlineMs !== undefined
    const last = undated.at(-1)?.index ?? -1
    if (final < last && isDone && retries.length === 0 && !isDated) {
      wrong.push(`key ${key}: ${final} finished last, not ${last}`)
    }
  }
  return wrong
}

/** Whatever their order, no two of them run at a time. */
function keyOverlap(round, plan) {
  const { ledger } = round
  const wrong = []
  for (const [key, all] of untouchedByKey(round, plan)) {
    const started = all.toSorted((a, b) => ledger.firstStart(a.index) - ledger.firstStart(b.index))
    for (const [at, { index }] of started.entries()) {
      const before = started[at - 1]?.index
      if (before === undefined || ledger.lastFinish(before) < ledger.firstStart(index)) continue
      wrong.push(`key ${key}: ${index} started while ${before} ran`)
    }
  }
  return wrong
}

/** Errors of runs that ended with their thread. */
export function lostRuns({ records }) {
  return records.flatMap(({ retries, isDone, error }) =>
    [...retries, ...(isDone ? [] : [error])].filter((one) => one?.code === LOST),
  )
}

function hits(round, { options }) {
  const room = new Map()
  for (const { partition } of round.deaths) {
    room.set(partition, (room.get(partition) ?? 0) + options.concurrencyPerPartition)
  }
  for (const { details } of lostRuns(round)) {
    room.set(details.partition, (room.get(details.partition) ?? 0) - 1)
  }
  return [...room]
    .filter(([, left]) => left < 0)
    .map(([partition, left]) => `partition ${partition}: ${-left} more`)
}

function statsAddUp({ stats, records, letters, deaths }, { commands }) {
  const count = (pick) => records.reduce((sum, record) => sum + Number(pick(record)), 0)
  const expected = {
    state: 'closed',
    submitted: commands.length,
    completed: count(({ isDone }) => isDone),
    failed: count(({ isDone, settled }) => settled > 0 && !isDone),
    queued: 0,
    running: 0,
    retried: count(({ retries }) => retries.length),
    timedOut: count(({ timeouts }) => timeouts),
    deadLetters: letters.length,
  }
  const wrong = Object.entries(expected)
    .filter(([name, value]) => stats[name] !== value)
    .map(([name, value]) => `${name} is ${stats[name]}, counted ${value}`)
  const terminating = stats.partitions.filter((partition) => partition.terminating > 0)
  if (terminating.length > 0)
    wrong.push(`${terminating.length} partitions have terminating threads`)
  const incarnations = stats.partitions.reduce((sum, one) => sum + one.incarnations, 0)
  // Every death but one that the end forestalled was followed by another thread.
  if (incarnations < deaths.length) wrong.push(`${incarnations} threads, ${deaths.length} deaths`)
  return wrong
}

/**
 * Judges a round.
 *
 * @returns {{ law: string, index?: number, id?: string, kind?: string, what: string }[]}
 */
export function judge(round, plan) {
  const violations = []
  const letters = new Map(round.letters.map((letter) => [letter.id, letter]))
  for (const command of plan.commands) {
    const { index, kind } = command
    const record = round.records[index]
    const started = round.ledger.started(index)
    const finished = round.ledger.finished(index)
    const known = { record, command, started, finished, letter: letters.get(record.id), plan }
    for (const [law, check] of Object.entries(commandLaws)) {
      const what = check(known)
      if (what) violations.push({ law, index, id: record.id, kind: kind?.name, what })
    }
  }
  for (const [law, check] of Object.entries(roundLaws)) {
    for (const what of check(round, plan)) violations.push({ law, what })
  }
  return violations
}

/** By kind: deadly commands, deaths, runs lost, and how long replacements took. */
export function tally(round, plan) {
  const rows = KINDS.map(() => ({ commands: 0, deaths: 0, lost: 0, replacedMs: [] }))
  for (const { kind } of plan.commands) if (kind !== undefined) rows[kind.index].commands++
  for (const { kind, ms } of round.deaths) {
    if (kind === -1) continue
    rows[kind].deaths++
    if (!Number.isNaN(ms)) rows[kind].replacedMs.push(ms)
  }
  for (const error of lostRuns(round)) {
    const kind = kindOfDeath(error)
    if (kind !== -1) rows[kind].lost++
  }
  return rows
}
