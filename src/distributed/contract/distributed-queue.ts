// Distributed queue: what an engine does for submitters and workers on one or many machines.
// Owns: nothing; the contract only. The suite behind the door testing proves it.

import type { PartitionStrategy } from '../../model/partition-config.ts'
import type { QueueCounts, QueueWorker, WorkerStanding } from '../../model/queue-standing.ts'
import type { RateAlgorithm, RateLimitOptions } from '../../model/rate-limit.ts'
import type { CommandEnvelope, CommandResult } from './envelope.ts'
import type { LaneLimits, SharedRate } from './live-limits.ts'

/**
 * The least a queue must do. `liftQueue` makes a {@link LeasedQueue} of it that delivers at most
 * once: what a worker has taken and not completed when it dies is gone.
 */
export interface DistributedQueue {
  /** How many partitions there are, 1 to 256. */
  readonly numPartitions: number
  /** Who takes commands through this object. Unique among those that are alive. */
  readonly workerId: string
  /** Adds a command to the partition that it names. Resolves when the queue has it. */
  enqueue(envelope: CommandEnvelope): Promise<void>
  /** Takes the next command of a partition; null if there is none. Does not wait for one. */
  dequeue(partitionId: number): Promise<CommandEnvelope | null>
  /**
   * Says how a command that was dequeued through this object ended. Engines reject with
   * `CORELANE_NOT_HELD` if it was not, or if another worker has it by now.
   */
  complete(result: CommandResult): Promise<void>
}

/** What an engine can do. A lane that asks for more is refused unless `allowDegraded`. */
export interface QueueCapabilities {
  /** Whether a command whose worker died is given out again. */
  readonly delivery: 'at-least-once' | 'at-most-once'
  /** Whether commands with the same key run one at a time and in order, over all workers. */
  readonly keyOrder: boolean
  /** Whether a partition has one worker at a time, which {@link LeasedQueue.ownership} decides. */
  readonly ownership: boolean
  /** Whether commands of a more urgent lane are given out first. */
  readonly lanePriority: boolean
  /** Whether more urgent commands of a lane are given out first. */
  readonly commandPriority: boolean
  /** What waiting makes more urgent: each command, the head of each lane, or nothing. */
  readonly boost: 'command' | 'lane' | 'none'
  /** Algorithms by which a lane's rate is limited over all workers. */
  readonly globalRate: readonly RateAlgorithm[]
  /** Whether a lane's concurrency can be bounded over all workers. */
  readonly globalConcurrency: boolean
  /**
   * Whether groups of a lane take fair turns within {@link LaneDemand.groups}, over all workers.
   */
  readonly groups: boolean
  /** Whether a released command can be kept back for a while. */
  readonly delay: boolean
  /** Whether submitters get results. */
  readonly results: boolean
  /** Whether `acceptedAtMs` goes by the engine's clock. If not, deadlines compare two clocks. */
  readonly ages: boolean
  /** Whether workers announce themselves, their lanes and handlers: {@link LeasedQueue.workers}. */
  readonly lanes: boolean
  /** Whether commands are found and cancelled by their ids, by {@link LeasedQueue.commands}. */
  readonly commands: boolean
  /** Whether what was enqueued outlives the process that holds the queue. */
  readonly durable: boolean
}

/** Whether a command was added. */
export type EnqueueStatus = 'accepted' | 'duplicate'

/** What a lane promises each of its groups, over all workers. */
export interface GroupTerms {
  /** Commands of one group that workers may have at once. Absent: no bound. */
  readonly concurrency?: number | undefined
  /** Starts of one group: `limit` at most, and as many more as flow in meanwhile. */
  readonly rate?: { readonly limit: number; readonly windowMs: number } | undefined
  /** Shares in the turns, 1 to 1,000 by group. Of those that are not listed: 1. */
  readonly weights?: ReadonlyMap<string, number> | undefined
}

/** What a worker wants of one lane. */
export interface LaneDemand {
  readonly laneId: string
  /** Most commands of it to be given. 0 leaves the lane out. */
  readonly max: number
  /** Urgency among lanes, 0 (the most urgent) to 255. */
  readonly priority: number
  /**
   * Ages at which the head of the lane becomes more urgent, and by how much: `levels` are taken off
   * the priority once it has waited `afterMs`. Sorted by age.
   */
  readonly boost: readonly { readonly afterMs: number; readonly levels: number }[]
  /** Terms of its groups. Absent: turns of equal shares, and no limits. */
  readonly groups?: GroupTerms | undefined
}

/** What a worker asks for. */
export interface LeaseRequest {
  /** Partitions to take from; those named first are looked at first. */
  readonly partitions: readonly number[]
  /** Lanes to take from. Within a partition the most urgent lane goes first, then the oldest. */
  readonly lanes: readonly LaneDemand[]
  /** Most commands in all, 1 to 4,096. */
  readonly max: number
  /**
   * How long to wait for the first command. 0: not at all. Idle workers wait for a minute at a
   * time: that must cost the broker next to nothing.
   */
  readonly waitMs: number
  /** Ends the waiting; it then resolves with what there is, which may be nothing. */
  readonly signal?: AbortSignal | undefined
}

/** A command that was given to a worker for a while. */
export interface Delivery {
  readonly envelope: CommandEnvelope
  /** Names this delivery and no other: a later delivery of the same command has another one. */
  readonly fence: string
  /**
   * How often it may have been started since its last orderly return, if this time it is as well.
   */
  readonly deliveries: number
  /**
   * Whether this time counts only once {@link LeasedQueue.start} reported it, as all do but the
   * first where `maxDeliveries` is 3 or more: that alone brings no command to its last.
   */
  readonly countsAtStart: boolean
  /** Until when it is this worker's, on the monotonic clock of this process, in milliseconds. */
  readonly leasedUntilMs: number
  /**
   * When the queue accepted the command, as a moment of the monotonic clock of this process: the
   * engine measures the age with its own clock. A retry keeps it, a redrive starts it anew.
   */
  readonly acceptedAtMs: number
  /**
   * Present where the rate of its group is limited: it starts by then, on the monotonic clock of
   * this process, or is given back as unstarted.
   */
  readonly startByMs?: number | undefined
}

/** The answer to the end of a delivery: `stale` if this worker no longer holds the command. */
export type SettleStatus = 'done' | 'stale'

/** Why a command is given back. */
export type ReleaseReason =
  /** Its handler failed: `retryCount` grows by one, and crashes are counted anew. */
  | 'retry'
  /** It was not started after all: this delivery does not count, and it keeps its place. */
  | 'unstarted'
  /** The thread that ran it died: the delivery counts towards `maxDeliveries`. */
  | 'crash'

/** How commands are given back. */
export interface ReleaseOptions {
  readonly reason: ReleaseReason
  /** Keeps them from being given out for so long. Default 0. With a delay they lose their place. */
  readonly delayMs?: number | undefined
}

/** Names a command from outside. */
export interface CommandReference {
  readonly commandId: string
  /** Its partition of the queue, from 0. */
  readonly partitionId: number
}

/** What a queue knows of a command. */
export type CommandState =
  | { readonly state: 'pending' }
  | { readonly state: 'ended'; readonly result: CommandResult }
  /** Never enqueued, lost by the broker, or ended so long ago that its result has expired. */
  | { readonly state: 'unknown' }

/** A command that failed for good. */
export interface DeadCommand {
  readonly envelope: CommandEnvelope
  /** Why: `retries spent`, `deliveries spent`, `undecodable`, `unknown handler` … */
  readonly reason: string
  /** When, milliseconds since 1970. */
  readonly diedAt: number
  /** Its last failure. Undefined if it died without one. */
  readonly result: CommandResult | undefined
}

/** Commands that failed for good. */
export interface DeadCommands {
  /**
   * @param max - Most of them to list. Default 100.
   * @returns The oldest first.
   */
  list(max?: number): Promise<DeadCommand[]>
  /**
   * Enqueues them again with no failures behind them.
   *
   * @param commands - Ids of commands, or references, which may spare a search in all partitions.
   * @returns How many there were: 0 for the id of a command that is not dead.
   * @throws (as a rejection) QueueFullError `CORELANE_QUEUE_FULL`; then all stay dead.
   */
  redrive(commands: readonly (CommandReference | string)[]): Promise<number>
  /**
   * Forgets them.
   *
   * @param commands - As for `redrive`.
   * @returns How many there were.
   */
  drop(commands: readonly (CommandReference | string)[]): Promise<number>
}

/** Who runs which partition, where each has one worker at a time. */
export interface PartitionOwnership {
  /**
   * Tells that this worker is alive, renews what it owns and takes what is free and its due. To be
   * called every third of a lease at least, and on {@link PartitionOwnership.onChange}.
   *
   * @param isTaking - False if the worker can run nothing now: what it owns is renewed and all of
   * it due to others. Default true.
   * @returns The partitions that are this worker's, and those of them that it should give up.
   */
  heartbeat(
    isTaking?: boolean,
  ): Promise<{ readonly owned: readonly number[]; readonly surplus: readonly number[] }>
  /** Gives a partition up. Its commands must be settled or released before. */
  release(partitionId: number): Promise<void>
  /** Gives everything up: the others learn at once that this worker has gone. */
  leave(): Promise<void>
  /**
   * Calls a listener when workers came or went, or a partition was given up: a heartbeat may give
   * another answer now. Without this member workers ask twelve times in a lease.
   */
  onChange?(listener: () => void): () => void
}

/** Which deliveries a worker keeps, and until when. */
export interface LeaseExtension {
  /** The fences of those that are not this worker's any more. */
  readonly lost: readonly string[]
  /** Until when it has the others, monotonic milliseconds. */
  readonly leasedUntilMs: number
}

/** Tokens of a lane's rate limit that a queue grants. */
export interface TokenGrant {
  /** How many tokens, 0 or more. */
  readonly granted: number
  /** They must be used by then, on the monotonic clock of this process. */
  readonly expiresAtMs: number
  /** When to ask again if fewer were granted than asked for. */
  readonly retryAfterMs: number
}

/** What all workers of a lane share. */
export interface GlobalLimits {
  /**
   * Takes tokens to start commands of a lane. Unused ones expire; each is charged as if it were
   * used last of all, so the bound of the algorithm holds whenever they are used.
   *
   * @param rate - At most `limit` starts in any `windowMs` and as many more as flow in meanwhile.
   * @param count - How many are wanted.
   */
  takeTokens(laneId: string, rate: SharedRate, count: number): Promise<TokenGrant>
  /**
   * Takes concurrency slots of a lane over all workers. They expire with the lease unless kept.
   *
   * @param max - How many there are.
   * @param holders - Names of those that want one; one that has one keeps it.
   * @returns Those that have one now.
   */
  takeSlots(laneId: string, max: number, holders: readonly string[]): Promise<string[]>
  /** Gives slots back. */
  releaseSlots(laneId: string, holders: readonly string[]): Promise<void>
  /**
   * Calls a listener when this worker, which was refused a slot, may ask again: a slot was given
   * back. A call can be lost, and slots that expire cause none, so ask once a second as well.
   */
  onSlotFree?(laneId: string, listener: () => void): () => void
}

/**
 * What workers have announced of a name. `served`: a live worker has it. `unserved`: a worker had
 * it, or no worker has announced any name. `unknown`: workers announced names, and never this one.
 */
export type NameState = 'served' | 'unserved' | 'unknown'

/** Names that the workers of a queue announce, of their lanes or of their handlers. */
export interface NameRegistry {
  /**
   * Announces that this worker has these, for one lease from now. To be called every third of a
   * lease. The queue remembers the names for a week after.
   *
   * @param names - 0 to 4,096.
   * @param others - 0 to 4,096 that exist and that this worker does not have. Default: none.
   */
  announce(names: readonly string[], others?: readonly string[]): Promise<void>
  /**
   * Looks names up.
   *
   * @param names - 1 to 4,096.
   * @returns Their states in that order, and up to 20 names that workers have announced.
   */
  look(
    names: readonly string[],
  ): Promise<{ readonly states: readonly NameState[]; readonly known: readonly string[] }>
}

/** Which lanes the workers of a queue take. */
export interface LaneRegistry extends NameRegistry {
  /** Up to 20 lanes that have commands waiting and no live worker. May cost as much as `counts`. */
  unserved(): Promise<readonly string[]>
  /**
   * Keeps the commands of a lane from being given out to any worker, until it is resumed. Commands
   * are taken on meanwhile, and what runs goes on.
   *
   * @param laneId - Any; it need not have commands.
   */
  pause(laneId: string): Promise<void>
  /** Lets the commands of a lane be given out again. */
  resume(laneId: string): Promise<void>
  /** The lanes that are paused. */
  paused(): Promise<readonly string[]>
  /**
   * Calls a listener when a lane was paused, so that a worker gives back what it has not started. A
   * call can be lost: workers read `paused` as well, with the limits.
   */
  onPause(listener: (laneId: string) => void): () => void
  /**
   * Sets how many commands of a lane may run at once over all workers, until it is reset; it takes
   * the place of their own options. Workers learn it at once, as a rule, and within a third of a
   * lease; one that starts later knows it before it takes anything. Running commands go on and
   * count: none starts while as many run as may.
   *
   * @param concurrency - 1 to 65,536; undefined resets it.
   * @throws (as a rejection) ConfigError `CORELANE_INVALID_OPTION`.
   */
  setConcurrency(laneId: string, concurrency: number | undefined): Promise<void>
  /**
   * Sets how many commands of a lane may start in a window of time, by a token bucket over all
   * workers, as {@link LaneRegistry.setConcurrency} does. Starts before it count where the lane had
   * such a limit.
   *
   * @param rateLimit - Its `limit` and `windowMs`; undefined resets it.
   * @throws (as a rejection) ConfigError `CORELANE_INVALID_OPTION`; also for another algorithm or
   * scope.
   */
  setRateLimit(laneId: string, rateLimit: RateLimitOptions | undefined): Promise<void>
  /** The limits that are set, by name of their lanes. */
  limits(): Promise<readonly LaneLimits[]>
  /** Calls a listener when limits may have changed. A call can be lost. */
  onLimits(listener: () => void): () => void
}

/** A command as its queue has it. */
export interface FoundCommand {
  /** `waiting` to be given out, kept back (`delayed`), with a worker (`leased`), or at its end. */
  readonly state: 'waiting' | 'delayed' | 'leased' | 'ended' | 'dead'
  readonly commandId: string
  /** Its partition of the queue, from 0. */
  readonly partitionId: number
  /** Absent where it has `ended`: then only its result is kept. */
  readonly envelope?: CommandEnvelope | undefined
  /** How often it may have been started since its last orderly return. Absent at its end. */
  readonly deliveries?: number | undefined
  /** When the queue accepted it, milliseconds since 1970 on its clock. Absent at its end. */
  readonly acceptedAt?: number | undefined
  /** When a `delayed` one is due, milliseconds since 1970 on that clock. */
  readonly dueAt?: number | undefined
  /** Which worker has a `leased` one. */
  readonly workerId?: string | undefined
  /** How it ended. */
  readonly result?: CommandResult | undefined
  /** Why a `dead` one died, as in {@link DeadCommand}. */
  readonly reason?: string | undefined
  /** When it died, milliseconds since 1970. Only of a `dead` one. */
  readonly diedAt?: number | undefined
}

/**
 * What a request to cancel has come to. `cancelled`: it waited, and no worker gets it. `stopping`:
 * a worker has it and was asked to stop it. Both have ended with `CORELANE_ABORTED`. `ended`: it
 * had ended before.
 */
export type CancelStatus = 'cancelled' | 'stopping' | 'ended' | 'unknown'

/** How far a command has come, as its handler says. */
export interface ProgressReport {
  readonly commandId: string
  /** The submitter of its envelope. */
  readonly submitter: string
  readonly value: unknown
}

/** Commands by their ids, whatever their states. */
export interface QueuedCommands {
  /**
   * Finds a command.
   *
   * @param command - Its id, or a reference, which may spare a search in all partitions.
   * @returns Undefined if the queue knows nothing of it.
   */
  find(command: CommandReference | string): Promise<FoundCommand | undefined>
  /**
   * Lists commands that wait, the next of each lane first. Boosts by age are left aside.
   *
   * @param laneId - Which lane. Default: all of them.
   * @param max - Most of each lane, 1 to 1,000; fewer where they are large: Redis gives 2 MiB of a
   * lane and partition. Default 10.
   */
  peek(laneId?: string, max?: number): Promise<FoundCommand[]>
  /**
   * Ends commands that are not wanted any more: a failure with `CORELANE_ABORTED` becomes their
   * result. The first end of an id counts: a command that ends meanwhile has its own result.
   *
   * @param commands - 1 to 4,096, as for `find`.
   * @returns In their order.
   */
  cancel(commands: readonly (CommandReference | string)[]): Promise<CancelStatus[]>
  /**
   * Calls a listener when commands that this worker has are cancelled. A call can be lost:
   * {@link LeasedQueue.extend} names them among the lost as well. The worker stops each, and
   * completes it then, which is stale.
   *
   * @param listener - Called with the fences of their deliveries.
   */
  onCancel(listener: (fences: readonly string[]) => void): () => void
  /**
   * Tells submitters how far commands have come. A report can be lost, and one whose value cannot
   * travel is; the end of its command may overtake it.
   *
   * @param reports - 1 to 4,096, one for a command.
   */
  report(reports: readonly ProgressReport[]): Promise<void>
  /**
   * Announces reports of a submitter's commands as they come.
   *
   * @param submitter - As in the envelopes.
   */
  onProgress(
    submitter: string,
    listener: (commandId: string, value: unknown) => void,
  ): Promise<() => Promise<void>>
}

/** The workers of a queue that live, as they say themselves. */
export interface WorkerRegistry {
  /**
   * Announces this worker for one lease from now. To be called every third of a lease.
   *
   * @param standing - Takes the place of the one before.
   * @throws (as a rejection) ConfigError `CORELANE_INVALID_OPTION`.
   */
  announce(standing: WorkerStanding): Promise<void>
  /** This worker lives no more. */
  leave(): Promise<void>
  /** Those that live, by their ids. */
  list(): Promise<readonly QueueWorker[]>
}

/** What engines do: at-least-once delivery by leases, with exactly one completion for each id. */
export interface LeasedQueue extends DistributedQueue {
  /** How an envelope finds its partition. Only `hash` and `single` take keys. */
  readonly strategy: PartitionStrategy
  readonly capabilities: QueueCapabilities
  /** How long a delivery is its worker's unless it is extended, in milliseconds. */
  readonly leaseMs: number
  /**
   * How often a command is started before it is dead, if each worker or thread that had it died. A
   * {@link Delivery} that has reached it is run alone, so that only its own death counts.
   */
  readonly maxDeliveries: number
  /**
   * How long a result is kept, and its id known, after the command has ended, in milliseconds. All
   * who open a queue must say the same. Absent: that cannot be said.
   */
  readonly resultTtlMs?: number | undefined
  /**
   * Adds commands; one whose id its partition knows already is a duplicate and changes nothing, so
   * a call can be repeated when its answer was lost.
   *
   * @param envelopes - 1 to 4,096.
   * @returns In their order.
   */
  enqueueMany(envelopes: readonly CommandEnvelope[]): Promise<EnqueueStatus[]>
  /** Gives commands to this worker. */
  lease(request: LeaseRequest): Promise<Delivery[]>
  /**
   * Says that deliveries are about to start: from now on they count towards `maxDeliveries`. Called
   * for those with `countsAtStart`, and answered before they start.
   *
   * @param deliveries - Which. One that counts already is left as it is.
   * @returns In their order.
   */
  start(deliveries: readonly Delivery[]): Promise<SettleStatus[]>
  /** Keeps deliveries for another lease from now. */
  extend(deliveries: readonly Delivery[]): Promise<LeaseExtension>
  /**
   * Ends commands. The first completion of an id counts, from any worker that has it; a later one
   * is stale, but for the same one that is said again since its answer was lost.
   *
   * @param completions - Each with the delivery it ends.
   * @returns In their order.
   */
  completeMany(
    completions: readonly { readonly delivery: Delivery; readonly result: CommandResult }[],
  ): Promise<SettleStatus[]>
  /** Gives commands back. */
  release(deliveries: readonly Delivery[], options: ReleaseOptions): Promise<SettleStatus[]>
  /**
   * Ends a command that failed for good: its submitter gets the result, and it can be redriven.
   *
   * @param delivery - What it was given out as.
   */
  deadLetter(delivery: Delivery, reason: string, result: CommandResult): Promise<SettleStatus>
  readonly dead: DeadCommands
  /** Present where `capabilities.ownership`. */
  readonly ownership: PartitionOwnership | undefined
  readonly limits: GlobalLimits
  /** Present where `capabilities.commands`. */
  readonly commands?: QueuedCommands | undefined
  /** Present where `capabilities.lanes`. */
  readonly lanes?: LaneRegistry | undefined
  /** The handlers that workers have. Present where `capabilities.lanes`. */
  readonly handlers?: NameRegistry | undefined
  /** The workers that live. Present where `capabilities.lanes`. */
  readonly workers?: WorkerRegistry | undefined
  /**
   * Announces results of a submitter's commands as they come. An announcement can be lost: ask
   * {@link LeasedQueue.look} now and then.
   *
   * @param submitter - As in the envelopes.
   */
  announce(
    submitter: string,
    listener: (result: CommandResult) => void,
  ): Promise<() => Promise<void>>
  /**
   * Looks commands up.
   *
   * @param commands - 1 to 4,096.
   * @returns In their order.
   */
  look(commands: readonly CommandReference[]): Promise<CommandState[]>
  /**
   * Forgets results that have reached their submitters: these ids are new afterwards. Pending
   * commands and dead ones stay. Without this member results go when they expire.
   *
   * @param commands - 1 to 4,096.
   */
  forget?(commands: readonly CommandReference[]): Promise<void>
  /** Counts what it holds. May be old by the time it is read. */
  counts(): Promise<QueueCounts>
  /** Whether all calls are refused, since it was closed. Absent: that cannot be said. */
  readonly isClosed?: boolean | undefined
  /** Lets go of connections and timers. Commands of this worker stay leased until they expire. */
  close(): Promise<void>
}

/** Whether a queue is an engine or does only the least. */
export function isLeased(queue: DistributedQueue): queue is LeasedQueue {
  return typeof (queue as Partial<LeasedQueue>).lease === 'function'
}
