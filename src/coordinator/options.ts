// Options: the options of a queue manager, checked and completed once.
// Owns: the one table of its options.

import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath, URL as NodeUrl, pathToFileURL } from 'node:url'
import { SHARE_ENV } from 'node:worker_threads'
import { isPowerOfTwo } from '../base/bits.ts'
import { COUNT_MAX, TIMER_MS_MAX } from '../base/bounds.ts'
import { show } from '../base/errors.ts'
import {
  alias,
  anything,
  boolean,
  checkOptions,
  integer,
  invalidOption,
  isObject,
  isRecord,
  isTexts,
  isUrl,
  milliseconds,
  modulePath,
  type OptionRules,
  oneOf,
  text,
} from '../base/options.ts'
import type { AnyHandlers, FileCall, HandlersAt } from '../model/handler-module.ts'
import {
  DEFAULT_LANES,
  LANE_COUNT_MAX,
  type LaneOptions,
  type LanePlan,
  planLane,
  refuseUnbounded,
} from '../model/lane.ts'
import {
  checkPartitions,
  PARTITION_COUNT_MAX,
  type Partitioner,
  type PartitionOptions,
  type PartitionStrategy,
} from '../model/partition-config.ts'
import { usableCores } from './cores.ts'
import { QueueMetrics } from './queue-metrics.ts'

export const CONCURRENCY_PER_PARTITION_MAX = 1024

const RING_BYTES_MIN = 2 ** 14
const RING_BYTES_MAX = 2 ** 28

/** Options of a queue manager. All but `handlers` have defaults. */
export interface QueueManagerOptions<M = AnyHandlers, L extends string = string> {
  /**
   * The handler module, which must be given: a URL, or a path that is resolved from the working
   * directory. Where a `.js` does not exist, the `.ts` beside it is taken. `handlersAt` gives it
   * the module's type.
   */
  readonly handlers?: URL | string | HandlersAt<M> | undefined
  /**
   * The program of threads, for applications that are bundled: a copy of `corelane/entry` as a
   * file: URL or a path. Default: the package's own.
   */
  readonly entry?: URL | string | undefined
  /**
   * How many partitions, each a thread, and how commands find theirs. A number is that of
   * `balanced`. Default: `balanced`, one per core.
   */
  readonly partitions?: number | PartitionOptions | undefined
  /** 1 to 256 by name. Default: system, control, query, session, skill, prompt, in that order. */
  readonly lanes?: Readonly<Record<L, LaneOptions>> | undefined
  /**
   * Asynchronous handlers that may run at once in one partition, 1 to 1,024. Default 1. Commands
   * with the same key run one at a time all the same.
   */
  readonly concurrencyPerPartition?: number | undefined
  /** Unsettled commands of all lanes together. 1 to 2^31 - 1. Default: no bound. */
  readonly maxPending?: number | undefined
  /** Estimated bytes of their payloads. 1 to 2^53 - 1. Default: no bound. */
  readonly maxPendingBytes?: number | undefined
  /**
   * At those two bounds `submit` waits, or rejects with QueueFullError; `reject` needs one of them.
   * Default `wait`.
   */
  readonly overflow?: 'wait' | 'reject' | undefined
  /**
   * Lane of `run` and of the typed proxy. Default: `query` if there is one, else the first lane.
   */
  readonly defaultLane?: NoInfer<L> | undefined
  /** The threads' `workerData`, as for `new Worker`. Default: none. */
  readonly workerData?: unknown
  /** The threads' environment, as for `new Worker`. Default: a copy of this process's. */
  readonly env?: NodeJS.ProcessEnv | typeof import('node:worker_threads').SHARE_ENV | undefined
  /** The threads' Node options, as for `new Worker`. Default: this process's. */
  readonly execArgv?: readonly string[] | undefined
  /** The threads' limits in MiB, as for `new Worker`, ArrayBuffers left out. Default: V8's. */
  readonly resourceLimits?: import('node:worker_threads').ResourceLimits | undefined
  /** Bytes of each of a partition's two rings: a power of two, 16 KiB to 256 MiB. Default 1 MiB. */
  readonly ringBytes?: number | undefined
  /**
   * How long loading and setting up the handler module may take, 1 to 2^31 - 1 ms. Default 60,000.
   */
  readonly startTimeoutMs?: number | undefined
  /** How long a broadcast may take on each partition, 1 to 2^31 - 1 ms. Default 60,000. */
  readonly broadcastTimeoutMs?: number | undefined
  /** How long `close` waits for handlers and `teardown`, 0 to 2^31 - 1 ms. Default 1,000. */
  readonly closeTimeoutMs?: number | undefined
  /**
   * How long `drain` waits by default, and leaving an `await using` block, 0 to 2^31 - 1 ms.
   * Default 30,000.
   */
  readonly drainTimeoutMs?: number | undefined
  /** Threads that a command may kill before it is a dead letter, 1 to 10. Default 2. */
  readonly maxCrashes?: number | undefined
  /** Dead letters that are kept, 0 to 1,000,000; past it the oldest is dropped. Default 1,000. */
  readonly deadLetterCapacity?: number | undefined
  /**
   * How long a handler may run on past its time-out before its thread is replaced, 0 to 2^31 - 1
   * ms. Default 50.
   */
  readonly timeoutGraceMs?: number | undefined
  /**
   * Threads of one partition that may be given up and not ended, held by native code, when another
   * is started: 0 to 4. Default 2.
   */
  readonly terminatingMax?: number | undefined
  /**
   * Whether a rejection that no handler handles is an event or ends the thread. Default `event`.
   */
  readonly floatingRejections?: 'event' | 'end' | undefined
  /** Commands after which a thread is replaced. 1 to 2^31 - 1. Default: never. */
  readonly maxCommandsPerThread?: number | undefined
  /** Heap in use past which a thread is replaced, in MiB. 1 to 2^20. Default: never. */
  readonly maxHeapMb?: number | undefined
  /** Allows a manager inside a partition's thread. Default false. */
  readonly allowNested?: boolean | undefined
  /** Takes the metrics of the manager: waits, runs and counts by lane. Default: none are kept. */
  readonly metrics?: QueueMetrics | undefined
}

const THREAD_LIMITS: readonly string[] = [
  'maxOldGenerationSizeMb',
  'maxYoungGenerationSizeMb',
  'codeRangeSizeMb',
  'stackSizeMb',
]

function isThreadLimit([name, value]: [string, unknown]): boolean {
  const isNumber = value === undefined || (typeof value === 'number' && value > 0)
  return isNumber && THREAD_LIMITS.includes(name)
}

/** The rules of {@link QueueManagerOptions}. */
export const MANAGER_RULES = Object.freeze({
  handlers: alias(
    modulePath(),
    ...['filename', 'file', 'path', 'url', 'module', 'script', 'worker', 'processor'],
  ),
  entry: anything(undefined, 'a file: URL or a path', isEntry),
  partitions: alias(
    anything(
      undefined,
      'a number of threads, a PartitionConfig or its plain form',
      (value) => typeof value === 'number' || isObject(value),
    ),
    ...['threads', 'workers', 'minThreads', 'maxThreads', 'minWorkers', 'maxWorkers'],
    ...['numWorkers', 'poolSize', 'size', 'cores', 'count', 'strategy'],
  ),
  lanes: anything(DEFAULT_LANES, 'an object of lane options by lane name', isObject),
  defaultLane: text(undefined),
  concurrencyPerPartition: alias(
    integer(1, 1, CONCURRENCY_PER_PARTITION_MAX),
    ...['concurrency', 'maxConcurrency', 'concurrentTasksPerWorker'],
  ),
  maxPending: alias(
    integer(undefined, 1, COUNT_MAX),
    ...['maxQueue', 'maxQueueSize', 'queueSize', 'limit', 'highWaterMark'],
  ),
  maxPendingBytes: integer(undefined, 1, Number.MAX_SAFE_INTEGER),
  overflow: oneOf('wait', ['wait', 'reject']),
  workerData: anything(undefined, 'anything that structured clone takes', () => true),
  env: anything(
    undefined,
    'an object of strings, or SHARE_ENV',
    (value) =>
      value === SHARE_ENV || isRecord(value, (one) => one === undefined || typeof one === 'string'),
  ),
  execArgv: anything(undefined, 'an array of strings', isTexts),
  resourceLimits: anything(
    undefined,
    `numbers above 0 by ${THREAD_LIMITS.join(', ')}`,
    // Node.js ignores other names and values, and the thread would have no limit.
    (value) => isObject(value) && Object.entries(value).every(isThreadLimit),
  ),
  ringBytes: anything(
    2 ** 20,
    `a power of two from ${RING_BYTES_MIN} to ${RING_BYTES_MAX}`,
    (value) =>
      Number.isInteger(value) &&
      (value as number) >= RING_BYTES_MIN &&
      (value as number) <= RING_BYTES_MAX &&
      isPowerOfTwo(value as number),
  ),
  startTimeoutMs: milliseconds(60_000, 1, TIMER_MS_MAX),
  broadcastTimeoutMs: milliseconds(60_000, 1, TIMER_MS_MAX),
  closeTimeoutMs: milliseconds(1_000, 0, TIMER_MS_MAX),
  drainTimeoutMs: milliseconds(30_000, 0, TIMER_MS_MAX),
  maxCrashes: integer(2, 1, 10),
  deadLetterCapacity: integer(1000, 0, 1_000_000),
  timeoutGraceMs: milliseconds(50, 0, TIMER_MS_MAX),
  terminatingMax: integer(2, 0, 4),
  floatingRejections: oneOf('event', ['event', 'end']),
  maxCommandsPerThread: integer(undefined, 1, COUNT_MAX),
  maxHeapMb: integer(undefined, 1, 2 ** 20),
  allowNested: boolean(false),
  metrics: anything(undefined, 'QueueMetrics', (value) => value instanceof QueueMetrics),
}) satisfies OptionRules

/** Options of a broadcast. */
export interface BroadcastOptions {
  /**
   * Whether new threads run it too, before their first command. Of several with the same type only
   * the latest is kept. One that rejects is not kept. Default false.
   */
  readonly sticky?: boolean | undefined
  /** A sticky broadcast replaces the latest with its key. Default: the latest of its type. */
  readonly key?: string | undefined
}

/** The rules of {@link BroadcastOptions}. */
export const BROADCAST_RULES = Object.freeze({
  sticky: boolean(false),
  key: text(undefined),
}) satisfies OptionRules

/**
 * Checks the options of a broadcast.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function planBroadcast(options: BroadcastOptions | undefined): BroadcastOptions {
  const plan = checkOptions<BroadcastOptions>('broadcast', options, BROADCAST_RULES)
  if (plan.key === undefined || plan.sticky === true) return plan
  const received = `${show(plan.key)} without sticky`
  throw invalidOption('broadcast.key', received, 'a key of a sticky broadcast')
}

/** Options of a CPU profile. */
export interface ProfileOptions {
  /** How long it lasts, 10 to 60,000 ms. Default 1,000. */
  readonly durationMs?: number | undefined
}

/** The rules of {@link ProfileOptions}. */
export const PROFILE_RULES = Object.freeze({
  durationMs: milliseconds(1_000, 10, 60_000),
}) satisfies OptionRules

/** The rules of the argument of `drain`; its default is the manager's `drainTimeoutMs`. */
export const DRAIN_RULES = Object.freeze({
  timeoutMs: milliseconds(undefined, 0, TIMER_MS_MAX),
}) satisfies OptionRules

/** The rules of the argument of `reload`. */
export const RELOAD_RULES = Object.freeze({
  handlers: MANAGER_RULES.handlers,
}) satisfies OptionRules

/** When a thread is worn out. */
export interface WearLimits {
  /** Commands that a thread ends before it is replaced. */
  readonly maxCommandsPerThread: number
  /** Heap in use, in MiB, past which it is replaced. */
  readonly maxHeapMb: number
}

/** How much may be pending. */
export interface PendingBounds {
  readonly maxPending: number
  readonly maxPendingBytes: number
  readonly waitsWhenFull: boolean
}

/** How many threads a manager has at which load. The most are its partitions. */
export interface ElasticPlan {
  /** Threads that stay. */
  readonly min: number
  /** How long one above `min` is idle before it ends; Infinity: for ever. */
  readonly idleTimeoutMs: number
}

/** Options with everything filled in. */
export interface ManagerPlan {
  /** URL of the handler module; undefined in a pool of Piscina's kind. */
  readonly handlers: string | undefined
  /** How handlers of modules that commands name are called. Default `context`. */
  readonly fileCall?: FileCall
  /** Absolute path of the program of threads; undefined: the package's own. */
  readonly entry: string | undefined
  readonly strategy: PartitionStrategy
  readonly partitionCount: number
  readonly choose: Partitioner | undefined
  /** Undefined: every partition keeps a thread. */
  readonly elastic: ElasticPlan | undefined
  readonly lanes: readonly LanePlan[]
  readonly defaultLane: string
  readonly concurrency: number
  /** Bounds of all lanes together. */
  readonly bounds: PendingBounds
  readonly ringBytes: number
  readonly startTimeoutMs: number
  readonly broadcastTimeoutMs: number
  readonly closeTimeoutMs: number
  readonly drainTimeoutMs: number
  readonly maxCrashes: number
  /** Whether a command runs again whose thread was ended for another's sake. Default false. */
  readonly rerunsBystanders?: boolean
  readonly deadLetterCapacity: number
  readonly timeoutGraceMs: number
  readonly terminatingMax: number
  readonly reportsRejections: boolean
  readonly wear: WearLimits
  readonly allowNested: boolean
  readonly metrics: QueueMetrics | undefined
  /** Passed on to `new Worker`. */
  readonly worker: Pick<
    import('node:worker_threads').WorkerOptions,
    'argv' | 'env' | 'execArgv' | 'resourceLimits' | 'trackUnmanagedFds' | 'workerData'
  >
}

/**
 * Checks the options of a manager.
 *
 * @param options - What the caller gave.
 * @throws ConfigError `CORELANE_INVALID_OPTION`, naming the option, the value and what is allowed.
 */
export function planManager<M, L extends string>(options: QueueManagerOptions<M, L>): ManagerPlan {
  const checked = checkOptions<QueueManagerOptions>('QueueManager', options, MANAGER_RULES)
  refuseUnbounded('QueueManager', checked as LaneOptions)
  const lanes = checkLanes(checked.lanes!)
  return Object.freeze({
    handlers: handlersUrl(checked.handlers),
    entry: checked.entry === undefined ? undefined : entryPath(checked.entry),
    ...planThreads(checked.partitions),
    lanes,
    defaultLane: chooseDefaultLane(lanes, checked.defaultLane),
    concurrency: checked.concurrencyPerPartition!,
    bounds: Object.freeze({
      maxPending: checked.maxPending ?? Number.POSITIVE_INFINITY,
      maxPendingBytes: checked.maxPendingBytes ?? Number.POSITIVE_INFINITY,
      waitsWhenFull: checked.overflow === 'wait',
    }),
    ringBytes: checked.ringBytes!,
    startTimeoutMs: checked.startTimeoutMs!,
    broadcastTimeoutMs: checked.broadcastTimeoutMs!,
    closeTimeoutMs: checked.closeTimeoutMs!,
    drainTimeoutMs: checked.drainTimeoutMs!,
    maxCrashes: checked.maxCrashes!,
    deadLetterCapacity: checked.deadLetterCapacity!,
    timeoutGraceMs: checked.timeoutGraceMs!,
    terminatingMax: checked.terminatingMax!,
    reportsRejections: checked.floatingRejections === 'event',
    wear: Object.freeze({
      maxCommandsPerThread: checked.maxCommandsPerThread ?? Number.POSITIVE_INFINITY,
      maxHeapMb: checked.maxHeapMb ?? Number.POSITIVE_INFINITY,
    }),
    allowNested: checked.allowNested!,
    metrics: checked.metrics,
    worker: workerOptions(checked),
  })
}

/**
 * Whether commands may go to more than one partition. With a single one each command has its home
 * there, so that none is taken back past another.
 */
export function isShared(plan: Pick<ManagerPlan, 'strategy' | 'partitionCount'>): boolean {
  return plan.strategy === 'balanced' && plan.partitionCount > 1
}

/** The option `entry` as an absolute path; a path is resolved from the working directory. */
function entryPath(entry: URL | string): string {
  const place = String(entry)
  return place.startsWith('file:') ? fileURLToPath(place) : resolve(place)
}

function isEntry(value: unknown): boolean {
  if (typeof value === 'string') return value.length > 0
  return (value as URL | null)?.protocol === 'file:'
}

/** The URL of a handler module, whether it is given as one or as a path. */
export function handlersUrl(handlers: URL | string | undefined): string {
  if (handlers === undefined) {
    throw invalidOption('QueueManager.handlers', 'missing', MANAGER_RULES.handlers.allowed)
  }
  if (isUrl(handlers)) return sourceOf(handlers.href)
  // Node says which schemes it loads. A drive of Windows is a single letter.
  const hasScheme = /^(?:file|data|node|[a-z][a-z\d+.-]+:(?=\/\/))/i.test(handlers)
  return sourceOf(hasScheme ? handlers : pathToFileURL(handlers).href)
}

/**
 * The TypeScript module beside a JavaScript module that does not exist: before it is compiled, and
 * in test runners, so that one URL is right there and in what is shipped.
 */
function sourceOf(url: string): string {
  const [, stem, rest] = /^(file:[^?#]*\.[cm]?)js([?#].*)?$/.exec(url) ?? []
  if (stem === undefined || isThere(`${stem}js`)) return url
  const source = `${stem}ts`
  return isThere(source) ? `${source}${rest ?? ''}` : url
}

function isThere(url: string): boolean {
  try {
    return existsSync(new NodeUrl(url))
  } catch {
    // The permission model of Node.js forbids to look; the thread that loads the file says so.
    return true
  }
}

function planThreads(
  given: number | PartitionOptions | undefined,
): Pick<ManagerPlan, 'strategy' | 'partitionCount' | 'choose' | 'elastic'> {
  const partitions = typeof given === 'number' ? { count: given } : given
  const checked = checkPartitions(partitions)
  const cores = Math.min(usableCores(), PARTITION_COUNT_MAX)
  const { strategy, choose, min, max, idleTimeoutMs, count } = checked
  const partitionCount = strategy === 'single' ? 1 : (max ?? count ?? Math.max(cores, min ?? 1))
  const isElastic = min !== undefined || max !== undefined || idleTimeoutMs !== undefined
  if (!isElastic) return { strategy, partitionCount, choose, elastic: undefined }
  refuseUnlessElastic(checked, partitionCount)
  const elastic = { min: min ?? partitionCount, idleTimeoutMs: idleTimeoutMs ?? 10_000 }
  return { strategy, partitionCount, choose, elastic }
}

function refuseUnlessElastic(given: PartitionOptions, max: number): void {
  const { strategy, count, min, idleTimeoutMs } = given
  const name = (['min', 'max', 'idleTimeoutMs'] as const).find((one) => given[one] !== undefined)!
  const refuse = (option: string, received: string, allowed: string) => {
    throw invalidOption(`PartitionConfig.${option}`, received, allowed)
  }
  if (strategy !== 'balanced') refuse(name, `given under "${strategy}"`, 'given under "balanced"')
  if (count !== undefined)
    refuse('count', `${count} beside ${name}`, 'either count, or min and max')
  if (idleTimeoutMs !== undefined && min === undefined)
    refuse('idleTimeoutMs', `${idleTimeoutMs} without min`, 'given with min: threads above it end')
  if (min !== undefined && min > max) refuse('min', show(min), `0 to ${max}, which is max`)
}

function checkLanes(lanes: Readonly<Record<string, LaneOptions>>): readonly LanePlan[] {
  const entries = Object.entries(lanes)
  if (entries.length < 1 || entries.length > LANE_COUNT_MAX) {
    const received = `${entries.length} lanes`
    throw invalidOption('QueueManager.lanes', received, `1 to ${LANE_COUNT_MAX} lanes`)
  }
  return Object.freeze(entries.map(([name, options]) => planLane(name, options)))
}

function chooseDefaultLane(lanes: readonly LanePlan[], given: string | undefined): string {
  const names = lanes.map((lane) => lane.name)
  if (given === undefined) return names.includes('query') ? 'query' : names[0]!
  if (names.includes(given)) return given
  throw invalidOption('QueueManager.defaultLane', show(given), names.join(', '))
}

function workerOptions(checked: QueueManagerOptions): ManagerPlan['worker'] {
  const { workerData, env, execArgv, resourceLimits } = checked
  return {
    workerData,
    ...(env === undefined ? {} : { env }),
    ...threadFlags(execArgv),
    ...(resourceLimits === undefined ? {} : { resourceLimits }),
  }
}

/** Threads inherit the process's flags; one that only fits a script given as text ends them. */
function threadFlags(execArgv: readonly string[] | undefined): { execArgv?: string[] } {
  if (execArgv !== undefined) return { execArgv: [...execArgv] }
  return process.execArgv.some((flag) => flag.startsWith('--input-type')) ? { execArgv: [] } : {}
}
