// Errors: every failure corelane reports, in one table of codes.
// A process may have several copies of the package: both its formats, and the one in each thread.

/** One row of the table: how the message reads and whether trying again can help. */
export interface ErrorRow<T extends string = string> {
  /** Class name of the error. */
  readonly name: keyof typeof CLASSES
  /** Message; each `{word}` is replaced by that member of the error's `details`. */
  readonly template: T
  /** Whether the same call may succeed later without being changed. */
  readonly retryable: boolean
}

function row<T extends string>(
  name: ErrorRow['name'],
  template: T,
  retryable = false,
): ErrorRow<T> {
  return Object.freeze({ name, template, retryable })
}

/** Every code, in alphabetical order. Codes are never reused for another meaning. */
export const ERRORS = Object.freeze({
  CORELANE_ABORTED: row('AbortError', 'The command was aborted while it was {stage}'),
  CORELANE_CLOSED: row('ClosedError', 'The queue is {state} and takes no commands'),
  CORELANE_COMMAND_DROPPED: row(
    'ClosedError',
    'The command was still {stage} when the queue manager ended ({reason})',
    true,
  ),
  CORELANE_CONTROL_TIMEOUT: row(
    'LaneError',
    'Partition {partition} did not answer "{call}" within {timeoutMs} ms',
    true,
  ),
  CORELANE_DEADLINE_EXCEEDED: row(
    'DeadlineExceededError',
    'The command waited {waitedMs} ms in lane "{lane}" and had not started at its deadline of {deadlineMs} ms',
    true,
  ),
  CORELANE_DEGRADED: row(
    'ConfigError',
    'The queue cannot honour {option} of {received}; allowed: {allowed} (set allowDegraded: true to go on without)',
  ),
  CORELANE_DRAIN_TIMEOUT: row(
    'LaneError',
    'After {timeoutMs} ms commands were left unfinished: {left}',
    true,
  ),
  CORELANE_ENTRY_FAILED: row(
    'ConfigError',
    'The program of threads, which is a file of corelane ({entry}), did not run: {reason}. If the application is bundled, see {help}',
  ),
  CORELANE_ENVELOPE_TOO_LARGE: row(
    'SerializationError',
    'The {role} of command "{id}" takes {bytes} bytes; allowed: {maxBytes}',
  ),
  CORELANE_HANDLERS_FAILED: row(
    'ConfigError',
    'The handler module {module} could not be loaded: {reason}',
  ),
  CORELANE_INVALID_COMMAND: row('ConfigError', '{field} is {received}; allowed: {allowed}'),
  CORELANE_INVALID_ENVELOPE: row(
    'ConfigError',
    'In an envelope {field} is {received}; allowed: {allowed}',
  ),
  CORELANE_INVALID_OPTION: row('ConfigError', '{option} is {received}; allowed: {allowed}'),
  CORELANE_INVALID_PARTITION: row(
    'ConfigError',
    'The custom partitioner chose {received} for a command of type "{type}"; allowed: an integer from 0 to {last}',
  ),
  CORELANE_LAYOUT_MISMATCH: row(
    'LaneError',
    'The shared region has layout {received}, this build reads {expected}: two versions of corelane met in one process',
  ),
  CORELANE_NESTED_MANAGER: row(
    'ConfigError',
    'A queue manager may not be created inside partition {partition}: a handler module or a preloaded module that does so would start threads without end (create it on the main thread only, or set allowNested: true)',
  ),
  CORELANE_NESTED_WAIT: row(
    'ConfigError',
    'A handler may not wait for a command of type "{type}" in lane "{lane}": everything that could run it is held by handlers that wait (submit it with wait: false, or give it another key, lane or partition)',
  ),
  CORELANE_NOT_HELD: row(
    'LaneError',
    'The command "{id}" cannot be completed by worker "{workerId}": {reason}',
  ),
  CORELANE_NO_STREAM: row(
    'ConfigError',
    'The handler "{type}" was asked for a stream and gave {received}; allowed: a generator or anything that can be iterated',
  ),
  CORELANE_PARTITION_LOST: row(
    'PartitionLostError',
    'Partition {partition} was lost ({reason}) with the command {stage}',
    true,
  ),
  CORELANE_POISONED: row(
    'PartitionLostError',
    'The command "{id}" was given out {deliveries} times and each time its worker died',
  ),
  CORELANE_QUEUE_FULL: row('QueueFullError', '{owner} is full: {reached}', true),
  CORELANE_QUEUE_MISMATCH: row(
    'ConfigError',
    'The queue "{queue}" has {option} {expected}, and this call asks for {received}',
  ),
  CORELANE_QUEUE_REFUSED: row('ConfigError', 'The queue "{queue}" is not opened: {reason}'),
  CORELANE_QUEUE_UNAVAILABLE: row(
    'LaneError',
    'The queue "{queue}" did not answer: {reason}',
    true,
  ),
  CORELANE_RESULT_EXPIRED: row(
    'LaneError',
    'The queue does not know the command "{id}" any more: it has ended and its result has expired after {resultTtlMs} ms, or it was lost',
  ),
  CORELANE_SUBMITTER_CLOSED: row(
    'ClosedError',
    'The submitter was closed; the command "{id}" was {stage}',
  ),
  CORELANE_TIMEOUT: row(
    'TimeoutError',
    'The command of type "{type}" in lane "{lane}" ran longer than its time-out of {timeoutMs} ms',
    true,
  ),
  CORELANE_UNKNOWN_DEAD_LETTER: row('ConfigError', 'There is no dead letter {received}'),
  CORELANE_UNKNOWN_LANE: row('ConfigError', 'There is no lane {received}; lanes: {allowed}'),
  CORELANE_UNKNOWN_TYPE: row(
    'ConfigError',
    'The handler module has no handler {received}; handlers: {allowed}',
  ),
  CORELANE_UNSERIALIZABLE: row(
    'SerializationError',
    'The {role} cannot cross threads: {path} is {received}',
  ),
  CORELANE_WORKER_CLOSED: row('ClosedError', 'The worker pool is {state} and cannot be started'),
})

/** Any code corelane reports. */
export type ErrorCode = keyof typeof ERRORS

/** Plain data about a failure; each code fills the words of its template and may add more. */
export type ErrorDetails = Readonly<Record<string, unknown>>

/** The words of a template. */
type WordsOf<T extends string> = T extends `${string}{${infer W}}${infer Rest}`
  ? W | WordsOf<Rest>
  : never

/** Words that are numbers; all others are text. */
type NumberWord = `${string}Ms` | 'bytes' | 'deliveries' | 'last' | 'maxBytes' | 'partition'

/** The death of a thread that ended by itself. */
export interface CrashRecord {
  /** Node's number of the thread. */
  readonly threadId: number
  /** As Node reports it; 1 after an uncaught error. */
  readonly exitCode: number
  /** Stack of the error that ended it; undefined if it exited without one. */
  readonly stack: string | undefined
  /** Commands whose handlers had been entered and had not ended. */
  readonly commands: readonly {
    readonly id: string
    readonly type: string
    readonly lane: string
  }[]
  /** The last lines that it printed: 20 at most, from the last 4,096 characters. */
  readonly output: readonly string[]
  /** Heap in use when it was last looked at, between handlers, in MiB; 0 if it never was. */
  readonly heapMb: number
}

/** What some codes tell beside the words of their template. */
interface MoreDetails {
  readonly CORELANE_DRAIN_TIMEOUT: { readonly lanes?: Readonly<Record<string, number>> }
  readonly CORELANE_LAYOUT_MISMATCH: {
    readonly received: number | undefined
    readonly expected: number
  }
  readonly CORELANE_PARTITION_LOST: {
    readonly started: boolean
    readonly exitCode?: number
    readonly crash?: CrashRecord | undefined
  }
  readonly CORELANE_QUEUE_FULL: {
    readonly pending: number
    readonly maxPending: number
    readonly pendingBytes: number
    readonly maxPendingBytes: number
  }
}

type More<C extends ErrorCode> = C extends keyof MoreDetails ? MoreDetails[C] : unknown

/** The details of a code: the words of its message, and for some codes more. */
export type ErrorDetailsOf<C extends ErrorCode> = C extends C
  ? {
      readonly [W in Exclude<
        WordsOf<(typeof ERRORS)[C]['template']>,
        keyof More<C>
      >]: W extends NumberWord ? number : string
    } & More<C>
  : never

function fill(template: string, details: ErrorDetails): string {
  return template.replace(/\{(\w+)\}/g, (_, word: string) => String(details[word]))
}

/** Marks errors of corelane, whichever copy of the package has made them. */
const BRAND = Symbol.for('corelane.error.1')

interface Branded {
  readonly [BRAND]?: boolean
}

/**
 * The base of every error corelane reports. Match on {@link LaneError.code}.
 * Errors that a handler throws are not wrapped: they arrive as they were thrown.
 */
export class LaneError extends Error {
  /** Stable code, a key of {@link ERRORS}. */
  readonly code: ErrorCode
  /** Whether the same call may succeed later without being changed. */
  readonly retryable: boolean
  /** The values behind the message; their types are known where {@link LaneError.is} holds. */
  readonly details: ErrorDetails
  // Declared, since a frozen Error.prototype keeps it from being assigned.
  /** Name of its class. */
  override name: string

  /**
   * @param code - Which row of {@link ERRORS} this is.
   * @param details - Fills the words of the row's template.
   * @param cause - What led to it, if anything.
   */
  constructor(code: ErrorCode, details: ErrorDetails = {}, cause?: unknown) {
    super(fill(ERRORS[code].template, details), cause === undefined ? undefined : { cause })
    this.name = ERRORS[code].name
    this.code = code
    this.retryable = ERRORS[code].retryable
    this.details = details
  }

  /**
   * Whether it is of a code, whose details then have types.
   *
   * @param code - The code.
   */
  is<C extends ErrorCode>(code: C): this is LaneErrorOf<C> {
    return this.code === code
  }
}

/** An error of a code. */
export type LaneErrorOf<C extends ErrorCode> = LaneError & {
  readonly code: C
  readonly details: ErrorDetailsOf<C>
}

/** Something the caller passed is not allowed: an option, a lane, a type, a module. */
export class ConfigError extends LaneError {}

/**
 * A partition's thread ended with the command on it; `details.started` tells whether it had begun.
 */
export class PartitionLostError extends LaneError {
  /** Whether the handler had been entered. */
  get started(): boolean {
    return this.details.started === true
  }

  /** How its thread died; undefined where the manager ended it, as after a time-out. */
  get crash(): CrashRecord | undefined {
    return this.details.crash as CrashRecord | undefined
  }
}

/** The manager was shut down or closed. */
export class ClosedError extends LaneError {}

/** A payload or a result holds something that cannot cross threads. */
export class SerializationError extends LaneError {}

/** A command was not started by its deadline and never will be. */
export class DeadlineExceededError extends LaneError {}

/** A bound on pending commands was reached; `details` has the numbers. */
export class QueueFullError extends LaneError {}

/** A run of a command took longer than it may. */
export class TimeoutError extends LaneError {}

/** A command's signal aborted; `cause` is the signal's reason. */
export class AbortError extends LaneError {}

const CLASSES = {
  LaneError,
  ConfigError,
  PartitionLostError,
  ClosedError,
  SerializationError,
  DeadlineExceededError,
  QueueFullError,
  TimeoutError,
  AbortError,
}

/** `instanceof`: holds also for errors of the same class of another copy of the package. */
function isInstance(this: unknown, value: unknown): boolean {
  if (Function.prototype[Symbol.hasInstance].call(this, value)) return true
  if ((value as Branded | null | undefined)?.[BRAND] !== true) return false
  const { code } = value as { readonly code: ErrorCode }
  return this === LaneError || this === CLASSES[ERRORS[code]?.name]
}

Object.defineProperty(LaneError.prototype, BRAND, { value: true })
Object.defineProperty(LaneError, Symbol.hasInstance, { value: isInstance })

/**
 * Makes the error of a code, in the class its row names.
 *
 * @param code - Which row of {@link ERRORS}.
 * @param details - Fills the words of the row's template.
 * @param cause - What led to it, if anything.
 * @returns The error, not thrown.
 */
export function laneError<C extends ErrorCode>(
  code: C,
  details?: ErrorCode extends C ? ErrorDetails : ErrorDetails & Partial<ErrorDetailsOf<C>>,
  cause?: unknown,
): LaneError {
  return new CLASSES[ERRORS[code].name](code, details, cause)
}

/** The code of an error of corelane's; undefined for anything else. */
export function codeOf(error: unknown): ErrorCode | undefined {
  const code = (error as { readonly code?: unknown } | null | undefined)?.code
  return typeof code === 'string' && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : undefined
}

/** Causes of causes that are looked at: a chain may be a circle. */
const CAUSES_MAX = 10

/**
 * Lets an error that is kept let go of the calls that it was made in. V8 keeps their objects, and
 * with them the request that they ran for, until the stack is read for the first time.
 *
 * @param error - The error; its causes are treated alike.
 */
export function releaseCalls(error: unknown): void {
  try {
    let one = error as Error | undefined
    for (let i = 0; one?.stack !== undefined && i < CAUSES_MAX; i++) one = one.cause as Error
  } catch {
    // The application's Error.prepareStackTrace threw: the error is kept as it is.
  }
}

/**
 * Sets how many calls the stacks of errors show, unless `Error` is frozen: an assignment would
 * throw.
 *
 * @param count - Calls.
 */
export function limitStacks(count: number): void {
  Reflect.set(Error, 'stackTraceLimit', count)
}

/** A broken assumption inside corelane. No code catches it; report it as a bug. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

/**
 * States what must hold.
 *
 * @param holds - The condition.
 * @param what - What must hold, with the numbers at hand.
 * @throws {@link InvariantError} if it does not hold.
 */
export function invariant(holds: boolean, what: string): asserts holds {
  if (!holds) throw new InvariantError(what)
}

/**
 * Shows a received value in a message: short, on one line, and safe for any value.
 *
 * @returns At most about 80 characters.
 */
export function show(value: unknown): string {
  try {
    const text = describe(value).replaceAll('\n', '\\n')
    return text.length > 80 ? `${text.slice(0, 79)}…` : text
  } catch {
    // A revoked proxy, a getter that throws, a name that is no text.
    return `${typeof value === 'function' ? 'a function' : 'an object'} that cannot be described`
  }
}

function describe(value: unknown): string {
  if (typeof value === 'string')
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'symbol') return value.toString()
  if (typeof value === 'function') return `a function${value.name ? ` (${value.name})` : ''}`
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (typeof value !== 'object' || value === null)
    return Object.is(value, -0) ? '-0' : String(value)
  const tag = Object.prototype.toString.call(value).slice(8, -1)
  if (tag !== 'Object') return `${/^[AEIOU]/.test(tag) ? 'an' : 'a'} ${tag}`
  const names = Object.keys(value).join(', ')
  if (names !== '') return `an object { ${names} }`
  // What hides its content is known by its class.
  const { name = 'Object' } = value.constructor ?? {}
  return name === 'Object' ? 'an object' : `an object of class ${name}`
}
