// Queue-mix laws: what must hold after a round of the queue-mix campaign, and what is written down
// for it while the round goes on.

/** Counters in shared memory; the word after each has the most that it ever had. */
const NARROW = 0
const GROUPED = 2
const KEYED = 8
const PLACE = 62
const STARTS = 63
/** Of each command: its runs, and the place of its first start among all starts. */
const FIRST = 64
const COMMANDS_MAX = 2_000
const STARTS_MAX = 10_000
const GROUPS_AND_NONE = 3

/** Kinds of keys that may be left when every command has ended. */
const KEYS_LEFT =
  /^(meta|members|lanes|handlers|round|workers|standings|limits|own|rate|[srx]:.*|c:.*)$/

/** Writes down what the laws go by. */
export class Witness {
  broken = []
  /** What threads write. */
  workerData = {
    words: new Int32Array(new SharedArrayBuffer(4 * (FIRST + 2 * COMMANDS_MAX))),
    starts: new Float64Array(new SharedArrayBuffer(8 * STARTS_MAX)),
  }
  commands = 0
  /** Limits over all workers: the most that any of them ever was. */
  narrowest = 0
  perGroup = 0
  fastest = 0
  windowMs = 100
  /** Whether something was cancelled: on Redis the slot of its group is free from then on. */
  hasCancelled = false
  /** Leases that were lost since the machine was too slow: limits say nothing then. */
  expired = 0
  /** Indices of commands that must start in this order, by submitter and key. */
  #lines = new Map()
  /** By id: results that were announced, and how many may be. */
  #ends = new Map()
  #endsMax = new Map()

  /** Commands of a round are numbered from 1. */
  next() {
    return ++this.commands
  }

  /** Counters of a command that has a key and a group of these numbers; -1: none. */
  countersOf(isNarrow, key, group) {
    const counters = isNarrow ? [NARROW] : []
    if (isNarrow && group >= 0) counters.push(GROUPED + 2 * group)
    if (key >= 0) counters.push(KEYED + 2 * (GROUPS_AND_NONE * key + group + 1))
    return counters
  }

  inLine(line, index) {
    this.#lines.set(line, [...(this.#lines.get(line) ?? []), index])
  }

  ended(id) {
    this.#ends.set(id, (this.#ends.get(id) ?? 0) + 1)
  }

  mayEndAgain(id, times = 1) {
    this.#endsMax.set(id, (this.#endsMax.get(id) ?? 1) + times)
  }

  onIncident = ({ what, error }) => {
    if (what === 'leases-expired') this.expired++
    if (what === 'end-dropped' || (error !== undefined && !isDocumented(error))) {
      this.broken.push(`incident ${what}: ${error?.stack}`)
    }
  }

  /** A promise rejects. */
  rejected(what, error) {
    if (!isDocumented(error)) this.broken.push(`${what} rejects: ${error?.stack ?? error}`)
  }

  /**
   * @param isGentle - No thread was made to die.
   * @param isLocal - The queue was that of one process.
   */
  judge(isGentle, isLocal) {
    const { words } = this.workerData
    for (const [id, count] of this.#ends) {
      if (count > (this.#endsMax.get(id) ?? 1)) this.broken.push(`${id} ends ${count} times`)
    }
    for (const [line, indices] of this.#lines) {
      const places = indices.map((index) => words[FIRST + 2 * index + 1]).filter((at) => at > 0)
      if (places.some((at, i) => at < places[i - 1])) this.broken.push(`${line} is out of order`)
    }
    if (!isGentle || this.expired > 0) return
    const most = (what, at, allowed) => {
      if (words[at + 1] > allowed) this.broken.push(`${words[at + 1]} of ${what} run at once`)
    }
    most('the narrow lane', NARROW, this.narrowest)
    for (let at = KEYED; at < PLACE; at += 2) most(`the key at ${at}`, at, 1)
    if (isLocal || !this.hasCancelled) {
      for (let at = GROUPED; at < KEYED; at += 2) most(`the group at ${at}`, at, this.perGroup)
    }
    this.#judgeRate()
  }

  #judgeRate() {
    const { words, starts } = this.workerData
    const all = starts.slice(0, Math.min(words[STARTS], STARTS_MAX)).sort()
    for (const [i, from] of all.entries()) {
      for (let j = i + 1; j < all.length; j++) {
        // A clock that is read for another thread may be a little off.
        const allowed = this.fastest * (1 + (all[j] - from + 2) / this.windowMs)
        if (j - i + 1 <= allowed) continue
        this.broken.push(`${j - i + 1} paced ones start within ${all[j] - from} ms`)
        return
      }
    }
  }
}

/** Errors of handlers, and those that the documents name. */
function isDocumented(error) {
  const { code, message } = error ?? {}
  // The queue is there: a script of Redis that fails is repeated in vain.
  if (code === 'CORELANE_QUEUE_UNAVAILABLE') return message.includes('not within')
  return /^(CORELANE_|ABORT_ERR$)/.test(code) || /^queue-mix: /.test(message)
}

/**
 * Keys in Redis that stand for something that has not ended, or that no document names.
 *
 * @param admin - A client.
 * @param {string} queue
 */
export async function keysLeft(admin, queue) {
  const left = []
  for (const key of await admin.keys(`corelane:{${queue}:*`)) {
    const name = key.replace(/^[^}]*\}:/, '')
    const isPending = name.startsWith('c:') && (await admin.get(key))?.startsWith('P')
    const isFilled = name.startsWith('s:') && (await admin.xLen(key)) > 0
    if (isPending || isFilled || !KEYS_LEFT.test(name)) left.push(key)
  }
  return left
}
