// Signals: ends a manager in order when the process is told to end.
// Thread: main.   Owns: the signal handlers it installs.

import { anything, checkOptions, milliseconds, type OptionRules } from '../base/options.ts'

/** What can be ended in order. */
export interface Closeable {
  drain(timeoutMs?: number): Promise<void>
  close(): Promise<void>
}

/** Options of {@link closeOnSignals}. */
export interface SignalOptions {
  /** Default: SIGTERM and SIGINT. */
  readonly signals?: readonly NodeJS.Signals[] | undefined
  /** How long commands in flight may take to finish. Default 10,000 ms. */
  readonly drainTimeoutMs?: number | undefined
}

/** The rules of {@link SignalOptions}. */
export const SIGNAL_RULES = Object.freeze({
  signals: anything(
    Object.freeze(['SIGTERM', 'SIGINT']),
    'an array of signal names',
    (value) => Array.isArray(value) && value.every((name) => /^SIG[A-Z0-9]+$/.test(name)),
  ),
  drainTimeoutMs: milliseconds(10_000, 0, 2 ** 31 - 1),
}) satisfies OptionRules

/**
 * At the first signal refuses new commands, lets those in flight finish, closes the manager, and
 * ends the process as the signal would have. A second signal ends it at once.
 *
 * @param manager - What to end.
 * @param options - Which signals, and how long to wait.
 * @returns Takes the signal handlers away again.
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function closeOnSignals(manager: Closeable, options?: SignalOptions): () => void {
  const checked = checkOptions<SignalOptions>('closeOnSignals', options, SIGNAL_RULES)
  const signals = checked.signals!
  const remove = (): void => {
    for (const signal of signals) process.off(signal, onSignal)
  }
  const onSignal = (signal: NodeJS.Signals): void => {
    // Without a handler the next signal has its usual effect: it ends the process.
    remove()
    const raise = () => process.kill(process.pid, signal)
    // What is left after the time-out ends with the manager, and its teardown's failure with the
    // process: the signal is the answer to both.
    const close = () => manager.close().then(raise, raise)
    manager.drain(checked.drainTimeoutMs).then(close, close)
  }
  for (const signal of signals) process.on(signal, onSignal)
  return remove
}
