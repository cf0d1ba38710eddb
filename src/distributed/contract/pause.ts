// Pause: waits that can be ended early, and the pauses before calls of a queue are repeated.
// Owns: their timers.

import { timers } from '../../base/clock.ts'
import { randomFrom, uniqueName } from '../../base/random.ts'
import { type RetryPlan, retryDelayMs } from '../../model/retry.ts'
import { stableHash } from '../../schedule/hash.ts'

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

let chance: (() => number) | undefined

/**
 * How long to wait before a call that failed is repeated: 50 ms, 100 ms … 1 s, of which chance
 * takes up to a half, so that not all clients of a queue come back at once.
 *
 * @param failures - How often it has failed in a row, 1 or more.
 */
export function backoffMs(failures: number): number {
  // Another one in every process.
  chance ??= randomFrom(stableHash(uniqueName()))
  // Past this the power would only grow towards infinity.
  return retryDelayMs(RECONNECT, Math.min(failures, 16), chance())
}

/** A wait, of any number of waiters. */
export class Pause {
  readonly #ends = new Set<() => void>()

  /**
   * @param ms - At most so long. Infinity: until it is ended.
   * @param holdsProcess - Whether the process is kept alive meanwhile. Default true.
   * @param signal - Ends this wait, too, when it aborts.
   * @returns Whether it was ended before its time.
   */
  wait(ms: number, holdsProcess = true, signal?: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined
      const leave = (isEnded: boolean): void => {
        timers.clearTimeout(timer)
        signal?.removeEventListener('abort', end)
        this.#ends.delete(end)
        resolve(isEnded)
      }
      const end = (): void => leave(true)
      this.#ends.add(end)
      signal?.addEventListener('abort', end)
      if (ms === Number.POSITIVE_INFINITY) return
      timer = timers.setTimeout(leave, ms, false)
      if (!holdsProcess) timer.unref()
    })
  }

  /** Ends the waits there are. */
  end(): void {
    for (const end of this.#ends) end()
  }
}

/**
 * Waits for something, at most so long.
 *
 * @returns Whether it was done by then.
 * @throws (as a rejection) As it does, if it does in time.
 */
export async function isWithin(ms: number, work: Promise<unknown>): Promise<boolean> {
  const limit = new Pause()
  try {
    return await Promise.race([work.then(() => true), limit.wait(ms)])
  } finally {
    limit.end()
  }
}

/** Lets the event loop turn once. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    timers.setImmediate(resolve)
  })
}
