// Renewal: replaces threads that do nothing wrong, one at a time and without losing a command.
// Thread: main.   Owns: the order in which partitions get new threads.
//
// The next thread loads its handlers while the present one works. Then the present one gets no more
// commands, those it has not started go back to the backlog, and once it runs nothing the next one
// takes over: so the order per key holds, and a lane's limits never see two threads of a partition.

import { laneError } from '../base/errors.ts'
import { readCounter } from '../memory/counters.ts'
import { Counter } from '../memory/layout.ts'
import type { Incarnation } from './incarnation.ts'
import type { PartitionHandle } from './partition-handle.ts'
import type { PendingCommand } from './pending-command.ts'
import type { Supervisor } from './supervisor.ts'

/** When a thread is worn out. */
export interface WearLimits {
  /** Commands that a thread ends before it is replaced. */
  readonly maxCommandsPerThread: number
  /** Heap in use, in MiB, past which it is replaced. */
  readonly maxHeapMb: number
}

/** Renews threads. */
export class Renewal {
  readonly #partitions: readonly PartitionHandle[]
  readonly #supervisor: Supervisor
  readonly #limits: WearLimits
  readonly #takeBack: (commands: readonly PendingCommand[]) => void
  /** Settles when nothing is being renewed. */
  #last: Promise<void> = Promise.resolve()
  #isBusy = false
  /** Goes on with a renewal that waits for its thread to run nothing. */
  #onProgress: (() => void) | undefined

  /**
   * @param partitions - The manager's.
   * @param supervisor - Makes threads and ends them.
   * @param limits - When a thread is worn out.
   * @param takeBack - Queues commands again.
   */
  constructor(
    partitions: readonly PartitionHandle[],
    supervisor: Supervisor,
    limits: WearLimits,
    takeBack: (commands: readonly PendingCommand[]) => void,
  ) {
    this.#partitions = partitions
    this.#supervisor = supervisor
    this.#limits = limits
    this.#takeBack = takeBack
  }

  /** Call it after results were taken or a thread has ended: cheap. */
  progressed(): void {
    this.#onProgress?.()
    const { maxCommandsPerThread, maxHeapMb } = this.#limits
    if (this.#isBusy || (maxCommandsPerThread === Infinity && maxHeapMb === Infinity)) return
    for (const partition of this.#partitions) {
      const { window } = partition
      if (window === undefined) continue
      const heapMb = readCounter(window.end.views, Counter.HEAP_KIB) / 1024
      if (window.completed < maxCommandsPerThread && heapMb <= maxHeapMb) continue
      // If the next thread cannot load, the present one goes on; it is tried again later.
      this.#queue(() => this.#renew(partition, false)).catch(() => {})
      return
    }
  }

  /**
   * Replaces every thread, one at a time.
   *
   * @param mayChange - Whether their handlers may change.
   * @throws ConfigError `CORELANE_HANDLERS_FAILED`; threads that were not replaced go on.
   */
  renewAll(mayChange: boolean): Promise<void> {
    return this.#queue(async () => {
      for (const partition of this.#partitions) await this.#renew(partition, mayChange)
    })
  }

  #queue(run: () => Promise<void>): Promise<void> {
    this.#isBusy = true
    const done = this.#last.then(run)
    const settled = done
      .catch(() => {})
      .then(() => {
        if (this.#last === settled) this.#isBusy = false
      })
    this.#last = settled
    return done
  }

  async #renew(partition: PartitionHandle, mayChange: boolean): Promise<void> {
    const supervisor = this.#supervisor
    if (supervisor.isClosing) throw laneError('CORELANE_CLOSED', { state: 'closed' })
    const present = partition.incarnation
    // One that starts at this moment loads the module as it is now.
    if (present === undefined && partition.failure === undefined) return
    const next = supervisor.make(partition)
    partition.successor = next
    try {
      await supervisor.load(next, mayChange)
      next.isReady = false
      if (present === undefined) this.#revive(partition, next)
      else if (partition.incarnation === present) await this.#handOver(partition, present, next)
    } finally {
      partition.successor = undefined
      // Refused, or not needed since the present one died meanwhile.
      if (partition.incarnation !== next) await next.terminate()
    }
  }

  /** Gives a thread to a partition that was given up. */
  #revive(partition: PartitionHandle, next: Incarnation): void {
    partition.failure = undefined
    partition.failures = 0
    next.isReady = true
    this.#supervisor.adopt(partition, next)
  }

  async #handOver(
    partition: PartitionHandle,
    present: Incarnation,
    next: Incarnation,
  ): Promise<void> {
    const supervisor = this.#supervisor
    present.isReady = false
    this.#takeBack(present.window.recall())
    await new Promise<void>((resolve) => {
      this.#onProgress = () => {
        const isOver = partition.incarnation !== present || supervisor.isClosing
        if (isOver || present.window.load.count === 0) {
          present.isReady = false
          resolve()
        } else if (present.isReady !== partition.hasWaiting) {
          // What its handlers wait for may have to run here: then it goes on until none waits.
          present.isReady = partition.hasWaiting
          this.#takeBack(present.isReady ? [] : present.window.recall())
        }
      }
      this.#onProgress()
    })
    this.#onProgress = undefined
    if (partition.incarnation !== present || supervisor.isClosing || next.living === undefined) {
      if (partition.incarnation === present && !supervisor.isClosing) present.isReady = true
      return
    }
    partition.retiring = present
    next.isReady = true
    supervisor.adopt(partition, next)
    // Its teardown may fail or take too long; that hinders nobody.
    await supervisor.tearDown(present).catch(() => {})
    await present.terminate()
    partition.retiring = undefined
  }
}
