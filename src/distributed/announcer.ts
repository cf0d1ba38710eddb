// Announcer: announces the lanes and handlers of a worker, and reports lanes that have no worker.
// Thread: main.   Owns: when it looked last, and what it has reported.

import { nowMs } from '../base/clock.ts'
import { isPortableName } from '../base/portable-name.ts'
import type { LeasedQueue, NameRegistry } from './distributed-queue.ts'
import type { IncidentListener } from './incident.ts'

/** Most names of one call, as the contract has it. */
const BATCH_MAX = 4096

/** So long between two looks for lanes without a worker, times the partitions it has to look at. */
const STRAYS_MS = 2000

/** Announces. */
export class Announcer {
  readonly #queue: LeasedQueue
  readonly #laneIds: readonly string[]
  /** Lanes of its manager that it leaves to other workers. */
  readonly #others: readonly string[]
  readonly #handlers: () => readonly string[]
  readonly #tell: IncidentListener
  readonly #failed: (error: unknown) => void
  #told: ReadonlySet<string> = new Set()
  #nextLookMs = 0
  #isBusy = false

  /**
   * @param queue - Where.
   * @param laneIds - The lanes that this worker takes.
   * @param others - Other lanes that its manager has.
   * @param handlers - Names of the handlers that it has now.
   * @param tell - Told of lanes that have commands and no worker.
   * @param failed - Told of calls that failed; they are repeated.
   */
  constructor(
    queue: LeasedQueue,
    laneIds: readonly string[],
    others: readonly string[],
    handlers: () => readonly string[],
    tell: IncidentListener,
    failed: (error: unknown) => void,
  ) {
    this.#queue = queue
    this.#laneIds = laneIds
    this.#others = others.filter(isPortableName)
    this.#handlers = handlers
    this.#tell = tell
    this.#failed = failed
  }

  /** Announces for another lease; to be called every third of one. */
  async announce(): Promise<void> {
    const { lanes, handlers, leaseMs, numPartitions } = this.#queue
    if (lanes === undefined || this.#isBusy) return
    this.#isBusy = true
    try {
      await announceAll(lanes, this.#laneIds, this.#others)
      // A command can name no others.
      await announceAll(handlers, this.#handlers().filter(isPortableName), [])
      const now = nowMs()
      // Not at once: others may be about to announce theirs.
      if (this.#nextLookMs === 0) this.#nextLookMs = now + 1
      else if (now >= this.#nextLookMs) {
        this.#nextLookMs = now + Math.max(leaseMs, STRAYS_MS * numPartitions)
        this.#tellOf(await lanes.strays())
      }
    } catch (error) {
      this.#failed(error)
    }
    this.#isBusy = false
  }

  #tellOf(strays: readonly string[]): void {
    const laneIds = strays.filter((laneId) => !this.#told.has(laneId))
    this.#told = new Set(strays)
    if (laneIds.length > 0) this.#tell({ what: 'lane-unserved', laneIds })
  }
}

async function announceAll(
  registry: NameRegistry | undefined,
  names: readonly string[],
  others: readonly string[],
): Promise<void> {
  const count = Math.max(names.length, others.length)
  for (let from = 0; from < count; from += BATCH_MAX) {
    const to = from + BATCH_MAX
    await registry?.announce(names.slice(from, to), others.slice(from, to))
  }
}
