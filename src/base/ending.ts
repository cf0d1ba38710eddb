// Ending: ends the process by a signal, and tells a second signal from a repetition of the first.

import { constants } from 'node:os'
import { nowMs } from './clock.ts'

/** A signal that has come. */
export interface Arrival {
  readonly signal: NodeJS.Signals
  /** When it came, or may last have been raised anew, monotonic milliseconds. */
  atMs: number
}

/** How soon a repetition comes, at most. */
const REPEAT_MS = 500

/**
 * Whether a signal repeats the first one. A terminal sends Ctrl-C to every process of a command;
 * npm, which is one of them, passes it on to the program that it has started.
 *
 * @param first - The first signal; undefined if there was none.
 * @param signal - The present one.
 */
export function isRepeated(first: Arrival | undefined, signal: NodeJS.Signals): boolean {
  return first?.signal === signal && nowMs() - first.atMs < REPEAT_MS
}

/**
 * The exit code that a shell reports for a process that a signal has ended.
 *
 * @param signal - The signal.
 */
export function exitCodeOf(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal]
}

/**
 * Ends the process by a signal, at once.
 *
 * @param signal - The signal; its listeners are removed.
 */
export function endBySignal(signal: NodeJS.Signals): never {
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
  // The kernel spares the first process of a container.
  process.exit(exitCodeOf(signal))
}
