// Link: one connection to Redis that is made again and again.
// Owns: the present client, its deadlines, and the waits for the next one.
// Must not: repeat anything. A call that was sent and not answered fails with LinkLost; its caller
// decides.

import { outside } from '../../base/async-context.ts'
import { nowMs, timers, whenUnanswered } from '../../base/clock.ts'
import { backoffMs, Pause } from '../contract/pause.ts'
import type { Client, ClientMaker } from './client-maker.ts'

/** Answers that say that it may go well later. */
const TRANSIENT =
  /^(?:LOADING|BUSY|TRYAGAIN|CLUSTERDOWN|MASTERDOWN|OOM|NOREPLICAS|MISCONF|READONLY|UNBLOCKED|ERR max number of clients)/

/** There is no connection, or it was lost before the answer came. */
export class LinkLost extends Error {
  override readonly name = 'LinkLost'
  /** Whether Redis may have done what it was asked. */
  readonly wasSent: boolean

  constructor(message: string, options: { readonly wasSent: boolean; readonly cause?: unknown }) {
    super(message, options)
    this.wasSent = options.wasSent
  }
}

export function mayPass(error: unknown): boolean {
  return error instanceof LinkLost || TRANSIENT.test((error as Error).message)
}

export interface LinkOptions {
  readonly maker: ClientMaker
  /** How long an answer may take; then the connection counts as dead. */
  readonly commandTimeoutMs: number
  /** Done with each new client before others may use it. If it rejects, the client is given up. */
  readonly onUp: (client: Client) => Promise<void>
  readonly onLost: (detail: string) => void
  readonly onBack: () => void
  /** Called when the first try of {@link RedisLink.open} has failed and another follows. */
  readonly onUnreachable?: (reason: string) => void
  /** How long it may be silent before it is asked whether it lives. 0: never. */
  readonly pingMs: number
}

export class RedisLink {
  /** A link to the same server: made anew when this one is back, which may have found another. */
  follower: RedisLink | undefined
  readonly #options: LinkOptions
  #client: Client | undefined
  #isClosed = false
  /** Why there is none, where there is none. */
  reason = 'not connected yet'
  #ping: NodeJS.Timeout | undefined
  readonly #lack = new Pause()
  #heardMs = 0
  /** The wait before the next try. */
  readonly #rest = new Pause()
  readonly #running = new Set<Client>()

  constructor(options: LinkOptions) {
    this.#options = options
  }

  get isUp(): boolean {
    return this.#client !== undefined
  }

  /**
   * Connects, and goes on doing so until it is closed.
   *
   * @param untilMs - How long the first connection may take, on the monotonic clock. Default: as
   * long as it takes, also if Redis refuses us.
   * @param failures - Tries that have failed, or 1 if a connection was lost. Default 0.
   * @throws Error of the last try before that, at once if Redis refuses us for good; or when it is
   * closed.
   */
  async open(untilMs: number = Number.POSITIVE_INFINITY, failures = 0): Promise<void> {
    let error: unknown
    for (; ; failures++) {
      if (failures > 0) {
        const leftMs = Math.max(1, untilMs - nowMs())
        await this.#rest.wait(Math.min(backoffMs(failures), leftMs))
      }
      try {
        await this.#connect(untilMs)
        if (failures > 0) {
          this.#options.onBack()
          this.follower?.renew('calls have a new connection')
        }
        return
      } catch (cause) {
        // The end of the time cuts the last try off, which says nothing of why the others failed.
        if (error === undefined || nowMs() < untilMs) error = cause
        this.reason = this.#options.maker.textOf(error)
        const isPatient = untilMs === Number.POSITIVE_INFINITY
        const isOver = !isPatient && (!mayPass(error) || nowMs() >= untilMs)
        if (isOver || this.#isClosed) throw error
        if (failures === 0) this.#options.onUnreachable?.(this.reason)
      }
    }
  }

  /** Waits for a connection; whether there is one. */
  async up(untilMs: number): Promise<boolean> {
    while (this.#client === undefined && !this.#isClosed) {
      const leftMs = untilMs - nowMs()
      if (leftMs <= 0) return false
      await this.#lack.wait(leftMs)
    }
    return this.#client !== undefined
  }

  /**
   * Sends one command.
   *
   * @returns Its answer, blobs as Buffers.
   * @throws LinkLost if none came; an error of node-redis if Redis answered with one.
   */
  send(args: readonly (string | Buffer)[]): Promise<unknown> {
    return this.use((client) => client.sendCommand(args))
  }

  /**
   * Asks the present client for something.
   *
   * @param ask - What; it must answer as soon as a command would.
   * @throws As {@link RedisLink.send}.
   */
  async use<T>(ask: (client: Client) => Promise<T>): Promise<T> {
    const client = this.#client
    if (client === undefined) throw new LinkLost(this.reason, { wasSent: false })
    return this.#timed(client, ask(client))
  }

  /**
   * Waits for an answer as long as one may take. Answers come in the order of their questions: one
   * in a long line is not late while those before it come.
   *
   * @param untilMs - Until when at the latest, on the monotonic clock.
   */
  async #timed<T>(
    client: Client,
    answer: Promise<T>,
    untilMs: number = Number.POSITIVE_INFINITY,
  ): Promise<T> {
    const sentMs = nowMs()
    let forget!: () => void
    const late = new Promise<never>((_, reject) => {
      const limitMs = Math.max(1, Math.min(this.#options.commandTimeoutMs, untilMs - sentMs))
      const look = (): void => {
        const leftMs = Math.min(this.#heardMs + limitMs, untilMs) - nowMs()
        if (leftMs > 0 && this.#heardMs > sentMs) {
          forget = whenUnanswered(look, leftMs)
          return
        }
        const reason = `no answer within ${Math.round(limitMs)} ms`
        reject(new LinkLost(reason, { wasSent: true }))
        this.#drop(client, reason)
      }
      forget = whenUnanswered(look, limitMs)
    })
    try {
      const result = await Promise.race([answer, late])
      this.#heardMs = nowMs()
      return result
    } catch (error) {
      if (error instanceof LinkLost) throw error
      if (isAnswer(error)) {
        this.#heardMs = nowMs()
        throw error
      }
      throw new LinkLost(this.#options.maker.textOf(error), { wasSent: true, cause: error })
    } finally {
      forget()
    }
  }

  /** Gives the present connection up, so that another one is made: to a new primary, perhaps. */
  renew(reason: string): void {
    if (this.#client !== undefined) this.#drop(this.#client, reason)
  }

  close(): void {
    this.#isClosed = true
    this.reason = 'closed'
    this.#client = undefined
    timers.clearInterval(this.#ping)
    for (const client of this.#running) destroy(client)
    this.#running.clear()
    this.#rest.end()
    this.#lack.end()
  }

  #drop(client: Client, reason: string): void {
    const isPresent = this.#client === client
    if (isPresent) {
      this.#client = undefined
      this.reason = reason
      timers.clearInterval(this.#ping)
    }
    this.#running.delete(client)
    // It says that it ended, which is not the reason.
    destroy(client)
    if (!isPresent) return
    // The next connection outlives the call that found this one lost.
    outside(() => {
      this.#options.onLost(reason)
      // It fails when the link is closed.
      this.open(Number.POSITIVE_INFINITY, 1).catch(() => {})
    })
  }

  async #connect(untilMs: number): Promise<void> {
    const { maker, onUp, pingMs } = this.#options
    if (this.#isClosed) throw new LinkLost('closed', { wasSent: false })
    const client = maker.make()
    this.#running.add(client)
    client.on('error', (error) => this.#drop(client, maker.textOf(error)))
    client.on('end', () => this.#drop(client, 'the connection ended'))
    try {
      await this.#timed(client, client.connect(), untilMs)
      await this.#timed(client, onUp(client), untilMs)
    } catch (error) {
      this.#drop(client, maker.textOf(error))
      throw error
    }
    if (this.#isClosed || !this.#running.has(client)) {
      this.#drop(client, 'closed')
      throw new LinkLost('the connection was lost at once', { wasSent: false })
    }
    this.#client = client
    this.#lack.end()
    if (pingMs === 0) return
    this.#ping = timers.setInterval(() => {
      // Lost or late: the link learns of it by itself.
      this.#timed(client, client.sendCommand(['PING'])).catch(() => {})
    }, pingMs)
  }
}

function destroy(client: Client): void {
  try {
    client.destroy()
  } catch {
    // It was closed already.
  }
}

/** Whether Redis answered with an error, rather than not at all. */
function isAnswer(error: unknown): boolean {
  for (
    let proto: object | null = typeof error === 'object' ? error : null;
    proto !== null;
    proto = Object.getPrototypeOf(proto) as object | null
  ) {
    // By name: the user's client may come from another copy of node-redis.
    if (proto.constructor?.name === 'ErrorReply') return true
  }
  return false
}
