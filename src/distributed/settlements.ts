// Settlements: tells the queue how deliveries ended, as often as it takes.
// Thread: main.   Owns: what the queue was not told yet.

import type { LeasedQueue, ReleaseReason, SettleStatus } from './distributed-queue.ts'
import type { CommandResult } from './envelope.ts'
import type { HeldCommand } from './held-command.ts'
import { Outbox } from './outbox.ts'
import { toPortableError } from './portable-error.ts'

/** Most completions or releases of one call, as the contract has it. */
const BATCH_MAX = 4096

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
