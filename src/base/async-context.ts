// Async context: which request a function runs for, as AsyncLocalStorage and tracing tell it, and
// the end of a turn.
// Owns: the context outside of all requests.
//
// A timer, a promise's reaction, a port or a thread carries the context in which it was made, and
// keeps what the application stores there. A command is submitted in the context of its request;
// what the runtime does for all commands belongs to none.

import { AsyncResource } from 'node:async_hooks'

/** Its reactions run at the end of the current turn; cheaper than `queueMicrotask`. */
export const TURN_END: Promise<void> = Promise.resolve()

/**
 * Runs a function outside of every request. Whatever outlives the caller's turn is made in here.
 * Costs about 40 ns.
 *
 * @param run - The function.
 * @param given - Its arguments.
 */
export function outside<A extends unknown[], R>(run: (...given: A) => R, ...given: A): R {
  return OUTSIDE.runInAsyncScope(run, undefined, ...given)
}

/**
 * Runs a function at the end of this turn, outside of every request. A function of its own, since
 * one that makes a closure allocates for it at each call.
 *
 * @param run - The function.
 */
export function atTurnEnd(run: () => unknown): void {
  outside(() => void TURN_END.then(run))
}

/** The context in which it was made. */
export class CallContext extends AsyncResource {
  constructor(type = 'corelane.command') {
    super(type)
  }

  /** Jest's `--detectOpenHandles` reports every resource that does not say so. */
  hasRef(): boolean {
    return false
  }

  /**
   * Calls a function of the caller's.
   *
   * @param callback - The function.
   * @param value - Its argument.
   */
  call<T, R>(callback: (value: T) => R, value: T): R {
    return this.runInAsyncScope(callback, undefined, value)
  }
}

/** The context in which this module was loaded. */
const OUTSIDE = new CallContext('corelane')
