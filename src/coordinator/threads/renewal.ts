// Renewal: replaces healthy threads, one at a time and without losing a command.
// Owns: the order in which partitions get new threads.
//
// The next thread loads its handlers while the present one works. Then the present one gets no more
// commands, those it has not started go back to the backlog, and once it runs nothing the next one
// takes over: so the order per key holds, and a lane's limits never see two threads of a partition.

import { outside } from '../../base/async-context.ts'
import { nowMs, timers } from '../../base/clock.ts'
import { laneError } from '../../base/errors.ts'
import { readCounter } from '../../memory/counters.ts'
import { Counter } from '../../memory/layout.ts'
import type { ManagerEvents } from '../manager-events.ts'
import type { WearLimits } from '../options.ts'
import type { Incarnation } from './incarnation.ts'
import type { PartitionHandle } from './partition-handle.ts'
import type { Supervisor } from './supervisor.ts'

/** So long no thread is replaced for a large heap again, nor for wear after one failed to load. */
const PAUSE_MS = 1000

/** So often the results of a thread that was taken over from are taken: no bell rings for them. */
const DRAIN_MS = 50

/** Renews threads. */
export class Renewal {
  readonly #partitions: readonly PartitionHandle[]
  readonly #supervisor: Supervisor
  readonly #limits: WearLimits
  readonly #events: Pick<ManagerEvents, 'requeue'>
  /** Settles when nothing is being renewed. */
  #last: Promise<void> = Promise.resolve()
  #isBusy = false
  #isSwitching = false
  #renewedAtMs = Number.NEGATIVE_INFINITY
  /** No thread is replaced for its wear before this moment, since a replacement failed. */
  #notBeforeMs = 0
  /** Goes on with a renewal that waits for its thread to run nothing. */
  #onProgress: (() => void) | undefined

  /**
   * @param supervisor - Makes threads and ends them.
   * @param limits - When a thread is worn out.
   */
  constructor(
    partitions: readonly PartitionHandle[],
    supervisor: Supervisor,
    limits: WearLimits,
    events: Pick<ManagerEvents, 'requeue'>,
  ) {
    this.#partitions = partitions
    this.#supervisor = supervisor
    this.#limits = limits
    this.#events = events
  }

  /** Whether threads are being renewed; then none is taken away. */
  get isBusy(): boolean {
    return this.#isBusy
  }

  /**
   * Whether a reload loads its module: a thread that is added would have another. Later in a reload
   * handlers may wait for a command that only a thread to come can run.
   */
  get isSwitching(): boolean {
    return this.#isSwitching
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
      // A module that fills so much heap by itself would have its threads replaced without end.
      const pauseMs = window.completed < maxCommandsPerThread ? PAUSE_MS : 0
      if (nowMs() < Math.max(this.#notBeforeMs, this.#renewedAtMs + pauseMs)) continue
      // If the next thread cannot load, the present one goes on; it is tried again later.
      this.#queue(() => this.#renew(partition)).catch(() => {
        this.#notBeforeMs = nowMs() + PAUSE_MS
      })
      return
    }
  }

  /**
   * Replaces every thread by one that loads a module: on every partition or, if the module does not
   * load on one of them, on none. All new threads have loaded before the first old one is let go;
   * then the partitions change over one at a time.
   *
   * @param handlers - URL of the module; undefined: the present one, loaded afresh.
   * @param offer - Called with the names of the handlers that may be asked for from then on: those
   * of both modules while partitions change over, then those of the new one.
   * @throws ConfigError `CORELANE_HANDLERS_FAILED`; every old thread goes on then.
   */
  reload(handlers: string | undefined, offer: (own: readonly string[]) => void): Promise<void> {
    return this.#queue(async () => {
      const { loader } = this.#supervisor
      const url = handlers ?? loader.handlers
      const before = loader.own
      this.#isSwitching = true
      let own: readonly string[]
      try {
        own = await this.#loadEverywhere(url)
        // Nothing keeps it from happening from here on.
        loader.switchTo(url, own)
      } finally {
        this.#isSwitching = false
        // Threads that were not added meanwhile may be needed.
        this.#events.requeue([])
      }
      offer(own.filter((name) => before.includes(name)))
      for (const partition of this.#partitions) {
        const { successor } = partition
        if (successor !== undefined) await this.#changeOver(partition, successor, true)
      }
      offer(own)
    })
  }

  #queue(run: () => Promise<void>): Promise<void> {
    this.#isBusy = true
    return outside(() => {
      const done = this.#last.then(run)
      const settled = done
        .catch(() => {})
        .then(() => {
          this.#renewedAtMs = nowMs()
          if (this.#last !== settled) return
          this.#isBusy = false
          this.#events.requeue([])
        })
      this.#last = settled
      return done
    })
  }

  /** Replaces a thread that is worn out. */
  async #renew(partition: PartitionHandle): Promise<void> {
    const supervisor = this.#supervisor
    this.#refuseIfClosing()
    const present = partition.incarnation
    // It has died: its replacement is as new as can be.
    if (!present?.isReady) return
    const next = supervisor.make(partition)
    partition.successor = next
    try {
      await supervisor.loader.loadAnew(next, supervisor.loader.own)
    } catch (error) {
      await this.#dismiss(partition)
      throw error
    }
    const { incarnation } = partition
    // The present one may have died and been replaced meanwhile.
    if (incarnation?.isReady && incarnation !== present) await this.#dismiss(partition)
    else await this.#changeOver(partition, next, false)
  }

  /**
   * Makes a thread for each partition that has loaded a module.
   *
   * @returns Names of its handlers.
   */
  async #loadEverywhere(url: string | undefined): Promise<readonly string[]> {
    const supervisor = this.#supervisor
    const load = async (partition: PartitionHandle, expected?: readonly string[]) => {
      const next = supervisor.make(partition, url)
      partition.successor = next
      return supervisor.loader.loadAnew(next, expected)
    }
    try {
      this.#refuseIfClosing()
      const inUse = this.#partitions.filter(({ state }) => state !== 'dormant')
      const [first, ...others] = inUse.length > 0 ? inUse : this.#partitions.slice(0, 1)
      // A module that loads nowhere costs one thread.
      const own = await load(first!)
      this.#refuseIfClosing()
      await Promise.all(others.map((partition) => load(partition, own)))
      this.#refuseIfClosing()
      return own
    } catch (error) {
      await Promise.all(this.#partitions.map((partition) => this.#dismiss(partition)))
      // A thread that close() ended while it loaded says nothing about the module.
      this.#refuseIfClosing()
      throw error
    }
  }

  async #dismiss(partition: PartitionHandle): Promise<void> {
    const { successor } = partition
    partition.successor = undefined
    if (successor !== undefined) await this.#supervisor.end(successor)
  }

  /**
   * Lets a thread that has loaded take a partition over.
   *
   * @param isDecided - Whether the present thread must go even if the next one has died since.
   */
  async #changeOver(
    partition: PartitionHandle,
    next: Incarnation,
    isDecided: boolean,
  ): Promise<void> {
    const { incarnation } = partition
    const isLost = () => !isDecided && next.living === undefined
    try {
      // Commands that the present one gave back now would wait for ever.
      this.#refuseIfClosing()
      if (incarnation?.isUp) await this.#handOver(partition, incarnation, next, isLost)
      else if (!isLost()) await this.#moveIn(partition, next)
    } finally {
      // It has not taken over: it died, or the present one did and was replaced meanwhile.
      await this.#dismiss(partition)
    }
    this.#refuseIfClosing()
  }

  #refuseIfClosing(): void {
    if (this.#supervisor.isClosing) throw laneError('CORELANE_CLOSED', { state: 'closed' })
  }

  /**
   * Gives a thread to a partition that has none: it was given up, or its replacement has not loaded
   * its handlers, which may be old ones.
   */
  async #moveIn(partition: PartitionHandle, next: Incarnation): Promise<void> {
    const late = partition.incarnation
    partition.failures = 0
    this.#supervisor.adopt(partition, next)
    if (late === undefined) return
    partition.retiring.add(late)
    // Broadcasts that wait for it to load would be lost with it.
    await late.untilQuiet()
    await this.#supervisor.end(late)
  }

  async #handOver(
    partition: PartitionHandle,
    present: Incarnation,
    next: Incarnation,
    isLost: () => boolean,
  ): Promise<void> {
    const supervisor = this.#supervisor
    const isOver = () => partition.incarnation !== present || supervisor.isClosing || isLost()
    const { load, watch } = present.window
    // A detached run may never end.
    const isIdle = () => load.count + load.restingCount === watch.detachedCount
    // A handler that waits may wait for a command that can run nowhere but here, and a stream that
    // rests, for a reader that takes its time. One elsewhere may have the slot that is wanted here
    // by a command whose payload was moved: that cannot go back.
    const isHeldUp = () =>
      present.window.runningCount === 0 && this.#partitions.some((other) => other.hasWaiting)
    const hasWaiting = () => partition.hasWaiting || load.restingCount > 0 || isHeldUp()
    do {
      this.#setReady(partition, present, true)
      await this.#until(() => isOver() || isIdle() || !hasWaiting())
      this.#setReady(partition, present, false)
      await this.#until(() => isOver() || isIdle() || hasWaiting())
    } while (!isOver() && !isIdle())
    if (isOver()) {
      this.#setReady(partition, present, true)
      return
    }
    supervisor.adopt(partition, next)
    await this.#endInOrder(present)
    await supervisor.remove(present)
  }

  /**
   * Lets a thread that was taken over from end its broadcasts, which would be lost with it, and
   * tear down. Both may wait for a detached run, which keeps its slots and its key until then: one
   * that outlives its grace ends the waiting. A teardown that fails holds up no command.
   */
  #endInOrder(present: Incarnation): Promise<void> {
    const { window } = present
    return new Promise((resolve) => {
      const look = () => {
        let count = 0
        for (let taken = window.drain(); taken > 0; taken = window.drain()) count += taken
        // A detached run that has ended gives back what it kept of its group.
        if (count > 0) this.#events.requeue([])
        if (window.watch.stuckRun(nowMs()) !== undefined) end()
      }
      const timer = timers.setInterval(look, DRAIN_MS).unref()
      const end = () => {
        timers.clearInterval(timer)
        resolve()
      }
      const ended = present.untilQuiet().then(() => this.#supervisor.tearDown(present))
      void ended.catch(() => {}).then(end)
    })
  }

  /** Lets commands be bound to a thread, or takes back those that it has not started. */
  #setReady(partition: PartitionHandle, present: Incarnation, isReady: boolean): void {
    const isUseful = partition.incarnation === present && !this.#supervisor.isClosing
    if (present.isReady === isReady || !isUseful) return
    if (isReady) present.open()
    else present.shut()
    this.#events.requeue(isReady ? [] : present.window.recall())
  }

  async #until(isSo: () => boolean): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#onProgress = () => {
        if (isSo()) resolve()
      }
      this.#onProgress()
    })
    this.#onProgress = undefined
  }
}
