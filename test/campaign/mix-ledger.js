// Mix ledger: the runs of the mix campaign's handlers, in memory that outlives their threads.
// Handlers write it, and the judge reads it once all threads have ended.

export const LANES = ['plain', 'narrow', 'timed', 'bounded']
/** Of commands that are held to run one at a time. */
export const KEYS = ['k1', 'k2', 'k3']
/** Of commands that are held to run in their order, too. */
export const ORDERED_KEYS = ['o1', 'o2']

const ALL_KEYS = [...KEYS, ...ORDERED_KEYS]
const RUNS_MAX = 30_000
/** Runs, then runs beside another of their key, then runs of each key. */
const WORDS = 2 + ALL_KEYS.length
const RUNS_AT = 64
const FIELDS = ['id', 'attempt', 'lane', 'key', 'partition', 'startedAtMs', 'endedAtMs']

/** Notes runs. */
export class MixLedger {
  buffer
  #words
  #runs

  /** @param buffer - Of another thread's ledger. Default: a new one. */
  constructor(buffer = new SharedArrayBuffer(RUNS_AT + 8 * RUNS_MAX * FIELDS.length)) {
    this.buffer = buffer
    this.#words = new Int32Array(buffer, 0, WORDS)
    this.#runs = new Float64Array(buffer, RUNS_AT)
  }

  /**
   * Notes that a handler was entered.
   *
   * @returns Notes that it is left.
   */
  enter(context) {
    const lane = LANES.indexOf(context?.lane)
    // A broadcast, or a task of a pool.
    if (lane < 0) return () => {}
    const { id, attempt, key, partition, startedAt } = context
    const place = ALL_KEYS.indexOf(key)
    const words = this.#words
    const at = Atomics.add(words, 0, 1)
    if (place >= 0 && Atomics.add(words, 2 + place, 1) > 0) Atomics.add(words, 1, 1)
    if (at < RUNS_MAX) {
      this.#runs.set([Number(id), attempt, lane, place, partition, startedAt], at * FIELDS.length)
    }
    return () => {
      if (place >= 0) Atomics.sub(words, 2 + place, 1)
      if (at < RUNS_MAX) this.#runs[at * FIELDS.length + FIELDS.length - 1] = performance.now()
    }
  }

  /** How many ran beside another of their key. */
  get beside() {
    return this.#words[1]
  }

  /** What ran, in the order in which handlers were entered; `endedAtMs` is 0 if one never ended. */
  get runs() {
    const count = Math.min(this.#words[0], RUNS_MAX)
    return Array.from({ length: count }, (_, at) => {
      const fields = FIELDS.map((name, i) => [name, this.#runs[at * FIELDS.length + i]])
      const run = Object.fromEntries(fields)
      return { ...run, lane: LANES[run.lane], key: ALL_KEYS[run.key] }
    })
  }
}
