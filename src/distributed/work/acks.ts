// Acks: reports starts and ends of deliveries to the queue, as often as it takes.
// Owns: the reports that the queue has not answered.
//
// Starts are reported where a delivery counts only then, and few of them ahead of the threads. If
// this process dies, those few come nearer to their last delivery; the other deliveries do not.

import { timers } from '../../base/clock.ts'
import { Deque } from '../../base/deque.ts'
import type { ProgressReport, ReleaseReason, SettleStatus } from '../contract/distributed-queue.ts'
import { CALL_MAX } from '../contract/engine-checks.ts'
import type { CommandResult } from '../contract/envelope.ts'
import { toPortableError } from '../contract/portable-error.ts'
import { Outbox } from '../outbox.ts'
import type { HeldCommand, WorkerCore } from './held.ts'
import type { WorkerLane } from './lane.ts'

/** Work that is reported ahead, so that threads need not wait for answers. */
const AHEAD_MS = 10

/** What takes the commands whose tokens, slots and reports are complete. */
export interface Starter {
  /** Submits a READY command, or reports its start first if that counts. */
  submit(held: HeldCommand): void
  /** The queue says that another worker has them. */
  lose(held: readonly HeldCommand[], why: 'taken'): void
}

export class StartReporter {
  readonly #core: WorkerCore
  readonly #starter: Starter
  readonly #reports: Outbox<HeldCommand>
  /** By lane, the most urgent first. Those that left meanwhile are skipped. */
  readonly #waiting: ReadonlyMap<WorkerLane, Deque<HeldCommand>>
  /** Reported, or about to be, and not known to have left. */
  readonly #passed = new Set<HeldCommand>()
  #isIdle = true

  constructor(core: WorkerCore, starter: Starter) {
    const { lanes, events } = core
    this.#core = core
    this.#starter = starter
    this.#waiting = new Map(lanes.map((lane) => [lane, new Deque<HeldCommand>()]))
    this.#reports = new Outbox<HeldCommand>({
      send: (batch) => this.#report(batch),
      failed: events.failed,
      isWanted: ({ isReady }) => isReady,
    })
  }

  /** Lets a command wait until its start is reported. */
  add(held: HeldCommand): void {
    this.#waiting.get(held.lane)!.push(held)
    this.#isIdle = false
    this.progressed()
  }

  /** Some have left: others may follow. */
  progressed(): void {
    if (this.#isIdle) return
    for (const held of this.#passed) {
      if (!held.isReady && held.state !== 'SUBMITTED') this.#passed.delete(held)
    }
    this.#isIdle = this.#passed.size === 0
    const { capacity, perMs } = this.#core.pace
    const most = capacity + Math.max(capacity, Math.ceil(AHEAD_MS * perMs))
    for (const [lane, waiting] of this.#waiting) {
      if (waiting.length === 0) continue
      this.#isIdle = false
      // Less urgent commands keep nothing back.
      let count = 0
      for (const each of this.#passed) if (each.lane.plan.priority <= lane.plan.priority) count++
      while (count < most && waiting.length > 0) {
        const held = waiting.shift()!
        if (!held.isReady) continue
        this.#passed.add(held)
        this.#reports.add(held)
        count++
      }
    }
  }

  giveUp(): void {
    this.#reports.giveUp()
  }

  async #report(batch: readonly HeldCommand[]): Promise<void> {
    const statuses = await this.#core.queue.start(batch.map(({ delivery }) => delivery))
    for (const [index, held] of batch.entries()) {
      if (!held.isReady) continue
      if (statuses[index] === 'done') {
        held.isCounted = true
        this.#starter.submit(held)
      } else this.#starter.lose([held], 'taken')
    }
  }
}

/** How long reports of progress wait for later ones, which replace them. */
const PROGRESS_MS = 50

/** Reports how far commands have come: of each the latest, a few times a second. */
export class ProgressReporter {
  readonly #core: WorkerCore
  readonly #latest = new Map<HeldCommand, unknown>()
  #timer: NodeJS.Timeout | undefined

  constructor(core: WorkerCore) {
    this.#core = core
  }

  /** What the handler of a command tells how far it has come. */
  of(held: HeldCommand): (value: unknown) => void {
    return (value) => {
      this.#latest.set(held, value)
      this.#flushLater()
    }
  }

  giveUp(): void {
    timers.clearTimeout(this.#timer)
    this.#latest.clear()
  }

  async #flush(): Promise<void> {
    const { queue, events } = this.#core
    const reports: ProgressReport[] = []
    for (const [held, value] of this.#latest) {
      const { id: commandId, submitter } = held.envelope
      if (held.state !== 'SUBMITTED' || held.isAborted || submitter === undefined) continue
      reports.push({ commandId, submitter, value })
    }
    this.#latest.clear()
    try {
      // The next comes with a later report.
      for (let from = 0; from < reports.length; from += CALL_MAX) {
        await queue.commands!.report(reports.slice(from, from + CALL_MAX))
      }
    } catch (error) {
      events.failed(error)
    }
    this.#timer = undefined
    if (this.#latest.size > 0) this.#flushLater()
  }

  #flushLater(): void {
    this.#timer ??= timers.setTimeout(() => void this.#flush(), PROGRESS_MS)
  }
}

/** How long a completion may wait for others where the pool does not say so. */
const GATHER_MS_MIN = 4
const GATHER_MS_MAX = 25

/** Part of a lease that a completion may wait for others, and of its command's age. */
const GATHER_OF_LEASE = 1 / 24
const GATHER_OF_AGE = 1 / 20

/** Dead letters that are under way at once; each is a call of its own. */
const DEAD_LETTERS_MAX = 64

/** Longest message of a failure that replaces one that was refused. */
const SHORT_MAX = 200

interface Release {
  readonly held: HeldCommand
  readonly reason: ReleaseReason
  readonly delayMs: number
}

interface DeadLetter {
  readonly held: HeldCommand
  readonly result: CommandResult
  readonly reason: string
  /** Whether it was cut to the least there is to say. */
  readonly isShort: boolean
}

export class Acknowledger {
  readonly #core: WorkerCore
  /** Each with its result. */
  readonly #completions: Outbox<HeldCommand>
  readonly #releases: Outbox<Release>
  readonly #deadLetters: Outbox<DeadLetter>

  constructor(core: WorkerCore) {
    const { failed } = core.events
    this.#core = core
    this.#completions = new Outbox<HeldCommand>({
      failed,
      patienceMs: this.#patienceMs,
      send: this.#sendCompletions,
      // Too large, or of a form that the queue cannot carry: that is a failure of the command.
      refused: (held, error) => {
        const failure = { ...held.result!, success: false, error: toPortableError(error) }
        delete failure.value
        this.#deadLetters.add({ held, reason: 'result refused', result: failure, isShort: false })
      },
    })
    this.#releases = new Outbox<Release>({
      failed,
      send: this.#sendReleases,
      refused: ({ held }, error) => this.#drop(held, error),
    })
    this.#deadLetters = new Outbox<DeadLetter>({
      failed,
      batchMax: DEAD_LETTERS_MAX,
      send: this.#sendDeadLetters,
      refused: (letter, error) => {
        if (letter.isShort) this.#drop(letter.held, error)
        else this.#deadLetters.add(shortened(letter))
      },
    })
  }

  /** Deliveries whose end the queue has not answered for. */
  get size(): number {
    return this.#completions.size + this.#releases.size + this.#deadLetters.size
  }

  complete(held: HeldCommand, result: CommandResult): void {
    this.#core.held.end(held)
    held.result = result
    this.#completions.add(held)
  }

  /** Gives a command back. The queue gets them in the order in which they are given back. */
  release(held: HeldCommand, reason: ReleaseReason, delayMs = 0): void {
    this.#core.held.end(held)
    const { delay } = this.#core.queue.capabilities
    this.#releases.add({ held, reason, delayMs: delay ? delayMs : 0 })
  }

  deadLetter(held: HeldCommand, reason: string, result: CommandResult): void {
    this.#core.held.end(held)
    this.#deadLetters.add({ held, reason, result, isShort: false })
  }

  /** Completions that wait for others wait no longer. */
  hurry(): void {
    this.#completions.hurry()
  }

  giveUp(): void {
    for (const outbox of [this.#completions, this.#releases, this.#deadLetters]) outbox.giveUp()
  }

  /** A completion waits only while more run, and only if some of them will end meanwhile. */
  readonly #patienceMs = ({ delivery }: HeldCommand): number => {
    const { plan, queue, held, pace } = this.#core
    const { gatherMs } = plan
    const shareMs = (pace.sinceMs - delivery.acceptedAtMs) * GATHER_OF_AGE
    const wishMs = gatherMs ?? Math.min(Math.max(shareMs, GATHER_MS_MIN), GATHER_MS_MAX)
    const ms = Math.min(wishMs, queue.leaseMs * GATHER_OF_LEASE)
    return held.submitted > 0 && pace.perMs * ms >= 1 ? ms : 0
  }

  readonly #sendCompletions = async (items: readonly HeldCommand[]): Promise<void> => {
    const completions = items.map(({ delivery, result }) => ({ delivery, result: result! }))
    const statuses = await this.#core.queue.completeMany(completions)
    for (let i = 0; i < items.length; i++) this.#settled(items[i]!, statuses[i])
  }

  readonly #sendReleases = async (items: readonly Release[]): Promise<void> => {
    // One call for each run of the same kind. If a later one fails all are repeated: those that
    // were given back are stale then, whichever worker has them.
    for (let from = 0; from < items.length; ) {
      const { reason, delayMs } = items[from]!
      let to = from + 1
      while (items[to]?.reason === reason && items[to]!.delayMs === delayMs) to++
      const group = items.slice(from, to)
      const deliveries = group.map(({ held }) => held.delivery)
      const statuses = await this.#core.queue.release(deliveries, { reason, delayMs })
      for (let i = 0; i < group.length; i++) this.#settled(group[i]!.held, statuses[i])
      from = to
    }
  }

  readonly #sendDeadLetters = async (items: readonly DeadLetter[]): Promise<void> => {
    const { queue } = this.#core
    await Promise.all(
      items.map(async ({ held, reason, result }) => {
        this.#settled(held, await queue.deadLetter(held.delivery, reason, result))
      }),
    )
  }

  #settled(held: HeldCommand, status: SettleStatus = 'stale'): void {
    this.#core.held.settled(held, status)
  }

  /** The queue takes its end in no form. */
  #drop(held: HeldCommand, error: unknown): void {
    const { held: all, events } = this.#core
    all.tally.dropped++
    events.incident({ what: 'end-dropped', error, commandIds: [held.envelope.id] })
    all.settled(held, 'done')
  }
}

function shortened(letter: DeadLetter): DeadLetter {
  const { name, message } = letter.result.error ?? { name: 'Error', message: letter.reason }
  const error = { name: name.slice(0, SHORT_MAX), message: message.slice(0, SHORT_MAX) }
  return { ...letter, result: { ...letter.result, error }, isShort: true }
}
