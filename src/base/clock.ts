// Clock: the one place that reads time.
// The functions are captured when the module loads, so fake timers in a test cannot stop the
// runtime, and come from Node's modules, since jsdom and its like replace the global ones.

import { performance } from 'node:perf_hooks'
import node from 'node:timers'
import { outside } from './async-context.ts'

const now = performance.now.bind(performance)
const date = globalThis.Date.now
const OwnPromise = globalThis.Promise
const { then } = OwnPromise.prototype

/**
 * Monotonic milliseconds since the process started, the same in every thread of it (threads were
 * measured to agree within 1 µs). A reading costs about 50 ns.
 *
 * @returns Milliseconds with a fraction.
 */
export function nowMs(): number {
  return now()
}

/**
 * Milliseconds since 1970, for what other machines read. It may jump: never measure with it.
 */
export function epochMs(): number {
  return date()
}

/** A function that sets a timer, with callbacks outside of the request in which it is set. */
function callingOutside<F extends (...given: never[]) => unknown>(set: F): F {
  return ((...given: Parameters<F>) => outside(set, ...given)) as F
}

/** Timers and the ends of turns as they were at load. */
export const timers = Object.freeze({
  setTimeout: callingOutside(node.setTimeout),
  clearTimeout: node.clearTimeout,
  setInterval: callingOutside(node.setInterval),
  clearInterval: node.clearInterval,
  setImmediate: callingOutside(node.setImmediate),
  clearImmediate: node.clearImmediate,
  /** In the context of its caller. */
  nextTick: process.nextTick,
  /** In the context of its caller. */
  queueMicrotask: globalThis.queueMicrotask,
})

/**
 * Calls back when time for an answer is up. A thread that was blocked has sent and read nothing
 * meanwhile, and runs its timers first: so the time has two halves, of which it has one after a
 * block, and what has come is read before the call.
 *
 * @param callback - Called once.
 * @param ms - Milliseconds, at most 2^31 - 1.
 * @returns Forgets it.
 */
export function whenUnanswered(callback: () => void, ms: number): () => void {
  let reading: NodeJS.Immediate | undefined
  let timer = timers.setTimeout(() => {
    timer = timers.setTimeout(() => {
      reading = timers.setImmediate(callback)
    }, ms / 2)
  }, ms / 2)
  return () => {
    timers.clearTimeout(timer)
    timers.clearImmediate(reading)
  }
}

/**
 * Calls a function of the application's. Its error is thrown in a turn of its own, as an event
 * listener's would be: there it ends the process, or meets a listener to uncaught exceptions, and
 * not the code of ours that called.
 *
 * @param listener - The function.
 * @param value - Its argument.
 */
export function callListener<T>(listener: (value: T) => void, value: T): void {
  try {
    listener(value)
  } catch (error) {
    timers.nextTick(() => {
      throw error
    })
  }
}

/**
 * Follows what the application gave, as `await` does: a promise by its state, once, whatever member
 * `then` it was given besides.
 *
 * @param given - A promise, or anything.
 * @param settled - Called with the value, in a turn of its own.
 * @param failed - Called with the reason. Default: the promise that is returned rejects with it.
 * @throws What the member `constructor` of a promise throws.
 */
export function whenSettled<T, R>(
  given: T | PromiseLike<T>,
  settled: (value: T) => R,
  failed?: (reason: unknown) => R,
): Promise<R> {
  return then.call(OwnPromise.resolve(given), settled as never, failed) as Promise<R>
}
