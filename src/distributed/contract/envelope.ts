// Envelope: a command and its result in portable form, between processes and machines.
// Owns: nothing; data only.
// Must not: trust a broker: its data is checked here before use.

import { laneError, show } from '../../base/errors.ts'
import { boolean, type OptionRules } from '../../base/options.ts'
import { isPortableName, PORTABLE_NAME_ALLOWED } from '../../base/portable-name.ts'
import { COMMAND_RULES, PRIORITY_MAX } from '../../model/command.ts'
import { CARRIER_CHARS_MAX } from '../../model/command-trace.ts'
import { PARTITION_COUNT_MAX } from '../../model/partition-config.ts'
import { QUEUED_RETRY_RULES, type QueuedRetry } from '../../model/retry.ts'
import { stableHash } from '../../schedule/hash.ts'

/** Version of the envelope's shape that this build writes and the newest that it reads. */
export const ENVELOPE_VERSION = 1

/** A command in portable form. Plain data: a broker may carry it as JSON if its payload can. */
export interface CommandEnvelope {
  /** Unique in its queue: the same id is the same command. 1 to 128 of `A-Z a-z 0-9 . _ -`. */
  readonly id: string
  /** Name of its handler. */
  readonly commandType: string
  /** Name of its lane. */
  readonly laneId: string
  /** The partition of the queue that it goes through, from 0. */
  readonly partitionId: number
  /** What its handler gets. Absent: undefined. */
  readonly payload?: unknown
  /** How often its handler has failed and it was put back. 0 to 2^31 - 1. */
  readonly retryCount: number
  /** When it was submitted, milliseconds since 1970 on the clock of its submitter. */
  readonly createdAt: number
  /** Commands with the same key run one at a time, in the order they were enqueued. */
  readonly key?: string | undefined
  /**
   * Its tenant, user or job: groups of a lane take fair turns. All commands of a group are in the
   * partition `stableHash(group) % numPartitions`.
   */
  readonly group?: string | undefined
  /** Urgency within the lane, or within its group, 0 (the most urgent) to 255. */
  readonly priority?: number | undefined
  /**
   * When it should have started, on the clock of `createdAt`. Only the difference of the two
   * counts, from the moment at which the queue accepts it.
   */
  readonly deadline?: number | undefined
  /** The submitter that gets the result. Absent: only the completion is recorded. */
  readonly submitter?: string | undefined
  /** What it asks for in place of the options of its lane. Absent: nothing. */
  readonly options?: EnvelopeOptions | undefined
  /** Version of this shape. */
  readonly version: number
}

/** What a command asks for in place of the options of its lane. */
export interface EnvelopeOptions {
  /** Keeps it from being given out for so long after its acceptance, 0 to 2^31 - 1 ms. */
  readonly delayMs?: number | undefined
  /** How long a run may take, 1 to 2^31 - 1 ms. */
  readonly timeoutMs?: number | undefined
  /** When it runs again after a failure. Its lane's `retryable` still judges the error. */
  readonly retry?: QueuedRetry | undefined
  /**
   * Whether the queue keeps its result, and with that knows its id. If not, its submitter has it
   * forgotten; without a submitter the queue keeps nothing of it at its end, unless it is dead.
   */
  readonly keepResult?: boolean | undefined
  /** Whether its submitter wants to know how far it has come. */
  readonly progress?: boolean | undefined
  /**
   * The trace that it belongs to, as fields of W3C trace context: `traceparent`, `tracestate`, and
   * what else the propagator of its submitter writes. Printable ASCII, as JSON up to 2,048
   * characters. Here, since workers of all versions read past options that they do not know.
   */
  readonly trace?: TraceFields | undefined
}

/** A trace on its way between processes, as a propagator of OpenTelemetry writes it. */
export type TraceFields = Readonly<Record<string, string>>

/** Whether the queue keeps nothing of a command that ends. */
export function leavesNothing({ options, submitter }: CommandEnvelope): boolean {
  return options?.keepResult === false && submitter === undefined
}

/** A failure in portable form. */
export interface PortableError {
  readonly name: string
  readonly message: string
  /** The nearest class that exists everywhere, where that is not the one of the name. */
  readonly class?: string | undefined
  /** Absent if the error had none. */
  readonly stack?: string | undefined
  /** Its `code`, if that is a text. */
  readonly code?: string | undefined
  /** Other members of the error, where they are plain data. */
  readonly own?: Readonly<Record<string, unknown>> | undefined
  /** Its `cause`, if that is an error. */
  readonly cause?: PortableError | undefined
  /** Its `errors`, if some of them are errors, as those of an AggregateError; 32 in all at most. */
  readonly errors?: readonly PortableError[] | undefined
}

/** How a command ended. */
export interface CommandResult {
  /** Id of its envelope. */
  readonly commandId: string
  /** The partition of the queue that it went through, from 0. */
  readonly partitionId: number
  /** Who ran it. */
  readonly workerId: string
  readonly success: boolean
  /** What the handler returned, if it succeeded. */
  readonly value?: unknown
  /** What it ended with, if it did not. */
  readonly error?: PortableError | undefined
  /** Runs that failed before this one. */
  readonly retryCount: number
  /** How long the run took, in milliseconds. */
  readonly durationMs: number
  /** When it ended, milliseconds since 1970 on the clock of its worker. */
  readonly completedAt: number
}

function refuse(field: string, value: unknown, allowed: string): never {
  throw laneError('CORELANE_INVALID_ENVELOPE', { field, received: show(value), allowed })
}

function lastOf(partitions: number): number {
  return Math.min(partitions, PARTITION_COUNT_MAX) - 1
}

function checkNumber(field: string, value: unknown, max: number, isWhole: boolean): void {
  const fits = isWhole ? Number.isSafeInteger(value) : Number.isFinite(value)
  if (!fits || (value as number) < 0 || (value as number) > max) {
    refuse(field, value, `${isWhole ? 'an integer' : 'a number'} from 0 to ${max}`)
  }
}

/**
 * Checks a name that goes between machines.
 *
 * @param field - What it names, for the error.
 * @param value - Anything.
 * @throws ConfigError `CORELANE_INVALID_ENVELOPE`.
 */
export function checkName(field: string, value: unknown): asserts value is string {
  if (!isPortableName(value)) refuse(field, value, PORTABLE_NAME_ALLOWED)
}

/** A base class whose instances are the objects that it is given. */
class Given {
  constructor(given: object) {
    // biome-ignore lint/correctness/noConstructorReturn: a private member then marks that object.
    return given
  }
}

/** Marks objects with a private member, which costs less than a place in a WeakSet. */
class Mark extends Given {
  readonly #isChecked = true

  static isOn(object: object): boolean {
    return #isChecked in object && object.#isChecked
  }
}

/**
 * Freezes an envelope, so that {@link checkEnvelope} need not check it again.
 *
 * @param envelope - A plain object of valid members and no others.
 */
export function sealEnvelope(envelope: CommandEnvelope): CommandEnvelope {
  new Mark(envelope)
  return Object.freeze(envelope)
}

/** Whether {@link sealEnvelope} froze an envelope, so that its members keep to their rules. */
export function isSealed(envelope: CommandEnvelope): boolean {
  return Mark.isOn(envelope)
}

/**
 * Checks everything but the payload, and keeps only what is known.
 *
 * @param value - Anything; from a broker or a user.
 * @param partitions - How many partitions the queue has.
 * @param takesKeys - Whether its strategy takes keys: `hash` and `single` do. Default true.
 * @returns A frozen envelope of the members above and no others.
 * @throws ConfigError `CORELANE_INVALID_ENVELOPE`.
 */
export function checkEnvelope(
  value: unknown,
  partitions: number,
  takesKeys = true,
): CommandEnvelope {
  if (typeof value !== 'object' || value === null) refuse('the envelope', value, 'an object')
  if (Mark.isOn(value)) {
    const valid = value as CommandEnvelope
    checkNumber('partitionId', valid.partitionId, lastOf(partitions), true)
    if (valid.key !== undefined) checkKey(valid.key, takesKeys)
    return valid
  }
  return checkMembers(membersOf(value), partitions, takesKeys)
}

/** Far from what the engines could no longer count. */
const RETRY_COUNT_MAX = 2 ** 31 - 1

/**
 * As {@link checkEnvelope}, for members that were just read.
 *
 * @param given - Becomes the envelope.
 */
export function checkMembers(
  given: Record<keyof CommandEnvelope, unknown>,
  partitions: number,
  takesKeys = true,
): CommandEnvelope {
  const { version, retryCount } = given
  if (!Number.isSafeInteger(version) || (version as number) < 1) {
    refuse('version', version, `an integer from 1 to ${ENVELOPE_VERSION}`)
  }
  if ((version as number) > ENVELOPE_VERSION) {
    refuse('version', version, `at most ${ENVELOPE_VERSION}: a newer corelane wrote it`)
  }
  for (const member of ['id', 'commandType', 'laneId'] as const) checkName(member, given[member])
  if (given.submitter !== undefined) checkName('submitter', given.submitter)
  checkNumber('partitionId', given.partitionId, lastOf(partitions), true)
  checkNumber('retryCount', retryCount, RETRY_COUNT_MAX, true)
  checkNumber('createdAt', given.createdAt, Number.MAX_SAFE_INTEGER, false)
  if (given.key !== undefined) checkKey(given.key, takesKeys)
  if (given.group !== undefined && !COMMAND_RULES.group.accepts(given.group)) {
    refuse('group', given.group, COMMAND_RULES.group.allowed)
  }
  if (given.priority !== undefined) checkNumber('priority', given.priority, PRIORITY_MAX, true)
  if (given.deadline !== undefined) {
    checkNumber('deadline', given.deadline, Number.MAX_SAFE_INTEGER, false)
  }
  if (given.options !== undefined) given.options = checkedOptions(given.options)
  return sealEnvelope(given as unknown as CommandEnvelope)
}

const TRACE_ALLOWED = `an object of printable ASCII, up to ${CARRIER_CHARS_MAX} characters as JSON`

const OPTION_RULES = Object.freeze({
  delayMs: COMMAND_RULES.delayMs,
  timeoutMs: COMMAND_RULES.timeoutMs,
  retry: COMMAND_RULES.retry,
  keepResult: boolean(true),
  progress: boolean(false),
}) satisfies OptionRules

/** Copies the fields of a trace, each read once; undefined if they are none. */
export function traceFieldsOf(given: unknown): TraceFields | undefined {
  if (typeof given !== 'object' || given === null) return undefined
  const fields = Object.entries(given)
  const isText = fields.every(
    ([name, value]) => typeof value === 'string' && /^[ -~]*$/.test(name + value),
  )
  const trace = Object.freeze(Object.fromEntries(fields))
  return isText && JSON.stringify(trace).length <= CARRIER_CHARS_MAX ? trace : undefined
}

function checkedOptions(given: unknown): EnvelopeOptions {
  if (typeof given !== 'object' || given === null) refuse('options', given, 'an object')
  const options = checkedMembers<Writable<EnvelopeOptions>>('options', given, OPTION_RULES)
  const { retry } = options
  const trace = Object.hasOwn(given, 'trace') ? (given as EnvelopeOptions).trace : undefined
  if (trace !== undefined) {
    options.trace = traceFieldsOf(trace) ?? refuse('options.trace', trace, TRACE_ALLOWED)
  }
  if (retry !== undefined) {
    options.retry = Object.freeze(
      checkedMembers<QueuedRetry>('options.retry', retry, QUEUED_RETRY_RULES),
    )
  }
  return Object.freeze(options)
}

/** Members that are given and known, each read once. */
function checkedMembers<T extends object>(field: string, given: object, rules: OptionRules): T {
  const checked: Record<string, unknown> = {}
  for (const [name, { accepts, allowed }] of Object.entries(rules)) {
    const value = Object.hasOwn(given, name) ? (given as Members)[name] : undefined
    if (value === undefined) continue
    if (!accepts(value)) refuse(`${field}.${name}`, value, allowed)
    checked[name] = value
  }
  return checked as T
}

type Members = Readonly<Record<string, unknown>>
type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** The members that an envelope has, each read once: a getter may answer otherwise later. */
function membersOf(value: object): Record<keyof CommandEnvelope, unknown> {
  const own = (member: keyof CommandEnvelope): unknown =>
    Object.hasOwn(value, member) ? (value as CommandEnvelope)[member] : undefined
  return {
    id: own('id'),
    commandType: own('commandType'),
    laneId: own('laneId'),
    partitionId: own('partitionId'),
    payload: own('payload'),
    retryCount: own('retryCount') ?? 0,
    createdAt: own('createdAt'),
    key: own('key'),
    group: own('group'),
    priority: own('priority'),
    deadline: own('deadline'),
    submitter: own('submitter'),
    options: own('options'),
    version: own('version') ?? ENVELOPE_VERSION,
  }
}

/**
 * The partition of a group: all its commands go through one, so that its limits are exact.
 *
 * @param group - Its name.
 * @param numPartitions - Of the queue.
 */
export function groupPartition(group: string, numPartitions: number): number {
  return stableHash(group) % numPartitions
}

function checkKey(key: unknown, takesKeys: boolean): void {
  const { accepts, allowed } = COMMAND_RULES.key
  if (!accepts(key)) refuse('key', key, allowed)
  if (!takesKeys) refuse('key', key, 'none, unless the strategy of the queue is "hash" or "single"')
}
