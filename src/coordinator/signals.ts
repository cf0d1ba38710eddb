// Signals: closes managers in order when the process receives a signal that ends it.
// Owns: the process's listeners for those signals, one per signal.
// Must not: end a process whose application ends itself.

import { constants } from 'node:os'
import { outside } from '../base/async-context.ts'
import { TIMER_MS_MAX } from '../base/bounds.ts'
import { nowMs, timers } from '../base/clock.ts'
import { type Arrival, endBySignal, exitCodeOf, isRepeated } from '../base/ending.ts'
import { show } from '../base/errors.ts'
import {
  anything,
  checkOptions,
  invalidOption,
  milliseconds,
  type OptionRules,
} from '../base/options.ts'

/** What can be closed in order: a manager, a worker pool, or anything with these members. */
export interface Closeable {
  drain(timeoutMs?: number): Promise<void>
  close(): Promise<void>
  /** Resolves when it is closed; its signal handlers go then. */
  readonly closed?: PromiseLike<unknown>
}

/** Options of {@link closeOnSignals}. */
export interface SignalOptions {
  /** Default: SIGTERM and SIGINT. */
  readonly signals?: readonly NodeJS.Signals[] | undefined
  /**
   * How long commands in flight may take to finish, and the application's listeners before them.
   * Default 10,000 ms.
   */
  readonly drainTimeoutMs?: number | undefined
}

/** Signals that only some systems have; elsewhere they never come. */
const ELSEWHERE: readonly string[] = ['SIGBREAK', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']

function isHandled(name: string): boolean {
  if (name === 'SIGKILL' || name === 'SIGSTOP') return false
  return Object.hasOwn(constants.signals, name) || ELSEWHERE.includes(name)
}

/** The rules of {@link SignalOptions}. */
export const SIGNAL_RULES = Object.freeze({
  signals: anything(
    Object.freeze(['SIGTERM', 'SIGINT']),
    'an array of names of signals that a process can handle',
    (value) => Array.isArray(value) && value.every(isHandled),
  ),
  drainTimeoutMs: milliseconds(10_000, 0, TIMER_MS_MAX),
}) satisfies OptionRules

/**
 * Closes a manager when the process receives a signal, and then ends the process. All managers of
 * a process that are given to it are closed, and the process ends after the last of them:
 *
 * 1. The application's own listeners run. If they return promises, those may settle first, for at
 *    most `drainTimeoutMs`: an HTTP server finishes its requests, which may submit commands.
 * 2. The manager refuses new commands, finishes those in flight, and closes.
 * 3. Without a listener of the application, `exit` listeners run and the process ends by the
 *    signal. With listeners that returned promises, it ends as soon as it has nothing left to do,
 *    at the latest `drainTimeoutMs` after the signal. A listener that returned anything else ends
 *    the process itself.
 *
 * A second signal ends the process at once, unless it is left to such a listener. The same signal
 * within half a second counts once: npm and others pass on Ctrl-C, which the terminal has sent to
 * the process already, and NestJS raises the signal again once its listener has finished.
 * Call it in the main thread: Node delivers no signal to a worker thread.
 *
 * @param manager - What to close: a manager or a worker pool.
 * @param options - Which signals, and how long to wait.
 * @returns Removes the signal handlers, as `close` of the manager does.
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function closeOnSignals(
  manager: Closeable,
  options?: SignalOptions,
): (() => void) & Disposable {
  const checked = checkOptions<SignalOptions>('closeOnSignals', options, SIGNAL_RULES)
  const { signals, drainTimeoutMs } = checked as Required<SignalOptions>
  const { drain, close } = Object(manager) as Partial<Closeable>
  if (typeof drain !== 'function' || typeof close !== 'function') {
    throw invalidOption('closeOnSignals.manager', show(manager), 'a manager or a worker pool')
  }
  return outside(() => {
    const remove = watchOfProcess().add({
      manager,
      signals: signals!,
      drainTimeoutMs: drainTimeoutMs!,
    })
    void manager.closed?.then(remove, remove)
    return Object.assign(remove, { [Symbol.dispose]: remove })
  })
}

interface Entry {
  readonly manager: Closeable
  readonly signals: readonly NodeJS.Signals[]
  readonly drainTimeoutMs: number
}

type Listener = (...given: unknown[]) => unknown

/** One per process: two copies of the package share it, hence the version in its name. */
const NAME = Symbol.for('corelane.signal-watch.1')

function watchOfProcess(): SignalWatch {
  const holder = process as { [NAME]?: SignalWatch }
  holder[NAME] ??= new SignalWatch()
  return holder[NAME]
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined)?.then === 'function'
}

/** Resolves when a promise settles. A rejection stays unhandled, as it would be without this. */
function settled(promise: PromiseLike<unknown>): Promise<void> {
  return new Promise((resolve) => {
    void promise.then(
      () => resolve(),
      (error) => {
        resolve()
        throw error
      },
    )
  })
}

/**
 * How many listeners of a signal belong to the package signal-exit, which many others use. They do
 * something only where there is no other listener, so they are no reason to leave the process to
 * the application.
 */
function signalExitCount(): number {
  const now = (globalThis as Record<symbol, unknown>)[Symbol.for('signal-exit emitter')]
  const before = (process as { __signal_exit_emitter__?: unknown }).__signal_exit_emitter__
  const countOf = (emitter: unknown) => (emitter as { count?: number } | undefined)?.count ?? 0
  return countOf(now) + countOf(before)
}

/**
 * Replaces listeners of a signal. The signal has a listener all the time, since without one it
 * would end the process.
 */
function replaceListeners(signal: NodeJS.Signals, by: (listener: Listener) => Listener): void {
  const guard = () => {}
  process.prependListener(signal, guard)
  const listeners = process.rawListeners(signal).slice(1) as Listener[]
  // From the last to the first: `off` takes the last that matches.
  for (const listener of [...listeners].reverse()) process.off(signal, listener)
  for (const listener of listeners) process.on(signal, by(listener))
  process.off(signal, guard)
}

/** The signals of a process and what they close. */
class SignalWatch {
  readonly #entries = new Set<Entry>()
  readonly #watched = new Set<NodeJS.Signals>()
  /** The application's listeners, by what stands for them in the process's list. */
  readonly #recorded = new WeakMap<Listener, Listener>()
  /** What the application's listeners returned at the present signal. */
  readonly #returned: unknown[] = []
  /** The signal that has come; the process is about to end. */
  #first: Arrival | undefined
  /** The application ends the process. */
  #isLeft = false

  /**
   * Closes a manager when one of its signals comes.
   *
   * @param entry - The manager, its signals and its limit.
   * @returns Takes that back.
   */
  add(entry: Entry): () => void {
    this.#entries.add(entry)
    this.#update()
    return () => {
      if (this.#entries.delete(entry)) this.#update()
    }
  }

  /** Listens for the signals of all entries and no others, until the process ends. */
  #update(): void {
    if (this.#first !== undefined) return
    const wanted = new Set([...this.#entries].flatMap(({ signals }) => signals))
    if (this.#watched.size === 0 && wanted.size > 0) process.on('newListener', this.#onNew)
    for (const signal of wanted) {
      if (this.#watched.has(signal)) continue
      this.#watched.add(signal)
      process.prependListener(signal, this.#onSignal)
      this.#record(signal)
    }
    for (const signal of this.#watched) {
      if (wanted.has(signal)) continue
      this.#watched.delete(signal)
      process.off(signal, this.#onSignal)
      replaceListeners(signal, (listener) => this.#recorded.get(listener) ?? listener)
    }
    if (this.#watched.size === 0) process.off('newListener', this.#onNew)
  }

  readonly #onNew = (event: string | symbol): void => {
    const signal = event as NodeJS.Signals
    if (this.#watched.has(signal)) timers.nextTick(() => this.#record(signal))
  }

  /**
   * Lets what other listeners of a signal return be known. Each is called when and as often as
   * before, and `listeners` and `off` know it by its own name, as they do after `once`.
   */
  #record(signal: NodeJS.Signals): void {
    const strangers = this.#watched.has(signal) ? this.#strangers(signal) : []
    if (strangers.length === 0) return
    replaceListeners(signal, (listener) => {
      if (!strangers.includes(listener)) return listener
      const name = (listener as { listener?: Listener }).listener ?? listener
      const recorder: Listener & { listener?: Listener } = (...given) => {
        // A listener of `once` removes itself, not what it calls.
        recorder.listener = listener
        try {
          const returned = Reflect.apply(listener, process, given)
          this.#returned.push(returned)
          return returned
        } finally {
          recorder.listener = name
        }
      }
      recorder.listener = name
      this.#recorded.set(recorder, listener)
      return recorder
    })
  }

  /** Listeners of a signal whose returns are not recorded, except those that tsx hides. */
  #strangers(signal: NodeJS.Signals): readonly Listener[] {
    const shown = process.listeners(signal) as Listener[]
    return (process.rawListeners(signal) as (Listener & { listener?: Listener })[]).filter(
      (each) =>
        each !== this.#onSignal &&
        !this.#recorded.has(each) &&
        shown.includes(each.listener ?? each),
    )
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    if (this.#first !== undefined) {
      if (!this.#isLeft && !isRepeated(this.#first, signal)) endBySignal(signal)
      return
    }
    this.#first = { signal, atMs: nowMs() }
    const entries = [...this.#entries].filter(({ signals }) => signals.includes(signal))
    const strangers = this.#strangers(signal).length
    // The application's listeners are called after this one.
    timers.nextTick(() => void this.#end(this.#first!, entries, strangers))
  }

  async #end(first: Arrival, entries: readonly Entry[], strangers: number): Promise<void> {
    const { signal, atMs } = first
    const returned = this.#returned.splice(0)
    const promises = returned.filter(isPromise)
    const bystanders = signalExitCount()
    const own = Math.max(returned.length + strangers - bystanders, 0)
    this.#isLeft = own > promises.length
    const ends = promises.map(async (each) => {
      await settled(each)
      // A listener may raise the signal as its last step.
      first.atMs = nowMs()
    })
    const handled = ends.length === 0 ? undefined : Promise.all(ends)
    await Promise.all(entries.map((entry) => closeAfter(entry, handled)))
    if (!this.#isLeft) {
      await handled
      if (own === 0) this.#exitBy(signal, bystanders > 0)
      const limitMs = Math.max(...entries.map(({ drainTimeoutMs }) => drainTimeoutMs))
      const leftMs = Math.max(atMs + limitMs - nowMs(), 0)
      await new Promise((resolve) => timers.setTimeout(resolve, leftMs).unref())
      process.exit()
    }
    this.#first = undefined
    for (const entry of entries) this.#entries.delete(entry)
    this.#update()
  }

  /** Runs `exit` listeners and ends the process, by the signal unless it has to be by its code. */
  #exitBy(signal: NodeJS.Signals, byCode: boolean): never {
    // signal-exit calls its own exit listeners after all others, so the last listener must return.
    if (!byCode) process.once('exit', () => endBySignal(signal))
    process.exit(exitCodeOf(signal))
  }
}

/** Closes a manager, after the application's listeners if they finish in time. */
async function closeAfter(
  { manager, drainTimeoutMs }: Entry,
  handled: Promise<unknown> | undefined,
): Promise<void> {
  if (handled !== undefined) {
    await new Promise<void>((resolve) => {
      const timer = timers.setTimeout(resolve, drainTimeoutMs)
      void handled.then(() => {
        timers.clearTimeout(timer)
        resolve()
      })
    })
  }
  // Commands left after the time-out end with the manager, and a failure of `teardown` with the
  // process.
  await manager.drain(drainTimeoutMs).catch(() => {})
  await manager.close().catch(() => {})
}
