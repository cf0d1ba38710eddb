// Local service: lets workers of this process wait for commands, and announces results.
// Owns: the one timer of the queue, the waits of its workers, the listeners.

import { Alarm } from '../../base/alarm.ts'
import { callListener, nowMs, timers } from '../../base/clock.ts'
import type { WorkerStanding } from '../../model/queue-standing.ts'
import type { Delivery, LeaseRequest, NameState } from '../contract/distributed-queue.ts'
import { NAMES_MAX, REMEMBERED_MS } from '../contract/engine-checks.ts'
import type { CommandEnvelope, CommandResult } from '../contract/envelope.ts'
import { Listeners } from '../contract/listeners.ts'
import { Pause } from '../contract/pause.ts'
import { LocalBroker, type LocalBrokerEvents } from './local-broker.ts'
import { LocalLimits } from './local-limits.ts'
import type { LocalQueuePlan } from './local-plan.ts'

/** The queue, as one of its workers has it. */
export interface LocalWorker {
  readonly workerId: string
  /** Ends each announcement to it. */
  readonly ends: Set<() => void>
}

interface Wait {
  readonly worker: LocalWorker
  readonly request: LeaseRequest
  readonly pause: Pause
  given: Delivery[]
}

/** Which lanes or handlers the workers have, as they announce it. Time is a parameter. */
export class LocalNames {
  /** By name: until when a worker has it. */
  readonly #untilMs = new Map<string, number>()

  /**
   * A worker has these.
   *
   * @param untilMs - When that is over, unless it says so again.
   */
  announce(
    names: readonly string[],
    others: readonly string[],
    nowMs: number,
    untilMs: number,
  ): void {
    for (const [name, until] of this.#untilMs) {
      if (until < nowMs - REMEMBERED_MS) this.#untilMs.delete(name)
    }
    const keep = (name: string, until: number): unknown =>
      this.#untilMs.set(name, Math.max(until, this.#untilMs.get(name) ?? 0))
    for (const name of names) keep(name, untilMs)
    for (const name of others) keep(name, nowMs - 1)
  }

  /** Names that workers have announced, some of them. */
  get known(): readonly string[] {
    return [...this.#untilMs.keys()].slice(0, NAMES_MAX)
  }

  stateOf(name: string, nowMs: number): NameState {
    const untilMs = this.#untilMs.get(name)
    if (untilMs === undefined) return this.#untilMs.size === 0 ? 'unserved' : 'unknown'
    return untilMs >= nowMs ? 'served' : 'unserved'
  }

  /** Some of these that no live worker has. */
  unserved(names: Iterable<string>, nowMs: number): string[] {
    const isUnserved = (name: string): boolean => this.stateOf(name, nowMs) !== 'served'
    return [...names].filter(isUnserved).slice(0, NAMES_MAX)
  }
}

interface Said {
  readonly atMs: number
  readonly standing: WorkerStanding
}

export class LocalService implements LocalBrokerEvents {
  readonly plan: LocalQueuePlan
  readonly limits = new LocalLimits()
  readonly lanes = new LocalNames()
  readonly handlers = new LocalNames()
  /** By id: what each worker says of itself, and when it said so. */
  readonly #workers = new Map<string, Said>()
  /** Workers until they are closed. */
  readonly open = new Set<LocalWorker>()
  readonly #broker: LocalBroker
  /** Those that wait longest are served first. */
  readonly #waits = new Set<Wait>()
  /** Of results, by submitter; called after the call that ended the command. */
  readonly results = new Listeners<[CommandResult]>()
  readonly progress = new Listeners<[string, unknown]>()
  /** Of paused lanes, and of limits that were set. */
  readonly pauses = new Listeners<[string]>()
  readonly limitChanges = new Listeners<[]>()
  /** Of cancelled commands, by worker. */
  readonly cancels = new Listeners<[readonly string[]]>()
  /** Results to announce at the end of the turn, and the listeners to each. */
  #results: CommandResult[] = []
  #audiences: ReadonlySet<(result: CommandResult) => void>[] = []
  #isServing = false
  // A queue that holds something keeps no process alive; a worker that waits for it does.
  readonly #alarm = new Alarm(() => this.with((broker, now) => broker.advance(now)))

  constructor(plan: LocalQueuePlan) {
    this.plan = plan
    this.#broker = new LocalBroker(plan, this)
  }

  cancelled(workerId: string, fence: string): void {
    // Later than a worker takes in what it was given in this turn.
    timers.setImmediate(() => this.cancels.call(workerId, [fence]))
  }

  /** Does something with the commands, and then serves workers that wait. */
  with<T>(act: (broker: LocalBroker, nowMs: number) => T): T {
    try {
      return act(this.#broker, nowMs())
    } finally {
      this.#alarm.set(this.#broker.nextDueMs)
      this.#serveSoon()
    }
  }

  async lease(worker: LocalWorker, request: LeaseRequest): Promise<Delivery[]> {
    const given = this.with((broker, now) => broker.lease(worker.workerId, request, now))
    const { waitMs, signal } = request
    if (given.length > 0 || waitMs === 0 || signal?.aborted) return given
    const wait: Wait = { worker, request, pause: new Pause(), given }
    this.#waits.add(wait)
    await wait.pause.wait(waitMs, true, signal)
    this.#waits.delete(wait)
    return wait.given
  }

  join(workerId: string): LocalWorker {
    const worker = { workerId, ends: new Set<() => void>() }
    this.open.add(worker)
    return worker
  }

  /** A worker is closed: it waits and listens no longer. */
  leave(worker: LocalWorker): void {
    this.open.delete(worker)
    for (const end of worker.ends) end()
    for (const wait of this.#waits) if (wait.worker === worker) this.#end(wait)
  }

  /** At once, so that it is given nothing meanwhile. */
  #end(wait: Wait): void {
    this.#waits.delete(wait)
    wait.pause.end()
  }

  /** Ends all workers, and the timer: leases and delays end no more. */
  close(): void {
    for (const worker of this.open) this.leave(worker)
    this.#alarm.stop()
  }

  /** Adds a listener that lasts as long as its worker. */
  listen<Given extends unknown[]>(
    { ends }: LocalWorker,
    listeners: Listeners<Given>,
    submitter: string,
    listener: (...given: Given) => void,
  ): () => Promise<void> {
    const end = listeners.add(submitter, listener)
    ends.add(end)
    return async () => {
      ends.delete(end)
      end()
    }
  }

  /** What the workers that live say of themselves. */
  live(): Map<string, Said> {
    const now = nowMs()
    for (const [id, { atMs }] of this.#workers) {
      if (now - atMs >= this.plan.leaseMs) this.#workers.delete(id)
    }
    return this.#workers
  }

  ended({ submitter }: CommandEnvelope, result: CommandResult): void {
    const listeners = submitter === undefined ? undefined : this.results.get(submitter)
    if (listeners === undefined) return
    this.#audiences.push(listeners)
    if (this.#results.push(result) === 1) timers.queueMicrotask(this.#announceResults)
  }

  readonly #announceResults = (): void => {
    const [results, audiences] = [this.#results, this.#audiences]
    this.#results = []
    this.#audiences = []
    for (let i = 0; i < results.length; i++) {
      for (const listener of audiences[i]!) {
        callListener(listener, results[i]!)
      }
    }
  }

  /** At the end of the turn, so that commands enqueued one by one are given out together. */
  #serveSoon(): void {
    if (this.#isServing || this.#waits.size === 0) return
    this.#isServing = true
    timers.queueMicrotask(() => {
      this.#isServing = false
      for (const wait of this.#waits) {
        wait.given = this.#broker.lease(wait.worker.workerId, wait.request, nowMs())
        if (wait.given.length > 0) this.#end(wait)
      }
      this.#alarm.set(this.#broker.nextDueMs)
    })
  }
}
