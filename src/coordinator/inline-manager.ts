// Inline manager: runs handlers in the caller's thread, for unit tests of code that has a manager.
// Owns: its virtual clock.
// Must not: start a thread or a real timer.

import { MessageChannel } from 'node:worker_threads'
import { AbortListeners, refuseAborted } from '../base/abort-listeners.ts'
import { callListener, timers, whenSettled } from '../base/clock.ts'
import { type LaneError, laneError, show } from '../base/errors.ts'
import { checkGiven, invalidOption, isObject } from '../base/options.ts'
import {
  COMMAND_RULES,
  type CommandContext,
  type CommandInfo,
  type CommandOptions,
  type CommandOutcome,
  NESTED_RULES,
  type NestedOptions,
} from '../model/command.ts'
import { HOOKS, isMoved, membersOf } from '../model/handler-module.ts'
import {
  type DefaultLaneName,
  type LaneOptions,
  type LanePlan,
  unknownLane,
} from '../model/lane.ts'
import { type PartitionOptions, takesKeys } from '../model/partition-config.ts'
import { isWorthRetrying, type RetryPlan, retryDelayMs } from '../model/retry.ts'
import { thrownValue } from '../wire/error-codec.ts'
import { fromSideValue, SidePort, toCallValue, toParcel } from '../wire/side-payload.ts'
import { givenOf, keyRefused } from './admission/intake.ts'
import { createHandlersProxy, type HandlersProxy, type RunOptions } from './handlers-proxy.ts'
import { checkSource, type MapOptions, mapCommands, planMap } from './map-commands.ts'
import {
  type BroadcastOptions,
  DRAIN_RULES,
  type ManagerPlan,
  planBroadcast,
  planManager,
  type QueueManagerOptions,
} from './options.ts'
import type { QueueManager } from './queue-manager.ts'
import type { StreamReader } from './results/stream-reader.ts'
import { unknownType } from './type-table.ts'

/** Options of an inline manager. */
export interface InlineOptions<M, L extends string> {
  /** The handlers: `await import('./handlers.js')`, or an object of functions. */
  readonly handlers: M
  /** Lanes by name; of their options only `timeoutMs` and `retry` do anything. */
  readonly lanes?: Readonly<Record<L, LaneOptions>> | undefined
  /** Lane of `run`. Default: `query` if there is one, else the first lane. */
  readonly defaultLane?: NoInfer<L> | undefined
  /** The strategy decides whether commands may have keys. Default: `balanced`, which takes none. */
  readonly partitions?: number | PartitionOptions | undefined
}

/** The members of a manager that an inline one has. */
type Shared =
  | 'broadcast'
  | 'close'
  | 'drain'
  | 'execute'
  | 'handlers'
  | 'map'
  | 'room'
  | 'run'
  | 'shutdown'
  | 'start'
  | 'stream'
  | 'submit'
  | 'submitMany'

/** A manager without threads, whose time stands still until it is advanced. */
export interface InlineManager<M, L extends string>
  extends Pick<QueueManager<M, L>, Shared>,
    AsyncDisposable {
  /**
   * Lets time pass: delays end, time-outs strike, retries come.
   *
   * @param ms - Milliseconds, 0 or more.
   * @throws (as a rejection) ConfigError `CORELANE_INVALID_OPTION`.
   */
  advance(ms: number): Promise<void>
}

/**
 * Makes a manager that runs handlers in this thread, at once and without real time, and checks
 * names, options and payloads as a real one does. Payloads and results are copied as between
 * threads. It has no rates, no deadlines, no maximum of commands at once and no events, and it
 * refuses the option `file`.
 *
 * @param options - `handlers` is the module itself.
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function inlineManager<M extends object, L extends string = DefaultLaneName>(
  options: InlineOptions<M, L>,
): InlineManager<M, L> {
  const { handlers, ...others } = options ?? {}
  if (!isObject(handlers)) {
    const allowed = 'a module, as import() gives it, or an object of functions'
    throw invalidOption('inlineManager.handlers', show(handlers), allowed)
  }
  const plan = planManager({ handlers: 'data:,', ...(others as QueueManagerOptions) })
  return new Inline(handlers, plan) as unknown as InlineManager<M, L>
}

type Run = (payload: unknown, context: CommandContext) => unknown

/** A timer of the virtual clock. */
interface VirtualTimer {
  readonly atMs: number
  readonly onDue: () => void
}

class Inline {
  readonly #handlers = new Map<string, Run>()
  readonly #plan: ManagerPlan
  readonly #timers = new Set<VirtualTimer>()
  /** Those that have not ended, with their lanes. */
  readonly #open = new Map<Promise<unknown>, string>()
  /** Ends those of them that wait for something, because the manager was closed. */
  readonly #drops = new Set<() => void>()
  readonly #signals = new AbortListeners()
  #nowMs = 0
  #count = 0
  #state: 'running' | 'shutdown' | 'closed' = 'running'

  constructor(module: object, plan: ManagerPlan) {
    this.#plan = plan
    for (const [name, { run, self }] of membersOf(module)) {
      if (!HOOKS.includes(name)) this.#handlers.set(name, run.bind(self) as Run)
    }
  }

  async start(): Promise<void> {}

  async submit(lane: string, type: string, payload?: unknown, options?: CommandOptions) {
    const outcome = await this.execute(lane, type, payload, options)
    if (outcome.ok) return outcome.value
    throw outcome.error
  }

  run(type: string, payload?: unknown, options?: RunOptions): Promise<unknown> {
    const { defaultLane } = this.#plan
    if (options == null || !Object.hasOwn(options, 'lane')) {
      return this.submit(defaultLane, type, payload, options)
    }
    const { lane = defaultLane, ...others } = options
    return this.submit(lane, type, payload, others)
  }

  async submitMany(
    lane: string,
    type: string,
    payloads: Iterable<unknown>,
    options?: CommandOptions,
  ): Promise<unknown[]> {
    checkSource('submitMany.payloads', payloads, false)
    return Promise.all([...payloads].map((one) => this.submit(lane, type, one, options)))
  }

  async *map(lane: string, type: string, source: Iterable<unknown>, options?: MapOptions) {
    const { plan, others } = planMap(options)
    yield* mapCommands(source, plan, (one) => this.submit(lane, type, one, others))
  }

  async *stream(lane: string, type: string, payload?: unknown, options?: CommandOptions) {
    const given = await this.#command(lane, type, payload, options, 'stream')
    if (!given.ok) throw given.error
    const source = given.value as AsyncIterable<unknown> & Iterable<unknown>
    const iterator = source?.[Symbol.asyncIterator]?.() ?? source?.[Symbol.iterator]?.()
    if (iterator === undefined || typeof source === 'string') {
      throw laneError('CORELANE_NO_STREAM', { type, received: show(source) })
    }
    let isOpen = true
    const next = async () => iterator.next()
    try {
      for (;;) {
        // One that throws has ended.
        isOpen = false
        const { done, value } = await next().catch(arrives)
        if (done) return sent(value, 'result')
        isOpen = true
        yield sent(await value, 'value')
      }
    } finally {
      if (isOpen) await iterator.return?.()
    }
  }

  async execute(lane: string, type: string, payload?: unknown, options?: CommandOptions) {
    return this.#command(lane, type, payload, options, 'plain')
  }

  handlers(): HandlersProxy<Record<string, Run>> {
    return createHandlersProxy(this.run.bind(this), () => this.#handlers)
  }

  async broadcast(type: string, payload?: unknown, options?: BroadcastOptions): Promise<unknown[]> {
    planBroadcast(options)
    return [await this.run(type, payload)]
  }

  async room(lane: string): Promise<void> {
    this.#refuseUnlessRunning(false)
    this.#laneOf(lane)
  }

  shutdown(): void {
    if (this.#state === 'running') this.#state = 'shutdown'
  }

  async drain(timeoutMs: number = this.#plan.drainTimeoutMs): Promise<void> {
    checkGiven('drain', { timeoutMs }, DRAIN_RULES)
    this.shutdown()
    await new Promise<void>((resolve, reject) => {
      const timer = { atMs: this.#nowMs + timeoutMs, onDue: () => reject(this.#left(timeoutMs)) }
      this.#timers.add(timer)
      void this.#untilDone().then(() => {
        this.#timers.delete(timer)
        resolve()
      })
    })
  }

  async #untilDone(): Promise<void> {
    // Handlers may submit meanwhile.
    while (this.#open.size > 0) await Promise.allSettled(this.#open.keys())
  }

  #left(timeoutMs: number): LaneError {
    const lanes: Record<string, number> = {}
    for (const lane of this.#open.values()) lanes[lane] = (lanes[lane] ?? 0) + 1
    const words = Object.entries(lanes).map(([lane, count]) => `${count} in ${lane}`)
    return laneError('CORELANE_DRAIN_TIMEOUT', { timeoutMs, left: words.join(', '), lanes })
  }

  async close(): Promise<void> {
    this.#state = 'closed'
    await turn()
    for (const drop of this.#drops) drop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async advance(ms: number): Promise<void> {
    if (!Number.isFinite(ms) || ms < 0) {
      throw invalidOption('advance.ms', show(ms), 'milliseconds, 0 or more')
    }
    const untilMs = this.#nowMs + ms
    await turn()
    for (;;) {
      const [next] = [...this.#timers].sort((a, b) => a.atMs - b.atMs)
      if (next === undefined || next.atMs > untilMs) break
      this.#timers.delete(next)
      this.#nowMs = next.atMs
      next.onDue()
      await turn()
    }
    this.#nowMs = untilMs
  }

  #refuseUnlessRunning(isNested: boolean): void {
    if (this.#state === 'running' || (isNested && this.#state === 'shutdown')) return
    throw laneError('CORELANE_CLOSED', { state: this.#state })
  }

  /** Accepts a command; what it gives never rejects. Throws why it is not accepted. */
  #command(
    laneName: string,
    type: string,
    given: unknown,
    options: CommandOptions = {},
    kind: 'plain' | 'stream' | 'nested',
  ): Promise<CommandOutcome> {
    this.#refuseUnlessRunning(kind === 'nested')
    const lane = this.#laneOf(laneName)
    if (options?.file !== undefined) {
      throw invalidOption('command.file', show(options.file), 'none: it loads no module')
    }
    const run = this.#handlers.get(type)
    if (run === undefined) throw unknownType(type, [...this.#handlers.keys()].sort())
    checkGiven('command', options, COMMAND_RULES)
    const { key, transferList, signal } = options
    const { strategy } = this.#plan
    if (key !== undefined && !takesKeys(strategy)) throw keyRefused(strategy)
    const isStream = kind === 'stream'
    const reader = isStream ? ({} as StreamReader) : undefined
    const retry = givenOf({ plan: lane }, options, reader)?.retry ?? lane.retry
    const payload = copy(given, 'payload', transferList)
    refuseAborted(signal)
    const id = options.id ?? String(this.#count++)
    const timeoutMs = options.timeoutMs ?? lane.timeoutMs
    const deadlineMs = options.deadlineMs ?? lane.deadlineMs
    const deadline = deadlineMs === undefined ? undefined : this.#nowMs + deadlineMs
    // Values that were taken cannot be taken back.
    const plan = isStream ? { ...retry, retries: 0 } : retry
    const take = (value: unknown) => (isStream ? value : sent(value, 'result'))
    const ended = this.#attempts(
      { id, lane: laneName, type, options, timeoutMs, deadline, plan },
      (context) => whenSettled(run(payload, context), take),
    )
    this.#open.set(ended, laneName)
    return ended.finally(() => this.#open.delete(ended))
  }

  async #nested(lane: string, type: string, payload: unknown, options: NestedOptions = {}) {
    checkGiven('context.submit', options, NESTED_RULES)
    const { wait = true, ...others } = options
    const ended = this.#command(lane, type, payload, others, 'nested')
    // Its handler does not learn how it ends, as with threads.
    if (!wait) return undefined
    const outcome = await ended
    if (outcome.ok) return outcome.value
    throw outcome.error
  }

  async #attempts(command: Inlined, run: (context: CommandContext) => Promise<unknown>) {
    const { id, lane, type, options, plan, timeoutMs } = command
    let startedAtMs: number | undefined
    const info = (attempt: number): CommandInfo => ({
      id,
      lane,
      type,
      key: options.key,
      attempt,
      partition: 0,
      startedAtMs,
      durationMs: startedAtMs === undefined ? 0 : this.#nowMs - startedAtMs,
    })
    for (let attempt = options.attempt ?? 1, failures = 0; ; attempt++) {
      const late = timeoutMs && laneError('CORELANE_TIMEOUT', { type, lane, timeoutMs })
      try {
        const waitMs = failures === 0 ? (options.delayMs ?? 0) : retryDelayMs(plan, failures, 0)
        if (waitMs > 0) await this.#until(command, waitMs, undefined, new Promise<never>(() => {}))
        startedAtMs = this.#nowMs
        const value = await this.#once(command, attempt, late, run)
        return { ok: true, value, info: info(attempt) } as const
      } catch (error) {
        failures++
        const isEnded = options.signal?.aborted === true || this.#state === 'closed'
        const isFinal = error === late && !plan.retryTimeouts
        const isOver = failures > plan.retries || isEnded || isFinal
        if (isOver || !isWorthRetrying(error, plan.retryable)) {
          return { ok: false, error, info: info(attempt) } as const
        }
      }
    }
  }

  async #once(
    command: Inlined,
    attempt: number,
    late: unknown,
    run: (context: CommandContext) => Promise<unknown>,
  ) {
    const { id, lane, type, options, timeoutMs, deadline } = command
    const over = new AbortController()
    const context: CommandContext = {
      id,
      lane,
      type,
      key: options.key,
      attempt,
      deadline,
      startedAt: this.#nowMs,
      partition: 0,
      signal: over.signal,
      get aborted() {
        return over.signal.aborted
      },
      progress: (value) => {
        const arrived = sent(value, 'progress')
        // What has ended reports nothing.
        if (options.onProgress && !over.signal.aborted) callListener(options.onProgress, arrived)
      },
      submit: (nestedLane, nestedType, nested?: unknown, given?: NestedOptions) =>
        this.#nested(nestedLane, nestedType, nested, given),
    }
    try {
      // A handler that throws at once rejects, and one that was aborted before is not called.
      const enter = () => (options.signal?.aborted ? undefined : run(context))
      const result = Promise.resolve().then(enter).catch(arrives)
      return await this.#until(command, timeoutMs, late, result)
    } finally {
      over.abort()
    }
  }

  /** Waits for a result, but no longer than some virtual time or until the command is aborted. */
  #until<T>(
    { options: { signal } }: Inlined,
    ms: number | undefined,
    late: unknown,
    result: Promise<T>,
  ): Promise<T | undefined> {
    const stage = ms !== undefined && late === undefined ? 'waiting' : 'running'
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        this.#timers.delete(timer)
        this.#drops.delete(drop)
        if (signal !== undefined) this.#signals.remove(signal, aborted)
        settle()
      }
      const abort = () => {
        const error = laneError('CORELANE_ABORTED', { stage }, signal?.reason)
        end(() => reject(error))
      }
      const drop = () => {
        const reason = 'close() was called'
        end(() => reject(laneError('CORELANE_COMMAND_DROPPED', { stage, reason })))
      }
      const onDue = () => end(() => (late === undefined ? resolve(undefined) : reject(late)))
      const aborted = { isBound: true, abort }
      const timer = { atMs: this.#nowMs + (ms ?? 0), onDue }
      if (ms !== undefined) this.#timers.add(timer)
      this.#drops.add(drop)
      if (signal?.aborted) return abort()
      if (signal !== undefined) this.#signals.add(signal, aborted)
      result.then(
        (value) => end(() => resolve(value)),
        (error) => end(() => reject(error)),
      )
    })
  }

  #laneOf(name: string): LanePlan {
    const { lanes } = this.#plan
    const lane = lanes.find((one) => one.name === name)
    if (lane !== undefined) return lane
    throw unknownLane(name, lanes)
  }
}

interface Inlined {
  readonly id: string
  readonly lane: string
  readonly type: string
  readonly options: CommandOptions
  readonly timeoutMs: number | undefined
  /** When it should have started, in virtual milliseconds. */
  readonly deadline: number | undefined
  readonly plan: RetryPlan
}

/** A value as it arrives in another thread; what is in the list is moved. */
function copy(value: unknown, role: string, transferList: readonly object[] = []): unknown {
  if (transferList.length === 0) return fromSideValue(toCallValue(value, role))
  const { port1, port2 } = new MessageChannel()
  try {
    new SidePort(port1).post(0, role, toParcel(value, role, transferList))
    return new SidePort(port2).take(0)
  } finally {
    port1.close()
  }
}

/** What a handler gives as it arrives in another thread. */
function sent(value: unknown, role: string): unknown {
  return isMoved(value) ? copy(value.value, role, value.transferList) : copy(value, role)
}

/** Throws what a handler threw as it arrives in another thread. */
function arrives(thrown: unknown): never {
  throw copy(thrownValue(thrown), 'error')
}

/** Lets every promise settle that can. */
function turn(): Promise<void> {
  return new Promise((resolve) => timers.setImmediate(resolve))
}
