// Mix laws: what must hold of the runs, results, events and statistics of a round.
// By the stamps of runs, so that no load breaks a law: a stamp is read once all limits let it in.

import { LaneError } from 'corelane'
import { LANES, ORDERED_KEYS } from './mix-ledger.js'

/** Rounding of stamps to nanoseconds. */
const ROUNDING_MS = 0.001

/** Codes of failures that neither calls nor handlers are to blame for. */
const OF_DEATHS = ['CORELANE_PARTITION_LOST', 'CORELANE_CONTROL_TIMEOUT']

/**
 * Whether an error is one that calls and handlers of the campaign ask for.
 *
 * @param isGentle - Whether no thread is made to die.
 */
export function isAskedFor(error, isGentle) {
  if (error instanceof LaneError) return !(isGentle && OF_DEATHS.includes(error.code))
  const { name, message = error } = error ?? {}
  // A handler's that was aborted, and the reason of a signal.
  if (name === 'AbortError' || name === 'TimeoutError') return true
  return typeof message === 'string' && message.startsWith('mix: ')
}

/** A limit while it does not change: from one change, once it is made, to the next one's call. */
export class Epochs {
  #epochs

  constructor(value) {
    this.#epochs = [{ fromMs: 0, toMs: Number.POSITIVE_INFINITY, value }]
  }

  /** Changes the limit by a call, which may throw. */
  change(value, call) {
    const toMs = performance.now()
    call()
    this.#epochs.at(-1).toMs = toMs
    this.#epochs.push({ fromMs: performance.now(), toMs: Number.POSITIVE_INFINITY, value })
  }

  /** The epochs, each with the runs that started in it. */
  *of(runs) {
    for (const { fromMs, toMs, value } of this.#epochs) {
      const isIn = ({ startedAtMs }) => startedAtMs > fromMs && startedAtMs < toMs
      yield { value, started: runs.filter(isIn) }
    }
  }
}

const byStart = (a, b) => a.startedAtMs - b.startedAtMs

const grouped = (runs, nameOf) => {
  const groups = new Map()
  for (const run of runs) {
    const name = nameOf(run)
    if (name !== undefined) groups.set(name, [...(groups.get(name) ?? []), run])
  }
  return [...groups]
}

/** Whether runs, by their starts, keep to a rate. */
function keepsRate(runs, { limit, windowMs, algorithm }) {
  const starts = runs.map(({ startedAtMs }) => startedAtMs).sort((a, b) => a - b)
  if (algorithm === 'sliding-window') {
    return starts.every((ms, i) => i < limit || ms - starts[i - limit] >= windowMs - ROUNDING_MS)
  }
  // Tokens that are taken.
  let taken = 0
  return starts.every((ms, i) => {
    if (i > 0) taken = Math.max(0, taken - ((ms - starts[i - 1]) * limit) / windowMs)
    return ++taken <= limit + ROUNDING_MS
  })
}

/** Whether never more than so many run at once when one starts; those that ended by death apart. */
function keepsSlots(all, started, slots) {
  const isAfter =
    (run) =>
    ({ startedAtMs, endedAtMs }) =>
      startedAtMs < run.startedAtMs && endedAtMs > run.startedAtMs
  return started.every((run) => all.filter(isAfter(run)).length < slots)
}

/** Judges runs by the limits of their lanes; those of `narrow` change. */
function* limitsBroken(runs, { plan, rates, slots, groups }) {
  for (const [lane, options] of Object.entries(plan.lanes)) {
    const { maxConcurrency, rateLimit, groupConcurrency, groupRateLimit } = options
    const own = runs.filter((run) => run.lane === lane).sort(byStart)
    const changes = lane === 'narrow' ? slots : new Epochs(maxConcurrency)
    for (const { value, started } of changes.of(own)) {
      if (value && !keepsSlots(own, started, value)) yield `${lane} ran more than ${value} at once`
    }
    const scopeOf = ({ partition }) => (rateLimit?.scope === 'partition' ? partition : 0)
    for (const { value, started } of rateLimit ? rates.of(own) : []) {
      for (const [scope, those] of grouped(started, scopeOf)) {
        if (!keepsRate(those, value)) yield `${lane}'s rate in ${scope}: ${JSON.stringify(value)}`
      }
    }
    for (const [name, those] of grouped(own, ({ id }) => groups.get(String(id)))) {
      const isKept = !groupConcurrency || keepsSlots(those, those, groupConcurrency)
      if (!isKept) yield `${lane} ran more than ${groupConcurrency} of ${name} at once`
      if (groupRateLimit && !keepsRate(those, groupRateLimit)) yield `${lane}'s rate of ${name}`
    }
  }
}

/**
 * Judges what ran.
 *
 * @param ledger - Of the handlers.
 * @param facts - The plan of the manager, changes of the limits of `narrow`, groups by command.
 */
export function* runsBroken(ledger, isGentle, facts) {
  const { runs } = ledger
  if (isGentle && ledger.beside > 0) yield `${ledger.beside} ran beside one of their key`
  const seen = new Set()
  for (const { id, attempt } of runs) {
    const run = `run ${attempt} of ${id}`
    if (seen.has(run) && !Number.isNaN(id)) yield `${run} was twice`
    seen.add(run)
  }
  if (isGentle) {
    const queueOf = ({ key, lane }) =>
      ORDERED_KEYS.includes(key) ? `${key} in ${lane}` : undefined
    for (const [name, those] of grouped(runs, queueOf)) {
      const at = those.findIndex(({ id }, i) => i > 0 && id < those[i - 1].id)
      if (at > 0) yield `${name}: ${those[at - 1].id} ran before ${those[at].id}`
    }
  }
  yield* limitsBroken(runs, facts)
}

/** Judges statistics once nothing is unsettled. */
export function* statsBroken({ lanes }) {
  for (const [name, { queued, running, unsettled, waiting, groups }] of Object.entries(lanes)) {
    if (queued + running + unsettled + waiting + groups.length === 0) continue
    const counts = `${queued} queued, ${running} running, ${unsettled} unsettled, ${waiting} waiting`
    yield `lane ${name}: ${counts}, ${groups.length} groups`
  }
}

/**
 * Judges counts.
 *
 * @param events - How often each command was submitted and ended; undefined: not counted.
 * @param metrics - The last snapshot; undefined: none.
 */
export function* countsBroken(stats, runs, events, metrics) {
  for (const [id, { submitted, ended }] of events ?? []) {
    if (submitted !== ended) yield `command ${id}: ${submitted} submits, ${ended} ends`
  }
  const sum = (name) => [...(events?.values() ?? [])].reduce((all, one) => all + one[name], 0)
  if (events !== undefined && sum('submitted') !== stats.submitted) {
    yield `${sum('submitted')} events of submits, ${stats.submitted} submits`
  }
  for (const name of metrics === undefined ? [] : LANES) {
    const lane = metrics.lanes[name]
    for (const count of ['submitted', 'completed', 'failed', 'retried', 'timedOut', 'unsettled']) {
      const own = stats.lanes[name][count]
      if (lane[count] !== own) yield `metrics of ${name}: ${lane[count]} ${count}, not ${own}`
    }
    const noted = runs.filter(({ lane: ranIn }) => ranIn === name).length
    if (lane.started < noted) yield `metrics of ${name}: ${lane.started} of ${noted} started`
  }
}
