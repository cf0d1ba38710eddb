// Thread loader: checks that a thread has loaded the right handlers.
// Owns: the module that the threads load, and the names of its handlers.
// Must not: make or end a thread (supervisor).

import { whenUnanswered } from '../../base/clock.ts'
import { type LaneError, laneError } from '../../base/errors.ts'
import { VERSION } from '../../base/version.ts'
import type { LoadReport } from '../../wire/control.ts'
import { wordsOf } from '../../wire/error-codec.ts'
import { isErrorValue } from '../../wire/families.ts'
import { fromSideValue } from '../../wire/side-payload.ts'
import type { Incarnation, ThreadObserver } from './incarnation.ts'
import type { ThreadPlan } from './thread-plan.ts'

/** Where a module cannot be parsed: Node puts that before the stack. */
function placeOf(cause: unknown): string {
  if (!isErrorValue(cause) || cause.name !== 'SyntaxError') return ''
  const stack: unknown = cause.stack
  if (typeof stack !== 'string') return ''
  const [, place] = /^(?!SyntaxError|data:)(.+:\d+)\n/.exec(stack) ?? []
  return place === undefined ? '' : ` (${place})`
}

const BUNDLERS_PAGE = 'https://github.com/corelane/corelane/blob/main/docs/bundlers.md'

/** Codes of an error for want of files, memory or threads. */
const SHORTAGES = /^(?:EAGAIN|EMFILE|ENFILE|ENOMEM|ERR_WORKER_INIT_FAILED)$/

/** Whether a thread was not to be had for want of something that may be there later. */
export function isShortage(error: unknown): boolean {
  const { code, cause } = error as NodeJS.ErrnoException
  const { code: causeCode } = (cause ?? {}) as NodeJS.ErrnoException
  return SHORTAGES.test(String(code)) || SHORTAGES.test(String(causeCode))
}

/** What a thread has to load within. */
export interface LoadLimits {
  /** Absolute path of the program of threads; undefined: the package's own. */
  readonly entry: string | undefined
  /** How long loading and setting up the handler module may take. */
  readonly startTimeoutMs: number
}

export class ThreadLoader {
  readonly #plan: ThreadPlan
  readonly #limits: LoadLimits
  readonly #observer: ThreadObserver | undefined
  #own: readonly string[] | undefined

  /** @param plan - What threads are made with; it gets the names of handlers. */
  constructor(plan: ThreadPlan, limits: LoadLimits, observer: ThreadObserver | undefined) {
    this.#plan = plan
    this.#limits = limits
    this.#observer = observer
  }

  /**
   * Waits until a thread is ready.
   *
   * @throws ConfigError `CORELANE_HANDLERS_FAILED`, `CORELANE_ENTRY_FAILED`; PartitionLostError for
   * want of files, memory or threads.
   */
  async load(incarnation: Incarnation): Promise<void> {
    const report = await this.#loaded(incarnation)
    this.#own ??= report.own
    this.#accept(incarnation, report, this.#own)
    incarnation.open()
  }

  /**
   * Waits until a thread has loaded the module of a reload. It is not ready before it takes over.
   *
   * @param expected - Names of the handlers that another thread found in the module, if one did.
   * @returns Names of the handlers that it found.
   * @throws ConfigError `CORELANE_HANDLERS_FAILED`.
   */
  async loadAnew(
    incarnation: Incarnation,
    expected?: readonly string[],
  ): Promise<readonly string[]> {
    const report = await this.#loaded(incarnation)
    this.#accept(incarnation, report, expected ?? report.own)
    return report.own
  }

  /**
   * Decides which module every thread loads from now on.
   *
   * @param handlers - Its URL.
   * @param own - Names of its handlers.
   */
  switchTo(handlers: string | undefined, own: readonly string[]): void {
    this.#plan.handlers = handlers
    this.#own = own
  }

  /** URL of the module that threads load. */
  get handlers(): string | undefined {
    return this.#plan.handlers
  }

  /** Names of the handlers that the module has. */
  get own(): readonly string[] {
    return this.#own!
  }

  /** Waits until a thread has loaded. Always settles: at its exit or a time-out at the latest. */
  async #loaded(incarnation: Incarnation): Promise<LoadReport & { readonly ok: true }> {
    const report = await this.#loadReport(incarnation)
    if (report.ok) return report
    throw this.loadError(fromSideValue(report.error), incarnation)
  }

  #accept(
    incarnation: Incarnation,
    { own, types }: LoadReport & { readonly ok: true },
    expected: readonly string[],
  ): void {
    if (own.join() !== expected.join()) {
      const cause = new Error(`its handlers changed to ${own.join(', ')}`)
      throw this.loadError(cause, incarnation)
    }
    this.#plan.types = types
    incarnation.isLoaded = true
    this.#observer?.loaded?.(incarnation)
  }

  #loadReport(incarnation: Incarnation): Promise<LoadReport> {
    return new Promise((resolve, reject) => {
      const timeoutMs = this.#limits.startTimeoutMs
      const forget = whenUnanswered(() => {
        const error = new Error(`it was not ready after ${timeoutMs} ms`)
        // Our own program starts, however slowly; a file that the user names may never run it.
        const isOurs = this.#limits.entry === undefined
        reject(isOurs ? this.loadError(error, incarnation) : this.#startError(incarnation, error))
      }, timeoutMs)
      void incarnation.exited.then(({ cause }) => {
        forget()
        // A preloaded module ran before the program of the thread and made a manager.
        const isNested = (cause as LaneError | undefined)?.code === 'CORELANE_NESTED_MANAGER'
        const { partition } = incarnation
        reject(
          isNested
            ? laneError('CORELANE_NESTED_MANAGER', { partition }, cause)
            : this.#startError(incarnation, incarnation.lostError('loading its handlers', false)),
        )
      })
      incarnation.loaded.then(resolve, reject).finally(forget)
    })
  }

  /** The handler module is to blame only if the thread has run corelane's own program. */
  #startError(incarnation: Incarnation, cause: Error): LaneError {
    const { version } = incarnation
    if (version === VERSION) return this.loadError(cause, incarnation)
    if (isShortage(cause)) return cause as LaneError
    const { source, isText } = this.#plan.program!
    const { reason = cause.message } = (cause as Partial<LaneError>).details ?? {}
    return laneError(
      'CORELANE_ENTRY_FAILED',
      {
        entry: isText ? 'as text' : source,
        reason:
          version === undefined
            ? String(reason)
            : `it is of corelane ${version}, which is ${VERSION} here`,
        help: BUNDLERS_PAGE,
      },
      cause,
    )
  }

  /**
   * The error of a module that does not load.
   *
   * @param cause - Why.
   */
  loadError(cause: unknown, { handlers }: { readonly handlers: string | undefined }): LaneError {
    // The user's module is imported by that of threads.
    const reason =
      wordsOf(cause).replace(/ imported from .*corelane-entry\.cjs$/, '') + placeOf(cause)
    return laneError('CORELANE_HANDLERS_FAILED', { module: handlers ?? '', reason }, cause)
  }
}
