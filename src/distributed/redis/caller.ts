// Caller: runs scripts on a link, again where that is right, until the call's time is up.
// Owns: which scripts the server is not known to have.

import { nowMs } from '../../base/clock.ts'
import { LaneError, laneError } from '../../base/errors.ts'
import { isErrorValue } from '../../wire/families.ts'
import { backoffMs, Pause } from '../contract/pause.ts'
import { LinkLost, mayPass, type RedisLink } from './link.ts'
import type { Script } from './scripts/script.ts'

/** How something is done again. */
interface Attempts {
  /** When its time is up, on the monotonic clock. Default: after `callTimeoutMs`. */
  readonly untilMs?: number
  /** Whether it may not be done again once it was sent. Default false. */
  readonly isOnce?: boolean | undefined
  /** The link that it needs. Default: that of calls. */
  readonly link?: RedisLink
}

/** One call: a script, its KEYS and its ARGV. */
export type Call = readonly [
  script: Script,
  keys: readonly string[],
  args: readonly (string | number | Buffer)[],
]

/** An answer of a script: numbers, Buffers, and lists of them. */
export type Reply = number | Buffer | Reply[] | null

/** An answer as text. */
export function textOf(reply: Reply): string {
  return Buffer.isBuffer(reply) ? reply.toString('latin1') : String(reply)
}

export class RedisCaller {
  readonly #link: RedisLink
  readonly #queue: string
  readonly #place: string
  readonly #callTimeoutMs: number
  readonly #report: (kind: 'answer-lost' | 'not-ready', detail: string) => void
  /** Whether calls fail from now on. */
  isClosed = false

  /**
   * @param names - Name of the queue, and where Redis is, for errors.
   * @param report - Called when it is unknown whether something was done, and when Redis refuses a
   * call for now.
   */
  constructor(
    link: RedisLink,
    names: { readonly queue: string; readonly place: string },
    callTimeoutMs: number,
    report: (kind: 'answer-lost' | 'not-ready', detail: string) => void,
  ) {
    this.#link = link
    this.#queue = names.queue
    this.#place = names.place
    this.#callTimeoutMs = callTimeoutMs
    this.#report = report
  }

  /** @throws ClosedError `CORELANE_CLOSED` once it is closed. */
  checkOpen(): void {
    if (this.isClosed) throw laneError('CORELANE_CLOSED', { state: 'closed' })
  }

  /**
   * Runs a script, whose table says what it answers.
   *
   * @throws LaneError `CORELANE_QUEUE_UNAVAILABLE`; LinkLost if it is to be asked once only.
   */
  run<Answer extends Reply = Reply>(...call: Call): Promise<Answer> {
    const [script, keys, args] = call
    const given = args.map((arg) => (typeof arg === 'number' ? String(arg) : arg))
    const words = ['', '', String(keys.length), ...keys, ...given]
    let isKnown = true
    const attempt = async () => {
      words[0] = isKnown ? 'EVALSHA' : 'EVAL'
      words[1] = isKnown ? script.sha : script.source
      try {
        return (await this.#link.send(words)) as Answer
      } catch (error) {
        if (isErrorValue(error) && error.message.startsWith('NOSCRIPT')) isKnown = false
        if (error instanceof LinkLost && error.wasSent) {
          this.#report('answer-lost', `${script.name}: ${error.message}`)
        }
        throw error
      }
    }
    return this.repeat(attempt, script)
  }

  send(args: readonly (string | Buffer)[]): Promise<Reply> {
    return this.repeat(async () => (await this.#link.send(args)) as Reply)
  }

  /**
   * Does something that may be done again, until it goes well or the call's time is up.
   *
   * @throws LaneError `CORELANE_QUEUE_UNAVAILABLE`; LinkLost if `isOnce`.
   */
  async repeat<T>(
    attempt: () => Promise<T>,
    { untilMs = nowMs() + this.#callTimeoutMs, isOnce, link = this.#link }: Attempts = {},
  ): Promise<T> {
    this.checkOpen()
    for (let failures = 0; ; ) {
      if (!(await link.up(untilMs))) {
        this.checkOpen()
        throw this.unavailable(link.reason)
      }
      try {
        return await attempt()
      } catch (error) {
        this.checkOpen()
        if (error instanceof LaneError) throw error
        if (isOnce && error instanceof LinkLost && error.wasSent) throw error
        const { message } = error as Error
        if (message.startsWith('NOSCRIPT')) continue
        // A replica answers so: the primary is elsewhere now.
        if (/^(?:READONLY|MASTERDOWN)/.test(message)) link.renew('it became a replica')
        if (!mayPass(error) || nowMs() >= untilMs) throw this.unavailable(message)
        if (error instanceof LinkLost) continue
        if (failures++ === 0) this.#report('not-ready', message)
        await new Pause().wait(backoffMs(failures))
      }
    }
  }

  /** Why a call failed. */
  unavailable(reason: string): LaneError {
    const queue = this.#queue
    return laneError('CORELANE_QUEUE_UNAVAILABLE', { queue, reason: `${reason} (${this.#place})` })
  }
}
