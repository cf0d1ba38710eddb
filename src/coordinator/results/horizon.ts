// Horizon: how far ahead commands are bound, and how late their results may be taken.
// Owns: the bounds on the ages of bound commands.
// Must not: read the clock, or cost a command more than a comparison.
//
// Each wake of the main thread costs it about 40 µs, and the partition that it preempts as much.
// So where commands have waited for long the pump sleeps longer: a result may come late by a
// twentieth of the time since its submit. More is bound then: no partition may run dry meanwhile.
//
// Commands carry no time of their submit, but are numbered: a mark says which number was the next
// one at a time, and thus that every lower one is at least as old.

/** Share of the time since its submit that a result may be late by. */
const LATE_SHARE = 1 / 20

/** Longest time that a result may lie unread. */
const DOZE_MS_MAX = 15

/** The same where commands are young. */
export const DOZE_MS_YOUNG = 4

/** A partition has so many dozes' work, or it might run dry while the main thread is late. */
const DOZES_BOUND = 4

/** Work that a window holds in any case: it outlasts a short pause of the main thread. */
export const WORK_MS_MIN = 10

/** Marks kept: enough to know ages up to the longest doze's. */
const MARK_COUNT = 32

/** Time between two marks. */
const MARK_MS = DOZE_MS_MAX / LATE_SHARE / (MARK_COUNT - 2)

/** Knows how old the youngest bound command is. */
export class Horizon {
  readonly #atMs = new Float64Array(MARK_COUNT).fill(Number.NEGATIVE_INFINITY)
  /** Number of the next command at that time. */
  readonly #nexts = new Float64Array(MARK_COUNT).fill(-1)
  #newest = 0
  /** Highest number of a command that was bound. */
  #youngest = -1
  /** That number when the present doze began. */
  #dozed = -1
  /** Commands with lower numbers are older than a time: a queue has accepted them before it. */
  #queuedTo = 0
  #queuedAtMs = 0

  /**
   * Notes that commands come from a queue, in which they have waited.
   *
   * @param from - Number of the first.
   * @param to - Number after the last.
   * @param atMs - When the youngest was accepted there, monotonic milliseconds.
   * @param nowMs - Monotonic milliseconds.
   */
  queued(from: number, to: number, atMs: number, nowMs: number): void {
    // Where others have come in between all count as new.
    this.#queuedAtMs = from === this.#queuedTo ? Math.max(this.#queuedAtMs, atMs) : nowMs
    this.#queuedTo = to
  }

  /**
   * Notes that a command is bound.
   *
   * @param sequence - Its number.
   */
  bound(sequence: number): void {
    if (sequence > this.#youngest) this.#youngest = sequence
  }

  /**
   * Notes which number the next command will have.
   *
   * @param nowMs - Monotonic milliseconds, not less than before.
   */
  mark(nowMs: number, next: number): void {
    if (nowMs - this.#atMs[this.#newest]! < MARK_MS) return
    this.#newest = (this.#newest + 1) % MARK_COUNT
    this.#atMs[this.#newest] = nowMs
    this.#nexts[this.#newest] = next
  }

  /**
   * Milliseconds since the youngest bound command was submitted, to its queue if it came from one,
   * or less; 0 if it is new, or if none was bound.
   *
   * @param nowMs - Monotonic milliseconds.
   */
  ageMs(nowMs: number): number {
    if (this.#youngest < 0) return 0
    if (this.#youngest < this.#queuedTo) return nowMs - this.#queuedAtMs
    let age = 0
    for (let back = 0; back < MARK_COUNT; back++) {
      const mark = (this.#newest - back + MARK_COUNT) % MARK_COUNT
      if (this.#nexts[mark]! <= this.#youngest) break
      age = nowMs - this.#atMs[mark]!
    }
    return age
  }

  /**
   * Work that a window should hold, in microseconds.
   *
   * @param nowMs - Monotonic milliseconds.
   */
  workUs(nowMs: number): number {
    const doze = Math.min(this.ageMs(nowMs) * LATE_SHARE, DOZE_MS_MAX)
    return Math.max(doze * DOZES_BOUND, WORK_MS_MIN) * 1000
  }

  /**
   * Begins a doze.
   *
   * @param leastWorkMs - Estimated work of the partition that has the least.
   * @returns How long it may last, in milliseconds: at least 1.
   */
  doze(nowMs: number, leastWorkMs: number): number {
    this.#dozed = this.#youngest
    const longest = Math.min(Math.max(this.ageMs(nowMs) * LATE_SHARE, DOZE_MS_YOUNG), DOZE_MS_MAX)
    return Math.max(Math.floor(Math.min(leastWorkMs / DOZES_BOUND, longest)), 1)
  }

  /** Whether a younger command was bound since the doze began: its result must not wait as long. */
  get hasYounger(): boolean {
    return this.#youngest > this.#dozed
  }
}
