// Drain latch: resolves calls of `drain` once every command has settled.
// Owns: those who wait.

import { timers } from '../../base/clock.ts'
import { laneError } from '../../base/errors.ts'
import { type LaneTable, openCountOf } from '../lane-table.ts'
import type { ManagerEvents } from '../manager-events.ts'

/** Waits until every submitted command has settled. */
export class DrainLatch {
  readonly #lanes: LaneTable
  readonly #events: Pick<ManagerEvents, 'early'>
  readonly #waiters = new Set<() => void>()

  constructor(lanes: LaneTable, events: Pick<ManagerEvents, 'early'>) {
    this.#lanes = lanes
    this.#events = events
  }

  /**
   * Waits until every command is settled.
   *
   * @param timeoutMs - How long to wait.
   * @throws LaneError `CORELANE_DRAIN_TIMEOUT`.
   */
  async wait(timeoutMs: number): Promise<void> {
    if (this.#isDrained) return
    let finish!: () => void
    let timer!: NodeJS.Timeout
    const isDrained = await new Promise<boolean>((resolve) => {
      finish = () => resolve(true)
      timer = timers.setTimeout(resolve, timeoutMs, false)
      this.#waiters.add(finish)
    })
    timers.clearTimeout(timer)
    this.#waiters.delete(finish)
    if (isDrained) return
    const left = this.#lanes.all.filter((lane) => openCountOf(lane) > 0)
    const lanes = Object.fromEntries(left.map((lane) => [lane.name, openCountOf(lane)]))
    const words = left.map((lane) => `${openCountOf(lane)} in ${lane.name}`)
    const { count } = this.#events.early
    if (count > 0) words.push(`${count} before the start`)
    throw laneError('CORELANE_DRAIN_TIMEOUT', { timeoutMs, left: words.join(', '), lanes })
  }

  get #isDrained(): boolean {
    return this.#lanes.openCount === 0 && this.#events.early.count === 0
  }

  /** Commands were settled: perhaps they were the last. */
  settled(): void {
    if (this.#waiters.size === 0 || !this.#isDrained) return
    for (const finish of this.#waiters) finish()
  }
}
