// Start gate: reports starts to the queue before they happen, where a delivery counts only then.
// Thread: main.   Owns: the commands that wait for their report.
//
// Few are reported ahead of the threads. If this process dies, those few come nearer to their last
// delivery; the rest of what it held does not.

import { Deque } from '../base/deque.ts'
import type { LeasedQueue } from './distributed-queue.ts'
import type { HeldCommand } from './held-command.ts'
import { Outbox } from './outbox.ts'
import type { WorkerLane } from './worker-lane.ts'

const BATCH_MAX = 4096

/** Work that is reported ahead, so that threads need not wait for answers. */
const AHEAD_MS = 10

/** What a gate works with. */
export interface StartGateParts {
  readonly queue: LeasedQueue
  /** The most urgent first. */
  readonly lanes: readonly WorkerLane[]
  /** Handlers that can run at once. */
  readonly capacity: () => number
  /** How many commands are expected to start within so many milliseconds, threads aside. */
  readonly startsWithin: (ms: number) => number
  /** Takes a command whose start counts now. */
  readonly submit: (held: HeldCommand) => void
  /** The queue says that it has another worker. */
  readonly lost: (held: HeldCommand) => void
  /** A call failed; it is repeated. */
  readonly failed: (error: unknown) => void
}

/** Lets commands start once that counts. */
export class StartGate {
  readonly #parts: StartGateParts
  readonly #reports: Outbox<HeldCommand>
  /** By lane, the most urgent first. What left meanwhile is skipped. */
  readonly #waiting: ReadonlyMap<WorkerLane, Deque<HeldCommand>>
  /** Reported, or about to be, and not known to have left. */
  readonly #passed = new Set<HeldCommand>()
  #isIdle = true

  constructor(parts: StartGateParts) {
    const { queue, lanes, failed } = parts
    this.#parts = parts
    this.#waiting = new Map(lanes.map((lane) => [lane, new Deque<HeldCommand>()]))
    this.#reports = new Outbox<HeldCommand>({
      owner: queue.workerId,
      batchMax: BATCH_MAX,
      send: (batch) => this.#report(batch),
      // Its lease expires.
      refused: (_, error) => failed(error),
      failed,
      isWanted: isWaiting,
    })
  }

  /**
   * Lets a command wait until its start is reported.
   *
   * @param held - The command.
   */
  add(held: HeldCommand): void {
    this.#waiting.get(held.lane)!.push(held)
    this.#isIdle = false
    this.progressed()
  }

  /** Something has left: others may follow. */
  progressed(): void {
    if (this.#isIdle) return
    for (const held of this.#passed)
      if (held.stage === 'ended' || held.isLost) this.#passed.delete(held)
    this.#isIdle = this.#passed.size === 0
    const { startsWithin } = this.#parts
    const capacity = this.#parts.capacity()
    const most = capacity + Math.max(capacity, Math.ceil(startsWithin(AHEAD_MS)))
    for (const [lane, waiting] of this.#waiting) {
      if (waiting.length === 0) continue
      this.#isIdle = false
      // What is less urgent keeps nothing back.
      let count = 0
      for (const each of this.#passed) if (each.lane.plan.priority <= lane.plan.priority) count++
      while (count < most && waiting.length > 0) {
        const held = waiting.shift()!
        if (!isWaiting(held)) continue
        this.#passed.add(held)
        this.#reports.add(held)
        count++
      }
    }
  }

  /** Tries no more. */
  giveUp(): void {
    this.#reports.giveUp()
  }

  async #report(batch: readonly HeldCommand[]): Promise<void> {
    const { queue, submit, lost } = this.#parts
    const statuses = await queue.start(batch.map(({ delivery }) => delivery))
    for (const [index, held] of batch.entries()) {
      if (!isWaiting(held)) continue
      if (statuses[index] === 'done') {
        held.isCounted = true
        submit(held)
      } else lost(held)
    }
  }
}

/** Whether it has not been given back or lost meanwhile. */
function isWaiting({ stage, isLost }: HeldCommand): boolean {
  return stage === 'waiting' && !isLost
}
