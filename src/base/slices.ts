// Slices: does one thing to very many items without holding up the event loop.

import { nowMs, timers } from './clock.ts'
import { limitStacks } from './errors.ts'

/** So long a slice may take; then the event loop turns. */
const SLICE_MS = 5

/** Items between two readings of the clock. */
const LOOK_COUNT = 64

/** The errors of so many items have a stack; capturing one costs more than all the rest. */
const STACK_COUNT = 1000

/**
 * Calls a function for each item. The first slice runs before this returns.
 *
 * @param items - May shrink meanwhile.
 * @param act - Called once for each; must not throw, nor call the user's code.
 * @returns When all are done.
 */
export async function inSlices<T>(items: Iterable<T>, act: (item: T) => void): Promise<void> {
  const iterator = items[Symbol.iterator]()
  let count = 0
  for (;;) {
    const endMs = nowMs() + SLICE_MS
    const limit = Error.stackTraceLimit
    try {
      do {
        if (count >= STACK_COUNT) limitStacks(0)
        for (let i = 0; i < LOOK_COUNT; i++) {
          const next = iterator.next()
          if (next.done === true) return
          act(next.value)
        }
        count += LOOK_COUNT
      } while (nowMs() < endMs)
    } finally {
      limitStacks(limit)
    }
    await new Promise<void>((resolve) => timers.setImmediate(resolve))
  }
}
