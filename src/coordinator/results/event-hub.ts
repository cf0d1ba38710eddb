// Event hub: passes events to subscribers, and costs nothing while there are none.
// Owns: the subscriptions.

import { inspect } from 'node:util'
import { CallContext } from '../../base/async-context.ts'
import { callListener, nowMs, timers } from '../../base/clock.ts'
import { Deque } from '../../base/deque.ts'
import { show } from '../../base/errors.ts'
import { checkOptions, invalidOption } from '../../base/options.ts'
import type { CommandOptions } from '../../model/command.ts'
import type {
  AnyLaneEvent,
  EventFilter,
  LaneEvent,
  LaneEventName,
  ThreadOutput,
} from '../../model/lane-event.ts'
import { LANE_EVENTS, SUBSCRIBE_RULES } from '../../model/lane-event.ts'
import { ANY_PARTITION, type Command } from '../command.ts'
import { type Lane, openCountOf } from '../lane-table.ts'
import { ChannelRelay, listenedChannels } from './channel-relay.ts'

/** Events as they come. Iterate it; leaving the loop ends it. */
export class EventSubscription implements AsyncIterableIterator<LaneEvent> {
  readonly #filter: EventFilter
  readonly #capacity: number
  readonly #onEnd: (subscription: EventSubscription) => void
  readonly #kept = new Deque<LaneEvent>()
  readonly #readers = new Deque<(result: IteratorResult<LaneEvent>) => void>()
  #missed = 0
  #isEnded = false

  constructor(filter: EventFilter, onEnd: (subscription: EventSubscription) => void) {
    this.#filter = filter
    this.#capacity = filter.capacity!
    this.#onEnd = onEnd
  }

  /** Events dropped because they were not read in time. */
  get missed(): number {
    return this.#missed
  }

  /** Whether it wants events of a name. */
  wants(event: LaneEventName): boolean {
    return this.#filter.events?.includes(event) ?? true
  }

  /** Hands it an event that it may want. */
  offer(event: LaneEvent): void {
    if (this.#isEnded || !this.wants(event.event)) return
    const { lanes } = this.#filter
    if (event.lane !== undefined && lanes !== undefined && !lanes.includes(event.lane)) return
    const reader = this.#readers.shift()
    if (reader !== undefined) {
      reader({ value: event, done: false })
      return
    }
    if (this.#kept.length >= this.#capacity) {
      this.#kept.shift()
      this.#missed++
    }
    this.#kept.push(event)
  }

  /** No more events come; those that are kept can still be read. */
  end(): void {
    this.#isEnded = true
    for (const reader of this.#readers) reader({ value: undefined, done: true })
    this.#readers.clear()
  }

  /** The next event. */
  next(): Promise<IteratorResult<LaneEvent>> {
    const event = this.#kept.shift()
    if (event !== undefined) return Promise.resolve({ value: event, done: false })
    if (this.#isEnded) return Promise.resolve({ value: undefined, done: true })
    return new Promise((resolve) => this.#readers.push(resolve))
  }

  /** Ends the subscription. */
  return(): Promise<IteratorResult<LaneEvent>> {
    this.#kept.clear()
    this.end()
    this.#onEnd(this)
    return Promise.resolve({ value: undefined, done: true })
  }

  /** Itself. */
  [Symbol.asyncIterator](): this {
    return this
  }
}

/** A function that is called with the events of a name. */
class EventListener {
  readonly name: LaneEventName
  readonly listener: (event: LaneEvent) => void
  readonly #context = new CallContext()
  #kept: LaneEvent[] = []
  /** Whether it was taken off: it is called no more, with what it has kept neither. */
  isOff = false

  constructor(name: LaneEventName, listener: (event: LaneEvent) => void) {
    this.name = name
    this.listener = listener
  }

  wants(event: LaneEventName): boolean {
    return this.name === event
  }

  /** It is called after the step that the event is part of, so it may do anything. */
  offer(event: LaneEvent): void {
    if (event.event === this.name && this.#kept.push(event) === 1)
      timers.queueMicrotask(this.#flush)
  }

  /** It is called with what has happened so far. */
  end(): void {}

  readonly #flush = (): void => {
    const events = this.#kept
    this.#kept = []
    this.#context.call(() => {
      for (const event of events) if (!this.isOff) callListener(this.listener, event)
    }, undefined)
  }
}

const ENDS = ['queue.command.completed', 'queue.command.failed'] as const

/** What commands tell as a rule; the rest few do. */
const USUAL = [
  'queue.command.submitted',
  'queue.command.started',
  'queue.command.progress',
  ...ENDS,
] as const

/** What a warning says where no subscription wants the event. */
const WARNINGS = {
  'queue.partition.lost': 'A thread ended while it ran no command',
  'queue.partition.failed': 'A partition was given up: its threads ended again and again',
  'queue.partition.rejection': 'A promise was rejected and not handled in a thread',
} as const

/** A failure that no command's caller learns of. */
export type PartitionFailure = keyof typeof WARNINGS

/** Hands events to subscriptions. */
export class EventHub {
  /** Whether anybody listens for submits, starts, reports or ends of commands. */
  hasListeners = false
  readonly #subscriptions = new Set<EventSubscription | EventListener | ChannelRelay>()
  readonly #relay = new ChannelRelay()
  /** Which diagnostics channels had a subscriber at the last look. */
  #channels = 0
  readonly #listenForStarts: (isListening: boolean) => void
  /** Names that any subscription wants: events of others are not made. */
  readonly #wanted = new Set<LaneEventName>()
  /** Whether any wants the ends of commands, which say when they were submitted. */
  #keepsSubmits = false
  /** When commands were submitted that keep no time of their own. */
  readonly #submits = new WeakMap<Command, number>()
  /** What a warning was shown for. */
  readonly #warned = new Set<LaneEventName>()
  #hasEnded = false

  /**
   * @param listenForStarts - Tells the partitions whether to report when handlers start.
   */
  constructor(listenForStarts: (isListening: boolean) => void) {
    this.#listenForStarts = listenForStarts
  }

  /**
   * Subscribes.
   *
   * @param filter - Which events. Default: all.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  subscribe(filter: EventFilter | undefined): EventSubscription {
    const checked = checkOptions<EventFilter>('subscribe', filter, SUBSCRIBE_RULES)
    const subscription = new EventSubscription(checked, (ended) => {
      this.#subscriptions.delete(ended)
      this.#update()
    })
    if (this.#hasEnded) subscription.end()
    else this.#subscriptions.add(subscription)
    this.#update()
    return subscription
  }

  /**
   * Calls a function with every event of a name.
   *
   * @param listener - The function.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  on(event: LaneEventName, listener: (event: LaneEvent) => void): void {
    if (!LANE_EVENTS.includes(event)) {
      throw invalidOption('on.event', show(event), LANE_EVENTS.join(', '))
    }
    if (typeof listener !== 'function') {
      throw invalidOption('on.listener', show(listener), 'a function')
    }
    if (!this.#hasEnded) this.#subscriptions.add(new EventListener(event, listener))
    this.#update()
  }

  /**
   * Ends what {@link EventHub.on} began.
   *
   * @param listener - The same function.
   */
  off(event: LaneEventName, listener: (event: LaneEvent) => void): void {
    for (const one of this.#subscriptions) {
      if (!(one instanceof EventListener) || one.name !== event || one.listener !== listener)
        continue
      this.#subscriptions.delete(one)
      one.isOff = true
      break
    }
    this.#update()
  }

  /** Looks whether anything listens to the diagnostics channels. Called once per turn. */
  look(): void {
    const channels = listenedChannels()
    if (channels === this.#channels || this.#hasEnded) return
    this.#channels = channels
    if (channels === 0) this.#subscriptions.delete(this.#relay)
    else this.#subscriptions.add(this.#relay)
    this.#update()
  }

  /** Ends every subscription, and those to come. */
  endAll(): void {
    this.#hasEnded = true
    for (const subscription of this.#subscriptions) subscription.end()
    this.#subscriptions.clear()
    this.#update()
  }

  /**
   * Tells of a command.
   *
   * @param command - To whom.
   * @param partition - Where, if it has a partition.
   * @param startedAtMs - When its handler was entered; 0 if it was not.
   * @param durationMs - How long it ran.
   * @param error - Why it failed.
   */
  command(
    event: LaneEventName,
    command: Command,
    partition?: number,
    startedAtMs?: number,
    durationMs?: number,
    error?: unknown,
  ): void {
    const keepsNow = this.#keepsSubmits && event === 'queue.command.submitted'
    const isWanted = this.#wanted.has(event)
    if (!isWanted && !keepsNow) return
    const common = eventOf(event, command)
    if (keepsNow) this.#submits.set(command, common.atMs)
    if (!isWanted) return
    this.#emit(
      {
        ...common,
        submittedAtMs: common.submittedAtMs ?? this.#submits.get(command),
        partition: partition === ANY_PARTITION ? undefined : partition,
        startedAtMs: startedAtMs === 0 ? undefined : startedAtMs,
        durationMs,
        error,
      },
      command,
    )
  }

  /**
   * Tells of a lane, or of the manager.
   *
   * @param lane - To which lane; undefined: to the manager.
   */
  lane(event: LaneEventName, lane?: Lane): void {
    this.#emit({ ...eventOf(event), lane: lane?.name, unsettled: lane && openCountOf(lane) })
  }

  /**
   * Tells what a handler reports.
   *
   * @param command - Of which command.
   * @param partition - Where it runs.
   */
  progress(command: Command, partition: number, progress: unknown): void {
    const event = 'queue.command.progress'
    this.#emit({ ...eventOf(event, command), partition, progress })
  }

  /** Tells of a dead letter that was dropped. */
  dropped({
    id,
    lane,
    type,
    attempts,
    error,
    options: { key, group },
  }: Pick<LaneEvent, 'id' | 'lane' | 'type' | 'error'> & {
    readonly attempts: number
    readonly options: CommandOptions
  }): void {
    const event = 'queue.dead_letter.dropped'
    this.#emit({ ...eventOf(event), id, lane, type, key, group, attempt: attempts, error })
  }

  /** Tells of a partition. */
  partition(event: LaneEventName, partition: number, error?: unknown): void {
    this.#emit({ ...eventOf(event), partition, error })
  }

  /**
   * Tells of a thread.
   *
   * @param thread - To which.
   */
  thread(
    event: LaneEventName,
    { partition, threadId }: { readonly partition: number; readonly threadId: number },
    error?: unknown,
  ): void {
    if (this.#subscriptions.size > 0) this.#emit({ ...eventOf(event), partition, threadId, error })
  }

  /**
   * Tells what a thread printed.
   *
   * @param threadId - Its `threadId`.
   * @param output - The chunk.
   * @param command - The command that printed it, if it was the only one that ran.
   */
  printed(partition: number, threadId: number, output: ThreadOutput, command?: Command): void {
    const event = 'queue.partition.output'
    if (this.#subscriptions.size > 0)
      this.#emit({ ...eventOf(event, command), partition, threadId, output })
  }

  /**
   * Tells of a failure that no command's caller learns of. Without a subscription that wants it, it
   * becomes a warning of the process, the first time.
   *
   * @param partition - Index of the partition.
   */
  failure(event: PartitionFailure, partition: number, error: unknown): void {
    this.partition(event, partition, error)
    const isSeen = [...this.#subscriptions].some((subscription) => subscription.wants(event))
    if (isSeen || this.#hasEnded || this.#warned.has(event)) return
    this.#warned.add(event)
    const message = `${WARNINGS[event]} (partition ${partition}). Shown once; subscribe to ${event} to see every one`
    process.emitWarning(message, { type: 'CorelaneWarning', detail: inspect(error) })
  }

  #emit(fields: AnyLaneEvent, command?: Command): void {
    const event = fields as LaneEvent
    for (const subscription of this.#subscriptions) subscription.offer(event, command)
  }

  #update(): void {
    this.#wanted.clear()
    for (const name of LANE_EVENTS) {
      for (const one of this.#subscriptions) if (one.wants(name)) this.#wanted.add(name)
    }
    this.hasListeners = USUAL.some((name) => this.#wanted.has(name))
    this.#keepsSubmits = ENDS.some((name) => this.#wanted.has(name))
    const all = [...this.#subscriptions]
    this.#listenForStarts(all.some((one) => one.wants('queue.command.started')))
  }
}

function eventOf(event: LaneEventName, command?: Command): AnyLaneEvent {
  return {
    event,
    atMs: nowMs(),
    id: command?.id,
    lane: command?.lane.name,
    type: command?.type.name,
    key: command?.key,
    group: command?.group,
    partition: undefined,
    attempt: command?.attempt,
    submittedAtMs: command?.submittedAtMs || undefined,
    startedAtMs: undefined,
    durationMs: undefined,
    error: undefined,
    unsettled: undefined,
    progress: undefined,
    threadId: undefined,
    output: undefined,
  }
}
