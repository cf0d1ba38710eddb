// Dashboard queue: a queue that workers share, as a dashboard reads it and acts on it.
// Owns: the last answers of the queue: it is read once a second, however many pages are open.

import { inspect, types } from 'node:util'
import { nowMs, timers } from '../base/clock.ts'
import type { LaneCounts, QueueCounts, QueueWorker } from '../model/queue-standing.ts'
import type { RateLimitOptions } from '../model/rate-limit.ts'

/** A queue that a dashboard can show: every `LeasedQueue` has these members. */
export interface DashboardQueue {
  /** Counts what it holds. */
  counts(): Promise<QueueCounts>
  /** Commands that failed for good. */
  readonly dead: {
    /** Some of them, the oldest first. */
    list(max?: number): Promise<
      readonly {
        readonly envelope: {
          readonly id: string
          readonly laneId: string
          readonly commandType: string
          readonly payload?: unknown
          /** Failures that were retried. */
          readonly retryCount: number
        }
        readonly reason: string
        readonly result:
          | {
              /** Absent: it died without one. */
              readonly error?: { readonly name: string; readonly message: string } | undefined
            }
          | undefined
      }[]
    >
    /** Enqueues them again; says how many there were. */
    redrive(commands: readonly string[]): Promise<number>
    /** Forgets them; says how many there were. */
    drop(commands: readonly string[]): Promise<number>
  }
  /** Absent: its lanes cannot be paused or limited. */
  readonly lanes?:
    | {
        /** Those that are paused. */
        paused(): Promise<readonly string[]>
        /** Their limits over all workers. */
        limits(): Promise<
          readonly {
            readonly laneId: string
            /** How many of its commands may run at once. Absent: as workers are configured. */
            readonly concurrency?: number | undefined
            /** How many may start in so many milliseconds. Absent: as workers are configured. */
            readonly rate?:
              | {
                  /** Starts in a window. */
                  readonly limit: number
                  /** Length of the window, in milliseconds. */
                  readonly windowMs: number
                }
              | undefined
          }[]
        >
        /** Keeps the commands of one from being given out. */
        pause(laneId: string): Promise<void>
        /** Lets them be given out again. */
        resume(laneId: string): Promise<void>
        /** Sets how many of its commands may run at once; undefined resets it. */
        setConcurrency(laneId: string, concurrency: number | undefined): Promise<void>
        /** Sets how many may start in a window; undefined resets it. */
        setRateLimit(laneId: string, rateLimit: RateLimitOptions | undefined): Promise<void>
      }
    | undefined
  /** Absent: its workers are not known. */
  readonly workers?:
    | {
        /** Those that live. */
        list(): Promise<readonly QueueWorker[]>
      }
    | undefined
}

type DeadOfQueue = Awaited<ReturnType<DashboardQueue['dead']['list']>>[number]
type LimitsOfQueue = Awaited<ReturnType<NonNullable<DashboardQueue['lanes']>['limits']>>[number]

/** A dead letter as a dashboard shows it. */
export interface ShownLetter {
  readonly id: string
  readonly lane: string
  readonly type: string
  readonly payload: unknown
  readonly error: unknown
  readonly attempts: number
}

/** A lane of a queue as a dashboard shows it. */
interface LaneOfQueue extends LaneCounts, Omit<LimitsOfQueue, 'laneId'> {
  readonly name: string
  readonly isPaused: boolean
  /** How many workers take it. */
  readonly workers: number
}

/** How a queue stands, for pages. */
interface QueueNews extends LaneCounts {
  readonly lanes: readonly LaneOfQueue[]
  readonly workers: readonly QueueWorker[]
  /** How many lanes and workers there are, of which the fullest and the first are shown. */
  readonly laneCount: number
  readonly workerCount: number
}

/** The span between two reads of the queue at least. */
const READ_MS = 1_000
const ROWS_SHOWN = 200
/** Lanes of a worker that are shown. */
const LANES_SHOWN = 20
/** Dead letters that are shown. */
export const LETTERS_SHOWN = 100
/** Dead commands that one act on all of them takes. */
const LETTERS_MAX = 1_000
const TEXT_SHOWN = 2_000
const NOTHING: LaneCounts = Object.freeze({ waiting: 0, delayed: 0, leased: 0, dead: 0 })

/** A request that is answered with a status and a reason. */
export class Refusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** @returns The answer to a redrive of something that is no dead letter. */
export function noLetter(): Refusal {
  return new Refusal(404, 'no such dead letter: it was redriven or purged')
}

/** A value as text that ends. */
export function shown(value: unknown): string {
  let all: string
  try {
    const isError = types.isNativeError(value)
    all = isError ? `${value.name}: ${value.message}` : inspect(value, { customInspect: false })
  } catch {
    // Members that both read may have getters: a name, a message, a tag.
    all = 'a value that cannot be shown'
  }
  return all.length > TEXT_SHOWN ? `${all.slice(0, TEXT_SHOWN)}…` : all
}

/** Puts together what a queue has said. */
export function newsOf(
  counts: QueueCounts,
  paused: readonly string[],
  limits: readonly LimitsOfQueue[],
  workers: readonly QueueWorker[],
): QueueNews {
  const { waiting, delayed, leased, dead, byLane } = counts
  const named = new Map(Object.entries(byLane))
  const served = new Map<string, number>()
  for (const lane of workers.flatMap((worker) => worker.lanes)) {
    served.set(lane, (served.get(lane) ?? 0) + 1)
  }
  const limited = new Map(limits.map(({ laneId, ...limit }) => [laneId, limit]))
  const names = [
    ...new Set([...named.keys(), ...paused, ...limited.keys(), ...served.keys()]),
  ].sort()
  const heldBy = (name: string): number => {
    const lane = named.get(name) ?? NOTHING
    return lane.waiting + lane.delayed + lane.leased + lane.dead
  }
  const fullest = [...names].sort((a, b) => heldBy(b) - heldBy(a)).slice(0, ROWS_SHOWN)
  const lanes = fullest.sort().map((name) => ({
    ...(named.get(name) ?? NOTHING),
    ...limited.get(name),
    name,
    isPaused: paused.includes(name),
    workers: served.get(name) ?? 0,
  }))
  return {
    ...{ waiting, delayed, leased, dead, lanes, laneCount: names.length },
    workers: workers.slice(0, ROWS_SHOWN).map((worker) => {
      const some = worker.lanes.slice(0, LANES_SHOWN)
      return some.length === worker.lanes.length ? worker : { ...worker, lanes: [...some, '…'] }
    }),
    workerCount: workers.length,
  }
}

/** Reads a queue and acts on it. */
export class QueueView {
  readonly #queue: DashboardQueue
  #news: QueueNews | undefined
  #error: string | undefined
  #isReading = false
  #readAtMs = Number.NEGATIVE_INFINITY
  #letters: Promise<readonly DeadOfQueue[]> | undefined
  #listedAtMs = 0
  #timer: NodeJS.Timeout | undefined

  constructor(queue: DashboardQueue) {
    this.#queue = queue
  }

  /** All that is known of it, with the reason if the last read failed; empty until the first. */
  get news(): Partial<QueueNews> & { readonly error?: string | undefined } {
    return { ...this.#news, error: this.#error }
  }

  /** Reads it from now on. */
  start(): void {
    if (nowMs() - this.#readAtMs >= READ_MS) void this.#read()
    this.#timer = timers.setInterval(() => void this.#read(), READ_MS).unref()
  }

  /** Reads it no more. */
  stop(): void {
    timers.clearInterval(this.#timer)
  }

  /** The oldest dead commands. */
  async letters(): Promise<readonly ShownLetter[]> {
    const now = nowMs()
    if (this.#letters === undefined || now - this.#listedAtMs >= READ_MS) {
      this.#listedAtMs = now
      this.#letters = this.#queue.dead.list(LETTERS_SHOWN)
    }
    return (await this.#letters).map(({ envelope, reason, result }) => {
      const { id, laneId: lane, commandType: type, payload, retryCount } = envelope
      const { name, message } = result?.error ?? {}
      const why = name === undefined ? reason : `${reason}: ${name}: ${message}`
      const error = why.slice(0, TEXT_SHOWN)
      return { id, lane, type, payload, error, attempts: retryCount + 1 }
    })
  }

  /**
   * Does what a page asks for.
   *
   * @param act - As "lanes pause".
   * @param subject - A lane, or a dead command.
   * @returns The answer; undefined if there is no such act.
   */
  async act(act: string, subject: string, query: URLSearchParams): Promise<unknown> {
    try {
      return await this.#act(act, subject, query)
    } finally {
      // The next list is made after it.
      this.#letters = undefined
    }
  }

  async #act(act: string, subject: string, query: URLSearchParams): Promise<unknown> {
    const { lanes, dead } = this.#queue
    const oldest = async () => (await dead.list(LETTERS_MAX)).map(({ envelope }) => envelope.id)
    switch (lanes === undefined && act.startsWith('lanes') ? undefined : act) {
      case 'lanes pause':
        await lanes!.pause(subject)
        break
      case 'lanes resume':
        await lanes!.resume(subject)
        break
      case 'lanes concurrency': {
        const max = query.get('max')
        await lanes!.setConcurrency(subject, max === '' ? undefined : Number(max))
        break
      }
      case 'lanes rate': {
        const limit = query.get('limit')
        const windowMs = Number(query.get('windowMs') ?? READ_MS)
        await lanes!.setRateLimit(
          subject,
          limit === '' ? undefined : { limit: Number(limit), windowMs },
        )
        break
      }
      case 'dead redrive': {
        const redriven = await dead.redrive([subject])
        if (redriven === 0) throw noLetter()
        return { redriven }
      }
      case 'dead redriveAll':
        return { redriven: await dead.redrive(await oldest()) }
      case 'dead purge':
        return { purged: await dead.drop([subject]) }
      case 'dead purgeAll':
        return { purged: await dead.drop(await oldest()) }
      default:
        return undefined
    }
    return { done: true }
  }

  async #read(): Promise<void> {
    // One that takes longer than the span is not overtaken.
    if (this.#isReading) return
    this.#isReading = true
    this.#readAtMs = nowMs()
    const { lanes, workers } = this.#queue
    try {
      const said = await Promise.all([
        this.#queue.counts(),
        lanes?.paused() ?? [],
        lanes?.limits() ?? [],
        workers?.list() ?? [],
      ])
      const dead = this.#news?.dead
      this.#news = newsOf(...said)
      this.#error = undefined
      if (dead !== this.#news.dead) this.#letters = undefined
    } catch (error) {
      this.#error = shown(error)
    }
    this.#isReading = false
  }
}
