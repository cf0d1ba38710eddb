// Measure row: one row, all systems side by side, round by round.
// Thread: main.   Owns: nothing.
//
// Pools are opened before the first sample, and warmed up until their headline is flat. A round takes one sample of each system,
// and each round begins with another one, so what drifts drifts for all, and none always follows the
// same. Garbage is collected before each sample: no system pays for another's.
// @ts-check

import { collectGarbage } from './garbage.js'
import { summarize } from './statistics.js'

/** @typedef {import('./contract.js').Row} Row */
/** @typedef {import('./contract.js').System} System */
/** @typedef {import('./contract.js').Mode} Mode */
/** @typedef {import('./contract.js').Settings} Settings */
/** @typedef {import('./contract.js').Sample} Sample */
/** @typedef {import('./contract.js').RowResult} RowResult */
/** @typedef {{ system: System, mode: Mode, samples: Sample[] }} Contender */

const PILOT_SAMPLES = 3
/** A system is warm once so many samples in a row differ by less than this share. */
const FLAT_SAMPLES = 4
const FLAT_SHARE = 0.03
/** What a pilot queues at most: it compares modes, and need not fill the memory for that. */
const PILOT_QUEUED_MAX = 5_000
/** Longest that one sample may take before its system is left out. */
const SAMPLE_TIMEOUT_MS = 120_000

/**
 * Measures a row.
 *
 * @param {Row} row
 * @param {readonly System[]} systems - Those that can take part.
 * @param {Settings} settings
 * @param {import('./shelf.js').Shelf} shelf - Where pools stand open.
 * @returns {Promise<RowResult>}
 */
export async function measureRow(row, systems, settings, shelf) {
  /** @type {Record<string, string>} */
  const left = {}
  /** @type {Contender[]} */
  let contenders = []

  /** @param {System} system @param {Promise<unknown>} work */
  const attempt = async (system, work) => {
    try {
      await within(work)
    } catch (error) {
      left[system.name] = `failed: ${reasonOf(error)}`
      contenders = contenders.filter((one) => one.system !== system)
    }
  }

  for (const system of systems) {
    const reason = unfit(row, system)
    if (reason === undefined) {
      await attempt(
        system,
        enter(row, system, settings, shelf).then((contender) => contenders.push(contender)),
      )
    } else if (reason !== '') left[system.name] = reason
  }
  for (let round = 0; round < settings.samples; round++) {
    const first = round % Math.max(1, contenders.length)
    for (const contender of [...contenders.slice(first), ...contenders.slice(0, first)]) {
      const { system, mode, samples } = contender
      const sampling = sample(row, system, mode, settings.sampleMs, settings, shelf)
      await attempt(
        system,
        sampling.then((one) => samples.push(one)),
      )
    }
  }
  addShares(row, contenders)
  const entries = contenders.map(({ system, mode, samples }) => ({
    system: system.name,
    mode: mode.name,
    samples,
  }))
  const { id, title, threads, columns } = row
  return { id, title, threads, columns, entries, left }
}

/**
 * Why a system takes no part in a row; empty if nobody expects it there.
 *
 * @param {Row} row @param {System} system
 */
function unfit(row, system) {
  const isMeant = row.systems?.includes(system.name) ?? system.name !== 'ideal'
  if (!isMeant) return ''
  if ((row.payloadBytes ?? 0) > (system.payloadBytesMax ?? Number.POSITIVE_INFINITY)) {
    return 'takes no payload of that size'
  }
  return undefined
}

/**
 * Chooses the mode of a system and warms it up.
 *
 * @param {Row} row @param {System} system @param {Settings} settings
 * @param {import('./shelf.js').Shelf} shelf
 * @returns {Promise<Contender>}
 */
async function enter(row, system, settings, shelf) {
  const hasChoice = settings.isThorough && system.modes.length > 1 && 'measure' in row
  const mode = hasChoice
    ? await bestMode(row, system, settings, shelf)
    : /** @type {Mode} */ (system.modes[0])
  if ('measure' in row) await warmUp(row, system, mode, settings, shelf)
  return { system, mode, samples: [] }
}

/**
 * Takes samples until they are flat, or until the time for that is over.
 *
 * @param {Row} row @param {System} system @param {Mode} mode @param {Settings} settings
 * @param {import('./shelf.js').Shelf} shelf
 */
async function warmUp(row, system, mode, settings, shelf) {
  const { warmUpMs, warmUpMaxMs, warmUpCpuMs = 0 } = settings
  const endsAt = performance.now() + warmUpMaxMs
  const before = process.cpuUsage()
  const cpuMs = () => {
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  }
  /** @type {number[]} */
  const last = []
  do {
    last.push(Math.abs(headline(row, await sample(row, system, mode, warmUpMs, settings, shelf))))
    if (last.length > FLAT_SAMPLES) last.shift()
    const most = Math.max(...last)
    const isFlat = most - Math.min(...last) <= most * FLAT_SHARE
    if (last.length === FLAT_SAMPLES && isFlat) return
  } while (performance.now() < endsAt || cpuMs() < warmUpCpuMs)
}

/**
 * The mode with the best median headline over a few short samples.
 *
 * @param {Row} row @param {System} system @param {Settings} settings
 * @param {import('./shelf.js').Shelf} shelf
 */
async function bestMode(row, system, settings, shelf) {
  const pilot = { ...settings, queuedMax: Math.min(settings.queuedMax, PILOT_QUEUED_MAX) }
  const ms = settings.sampleMs / 2
  /** @type {{ mode: Mode, value: number } | undefined} */
  let best
  for (const mode of system.modes) {
    await sample(row, system, mode, ms, pilot, shelf)
    const values = []
    for (let i = 0; i < PILOT_SAMPLES; i++) {
      values.push(headline(row, await sample(row, system, mode, ms, pilot, shelf)))
    }
    const value = summarize(values).median
    const isBetter = best === undefined || value > best.value
    const loser = isBetter ? best?.mode : mode
    if (isBetter) best = { mode, value }
    if (loser !== undefined) await shelf.close(system, loser, row.threads)
  }
  return /** @type {{ mode: Mode }} */ (best).mode
}

/**
 * The headline of a sample as a number of which more is better.
 *
 * @param {Row} row @param {Sample} one
 */
function headline(row, one) {
  // A share of the ideal is known only once all are measured; the rate stands for it till then.
  const column = row.columns.find(({ metric }) => one[metric] !== undefined)
  const value = one[column?.metric ?? ''] ?? Number.NaN
  return column?.better === 'less' ? -value : value
}

/**
 * @param {Row} row @param {System} system @param {Mode} mode @param {number} ms
 * @param {Settings} settings @param {import('./shelf.js').Shelf} shelf
 * @returns {Promise<Sample>}
 */
async function sample(row, system, mode, ms, settings, shelf) {
  if ('measureAlone' in row) return row.measureAlone(system, mode, ms, settings)
  const pool = await shelf.open(system, mode, row.threads)
  if (settings.isThorough) collectGarbage()
  return row.measure(pool, ms, settings)
}

/**
 * Adds to each sample its rate as a share of the ideal split's in the same round.
 *
 * @param {Row} row @param {Contender[]} contenders
 */
function addShares(row, contenders) {
  if (!row.columns.some(({ metric }) => metric === 'share')) return
  const ideal = contenders.find(({ system }) => system.name === 'ideal')
  for (const { samples } of contenders) {
    samples.forEach((one, round) => {
      const best = ideal?.samples[round]?.perSecond ?? Number.NaN
      one.share = /** @type {number} */ (one.perSecond) / best
    })
  }
}

/** @param {Promise<unknown>} work */
async function within(work) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no result within ${SAMPLE_TIMEOUT_MS / 1000} s`)),
      SAMPLE_TIMEOUT_MS,
    )
  })
  try {
    await Promise.race([work, timeout])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Why a system failed: a line that names no folder of this machine.
 *
 * @param {unknown} error
 */
function reasonOf(error) {
  const message = error instanceof Error ? error.message : String(error)
  return message.split('\n', 1)[0]?.replaceAll(/(?:file:\/\/)?\/\S*\//g, '')
}
