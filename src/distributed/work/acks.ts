// Acks: reports starts and ends of deliveries to the queue, as often as it takes.
// Thread: main.   Owns: the reports that the queue has not answered.
//
// Starts are reported where a delivery counts only then, and few of them ahead of the threads. If
// this process dies, those few come nearer to their last delivery; the rest of what it held does
// not.

import { Deque } from '../../base/deque.ts'
import type { LeasedQueue, ReleaseReason, SettleStatus } from '../contract/distributed-queue.ts'
import type { CommandResult } from '../contract/envelope.ts'
import { BATCH_MAX } from '../contract/lease-request.ts'
import { toPortableError } from '../contract/portable-error.ts'
import { Outbox } from '../outbox.ts'
import type { HeldCommand } from './held.ts'
import type { WorkerLane } from './lanes.ts'

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

/** Burials that are under way at once; each is a call of its own. */
const BURIALS_MAX = 64

/** Longest message of a failure that replaces one that was refused. */
const SHORT_MAX = 200

interface Completion {
  readonly held: HeldCommand
  readonly result: CommandResult
}

interface Release {
  readonly held: HeldCommand
  readonly reason: ReleaseReason
  readonly delayMs: number
}

interface Burial extends Completion {
  readonly reason: string
  /** Whether it was cut to the least there is to say. */
  readonly isShort: boolean
}

/** What settlements work with. */
export interface SettlementParts {
  readonly queue: LeasedQueue
  /** The queue knows how a delivery ended; stale: it was not this worker's any more. */
  readonly settled: (held: HeldCommand, status: SettleStatus) => void
  /** The queue takes its end in no form. */
  readonly dropped: (held: HeldCommand, error: unknown) => void
  /** A call failed; it is repeated. */
  readonly failed: (error: unknown) => void
  /** For how many milliseconds a completion may wait for others. */
  readonly patienceMs: () => number
}

/** Settles deliveries. */
export class Settlements {
  readonly #parts: SettlementParts
  readonly #completions: Outbox<Completion>
  readonly #releases: Outbox<Release>
  readonly #burials: Outbox<Burial>

  constructor(parts: SettlementParts) {
    const { queue, failed, dropped, patienceMs } = parts
    const common = { owner: queue.workerId, failed }
    this.#parts = parts
    this.#completions = new Outbox<Completion>({
      ...common,
      batchMax: BATCH_MAX,
      patienceMs,
      send: (items) => this.#complete(items),
      // Too large, or of a form that the queue cannot carry: that is a failure of the command.
      refused: ({ held, result }, error) => {
        const failure = { ...result, success: false, error: toPortableError(error) }
        delete failure.value
        this.bury(held, 'result refused', failure)
      },
    })
    this.#releases = new Outbox<Release>({
      ...common,
      batchMax: BATCH_MAX,
      send: (items) => this.#release(items),
      refused: ({ held }, error) => dropped(held, error),
    })
    this.#burials = new Outbox<Burial>({
      ...common,
      batchMax: BURIALS_MAX,
      send: (items) => this.#bury(items),
      refused: (burial, error) => {
        if (burial.isShort) dropped(burial.held, error)
        else this.#burials.add(shortened(burial))
      },
    })
  }

  /** Deliveries whose end the queue has not answered for. */
  get size(): number {
    return this.#completions.size + this.#releases.size + this.#burials.size
  }

  /**
   * Ends a command.
   *
   * @param held - Its delivery.
   * @param result - How it ended.
   */
  complete(held: HeldCommand, result: CommandResult): void {
    held.stage = 'ended'
    this.#completions.add({ held, result })
  }

  /**
   * Gives a command back. What is given back in some order reaches the queue in that order.
   *
   * @param held - Its delivery.
   * @param reason - Why.
   * @param delayMs - Keeps it from being given out for so long.
   */
  release(held: HeldCommand, reason: ReleaseReason, delayMs = 0): void {
    held.stage = 'ended'
    const { delay } = this.#parts.queue.capabilities
    this.#releases.add({ held, reason, delayMs: delay ? delayMs : 0 })
  }

  /**
   * Puts a command among the dead.
   *
   * @param held - Its delivery.
   * @param reason - A few words.
   * @param result - A failure.
   */
  bury(held: HeldCommand, reason: string, result: CommandResult): void {
    held.stage = 'ended'
    this.#burials.add({ held, reason, result, isShort: false })
  }

  /** Tries no more. */
  giveUp(): void {
    for (const outbox of [this.#completions, this.#releases, this.#burials]) outbox.giveUp()
  }

  async #complete(items: readonly Completion[]): Promise<void> {
    const { queue, settled } = this.#parts
    const statuses = await queue.completeMany(
      items.map(({ held, result }) => ({ delivery: held.delivery, result })),
    )
    for (let i = 0; i < items.length; i++) settled(items[i]!.held, statuses[i] ?? 'stale')
  }

  async #release(items: readonly Release[]): Promise<void> {
    const { queue, settled } = this.#parts
    // One call for each run of the same kind. If a later one fails all are repeated: those that
    // were given back are stale then, whoever has them.
    for (let from = 0; from < items.length; ) {
      const { reason, delayMs } = items[from]!
      let to = from + 1
      while (items[to]?.reason === reason && items[to]!.delayMs === delayMs) to++
      const group = items.slice(from, to)
      const deliveries = group.map(({ held }) => held.delivery)
      const statuses = await queue.release(deliveries, { reason, delayMs })
      for (let i = 0; i < group.length; i++) settled(group[i]!.held, statuses[i] ?? 'stale')
      from = to
    }
  }

  async #bury(items: readonly Burial[]): Promise<void> {
    const { queue, settled } = this.#parts
    await Promise.all(
      items.map(async ({ held, reason, result }) => {
        settled(held, await queue.bury(held.delivery, reason, result))
      }),
    )
  }
}

function shortened(burial: Burial): Burial {
  const { name, message } = burial.result.error ?? { name: 'Error', message: burial.reason }
  const error = { name: name.slice(0, SHORT_MAX), message: message.slice(0, SHORT_MAX) }
  return { ...burial, result: { ...burial.result, error }, isShort: true }
}
