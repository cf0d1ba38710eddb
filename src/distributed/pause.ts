// Pause: a wait that can be ended early, and the pauses before calls of a queue are repeated.
// Owns: its timer.

import { timers } from '../base/clock.ts'
import { type RetryPlan, retryDelayMs } from '../model/retry.ts'
import { stableHash } from '../schedule/hash.ts'

const RECONNECT: RetryPlan = Object.freeze({
  retries: Number.POSITIVE_INFINITY,
  backoff: 'exponential',
  delayMs: 50,
  maxDelayMs: 1000,
  jitter: 0.5,
  retryable: undefined,
  retryTimeouts: true,
  retryLost: true,
})

/**
 * How long to wait before a call that failed is repeated: 50 ms, 100 ms … 1 s, of which chance
 * takes up to a half, so that not all clients of a queue come back at once.
 *
 * @param failures - How often it has failed in a row, 1 or more.
 * @param who - Takes the place of chance: the name of the client.
 */
export function backoffMs(failures: number, who: string): number {
  const chance = stableHash(`${who}/${failures}`) / 2 ** 32
  // Past this the power would only grow towards infinity.
  return retryDelayMs(RECONNECT, Math.min(failures, 16), chance)
}

/** A wait of one waiter at a time. */
export class Pause {
  #end: (() => void) | undefined

  /** Whether somebody waits. */
  get isOn(): boolean {
    return this.#end !== undefined
  }

  /**
   * Waits.
   *
   * @param ms - At most so long. Infinity: until it is ended.
   * @param holdsProcess - Whether the process is kept alive meanwhile. Default true.
   */
  wait(ms: number, holdsProcess = true): Promise<void> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined
      this.#end = () => {
        this.#end = undefined
        timers.clearTimeout(timer)
        resolve()
      }
      if (ms === Number.POSITIVE_INFINITY) return
      timer = timers.setTimeout(this.#end, ms)
      if (!holdsProcess) timer.unref()
    })
  }

  /** Ends the wait, if there is one. */
  end(): void {
    this.#end?.()
  }
}

/** Lets the event loop turn once. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    timers.setImmediate(resolve)
  })
}
