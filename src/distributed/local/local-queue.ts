// Local queue: the distributed queue of one process, in memory, as its workers and submitters see
// it: the embedded default.
// Owns: what a worker has dequeued, whether it is closed, and the service that all of them share.

import { PartitionConfig, type PartitionOptions, takesKeys } from '../../model/partition-config.ts'
import type { QueueCounts } from '../../model/queue-standing.ts'
import type {
  CommandReference,
  CommandState,
  DeadCommands,
  Delivery,
  EnqueueStatus,
  GlobalLimits,
  LaneRegistry,
  LeasedQueue,
  LeaseExtension,
  LeaseRequest,
  NameRegistry,
  QueueCapabilities,
  QueuedCommands,
  ReleaseOptions,
  SettleStatus,
  WorkerRegistry,
} from '../contract/distributed-queue.ts'
import { type CommandEnvelope, type CommandResult, checkName } from '../contract/envelope.ts'
import {
  CALL_MAX,
  checkCommand,
  checkCommands,
  checkEnvelopes,
  checkLeaseRequest,
  checkListed,
  checkNames,
  checkRelease,
  checkStanding,
  checkWhole,
  idOf,
  PEEK_MAX,
} from '../contract/lease-request.ts'
import { allCapabilities, LeasedEngine } from '../contract/leased-engine.ts'
import type { Listeners } from '../contract/listeners.ts'
import { checkConcurrency, checkLiveRate, type LaneLimits } from '../contract/live-limits.ts'
import type { LocalBroker } from './local-broker.ts'
import type { LocalNames } from './local-names.ts'
import { type LocalQueueOptions, planLocalQueue } from './local-plan.ts'
import { LocalService } from './local-service.ts'

/** A local queue, as a worker or submitter sees it. */
class LocalWorker extends LeasedEngine implements LeasedQueue {
  readonly capabilities: QueueCapabilities
  readonly dead: DeadCommands = {
    list: async (max = 100) => {
      checkListed(max)
      return this.#with(({ archive }) => archive.listDead(max))
    },
    redrive: async (commands) => {
      for (const command of commands) checkCommand(command, this.numPartitions)
      return this.#with((broker, now) => broker.redrive(commands.map(idOf), now))
    },
    drop: async (commands) => {
      for (const command of commands) checkCommand(command, this.numPartitions)
      return this.#with(({ archive }) => commands.filter((one) => archive.drop(idOf(one))).length)
    },
  }
  readonly commands: QueuedCommands = {
    find: async (command) => {
      checkCommand(command, this.numPartitions)
      return this.#with((broker, now) => broker.find(idOf(command), now))
    },
    peek: async (laneId, max = 10) => {
      checkWhole('max', max, 1, PEEK_MAX)
      if (laneId !== undefined) checkName('laneId', laneId)
      return this.#with((broker, now) => broker.peek(laneId, max, now))
    },
    cancel: async (commands) => {
      checkCommands(commands, this.numPartitions)
      return this.#with((broker, now) =>
        commands.map((command) => broker.cancel(idOf(command), this.workerId, now)),
      )
    },
    onCancel: (listener) => this.service.cancels.add(this.workerId, listener),
    report: async (reports) => {
      this.checkOpen()
      checkWhole('reports', reports.length, 1, CALL_MAX)
      for (const { submitter } of reports) checkName('submitter', submitter)
      for (const { commandId, submitter, value } of reports) {
        this.service.progress.call(submitter, commandId, value)
      }
    },
    onProgress: async (submitter, listener) =>
      this.#listen(this.service.progress, submitter, listener),
  }
  readonly limits: GlobalLimits = {
    takeTokens: async (laneId, rate, count) =>
      this.#with((_, now) => this.service.limits.takeTokens(laneId, rate, count, now)),
    takeSlots: async (laneId, max, holders) =>
      this.#with((_, now) =>
        this.service.limits.takeSlots(laneId, max, holders, now, now + this.leaseMs),
      ),
    releaseSlots: async (laneId, holders) =>
      this.#with(() => this.service.limits.releaseSlots(laneId, holders)),
    onSlotFree: (laneId, listener) => {
      checkName('laneId', laneId)
      return this.service.limits.freed.add(laneId, listener)
    },
  }
  readonly lanes: LaneRegistry = {
    ...this.#namesIn(() => this.service.lanes),
    unserved: async () =>
      this.#with((broker, now) => this.service.lanes.unserved(broker.busyLanes, now)),
    pause: async (laneId) => {
      checkName('laneId', laneId)
      this.#with(({ paused }) => paused.add(laneId))
      this.service.pauses.call('', laneId)
    },
    resume: async (laneId) => {
      checkName('laneId', laneId)
      this.#with(({ paused }) => paused.delete(laneId))
    },
    paused: async () => this.#with(({ paused }) => [...paused].sort()),
    onPause: (listener) => this.service.pauses.add('', listener),
    setConcurrency: async (laneId, concurrency) => {
      checkConcurrency(laneId, concurrency)
      this.#setLimits(laneId, { concurrency })
    },
    setRateLimit: async (laneId, rateLimit) => {
      this.#setLimits(laneId, { rate: checkLiveRate(laneId, rateLimit) })
    },
    limits: async () => {
      this.checkOpen()
      const { live } = this.service.limits
      return [...live.values()].sort((a, b) => (a.laneId < b.laneId ? -1 : 1))
    },
    onLimits: (listener) => this.service.limitChanges.add('', listener),
  }
  readonly handlers: NameRegistry = this.#namesIn(() => this.service.handlers)
  readonly workers: WorkerRegistry = {
    announce: async (given) => {
      const standing = checkStanding(given)
      this.#with((_, now) => this.#live(now).set(this.workerId, { atMs: now, standing }))
    },
    leave: async () => void this.#with(() => this.service.workers.delete(this.workerId)),
    list: async () =>
      this.#with((_, now) =>
        Array.from(this.#live(now), ([workerId, { atMs, standing }]) => ({
          workerId,
          ageMs: now - atMs,
          ...standing,
        })).sort((a, b) => (a.workerId < b.workerId ? -1 : 1)),
      ),
  }
  readonly ownership: undefined = undefined
  /** @internal */
  protected readonly service: LocalService
  /** Ends each announcement to it. */
  readonly #announcements = new Set<() => void>()

  constructor(service: LocalService, workerId: string) {
    super({ ...service.plan, workerId })
    this.service = service
    this.capabilities = allCapabilities({
      keyOrder: takesKeys(this.strategy),
      ownership: false,
      commandPriority: true,
      boost: 'command',
      durable: false,
    })
    service.open.add(this)
  }

  get resultTtlMs(): number {
    return this.service.plan.resultTtlMs
  }

  async enqueueMany(envelopes: readonly CommandEnvelope[]): Promise<EnqueueStatus[]> {
    const checked = checkEnvelopes(envelopes, this)
    return this.#with((broker, now) => broker.enqueue(checked, now))
  }

  async lease(request: LeaseRequest): Promise<Delivery[]> {
    this.checkOpen()
    checkLeaseRequest(request, this.numPartitions)
    return this.service.lease(this, request)
  }

  async start(deliveries: readonly Delivery[]): Promise<SettleStatus[]> {
    return this.#with((broker, now) => deliveries.map((delivery) => broker.start(delivery, now)))
  }

  async extend(deliveries: readonly Delivery[]): Promise<LeaseExtension> {
    return this.#with((broker, now) => broker.extend(deliveries, now))
  }

  async completeMany(
    completions: readonly { readonly delivery: Delivery; readonly result: CommandResult }[],
  ): Promise<SettleStatus[]> {
    return this.#with((broker, now) =>
      completions.map(({ delivery, result }) => broker.complete(delivery, result, now)),
    )
  }

  async release(deliveries: readonly Delivery[], options: ReleaseOptions): Promise<SettleStatus[]> {
    checkRelease(options)
    const { reason, delayMs = 0 } = options
    return this.#with((broker, now) =>
      deliveries.map((delivery) => broker.release(delivery, reason, delayMs, now)),
    )
  }

  async deadLetter(
    delivery: Delivery,
    reason: string,
    result: CommandResult,
  ): Promise<SettleStatus> {
    return this.#with((broker, now) => broker.deadLetter(delivery, reason, result, now))
  }

  async announce(
    submitter: string,
    listener: (result: CommandResult) => void,
  ): Promise<() => Promise<void>> {
    return this.#listen(this.service.results, submitter, listener)
  }

  async look(commands: readonly CommandReference[]): Promise<CommandState[]> {
    checkCommands(commands, this.numPartitions)
    return this.#with((broker, now) => commands.map(({ commandId }) => broker.look(commandId, now)))
  }

  async forget(commands: readonly CommandReference[]): Promise<void> {
    checkCommands(commands, this.numPartitions)
    this.#with(({ archive }) => {
      for (const { commandId } of commands) archive.forget(commandId)
    })
  }

  async counts(): Promise<QueueCounts> {
    return this.#with((broker, now) => broker.counts(now))
  }

  async close(): Promise<void> {
    this.isClosed = true
    this.service.leave(this)
    for (const end of this.#announcements) end()
    this.#announcements.clear()
  }

  /** @internal */
  protected async next(partitionId: number): Promise<Delivery | undefined> {
    return this.#with((broker, now) => broker.leaseNext(this.workerId, partitionId, now))
  }

  /** Does something with the commands of the queue, which must be open. */
  #with<T>(act: (broker: LocalBroker, nowMs: number) => T): T {
    this.checkOpen()
    return this.service.with(act)
  }

  /** Adds a listener that closing ends. */
  #listen<Given extends unknown[]>(
    listeners: Listeners<Given>,
    submitter: string,
    listener: (...given: Given) => void,
  ): () => Promise<void> {
    this.checkOpen()
    checkName('submitter', submitter)
    const end = listeners.add(submitter, listener)
    this.#announcements.add(end)
    return async () => {
      this.#announcements.delete(end)
      end()
    }
  }

  #namesIn(registryOf: () => LocalNames): NameRegistry {
    return {
      announce: async (names, others = []) => {
        checkNames(names, 0)
        checkNames(others, 0)
        this.#with((_, now) => registryOf().announce(names, others, now, now + this.leaseMs))
      },
      look: async (names) => {
        checkNames(names, 1)
        const registry = registryOf()
        const states = this.#with((_, now) => names.map((name) => registry.stateOf(name, now)))
        return { states, known: registry.known }
      },
    }
  }

  /** What the workers that live say of themselves. */
  #live(now: number): LocalService['workers'] {
    const { workers } = this.service
    for (const [id, { atMs }] of workers) if (now - atMs >= this.leaseMs) workers.delete(id)
    return workers
  }

  #setLimits(laneId: string, changed: Omit<LaneLimits, 'laneId'>): void {
    this.checkOpen()
    const { live } = this.service.limits
    const limits = { ...live.get(laneId), ...changed }
    const { concurrency, rate } = limits
    if (concurrency === undefined && rate === undefined) live.delete(laneId)
    else live.set(laneId, { laneId, ...(concurrency && { concurrency }), ...(rate && { rate }) })
    this.service.limitChanges.call('')
  }
}

/**
 * A distributed queue in the memory of this process: the same promises as on a broker, but for
 * outliving the process. Payloads and results are passed on as they are, not copied: hand them
 * over.
 */
export class LocalDistributedQueue extends LocalWorker implements LeasedQueue {
  /**
   * @param partitions - How many partitions, and how envelopes find theirs: a
   * {@link PartitionConfig} or its plain form. `custom` is refused: submitters could not follow it.
   * Default: `balanced`, one for each core that this process may use.
   * @param options - All have defaults.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  constructor(partitions?: PartitionOptions, options?: LocalQueueOptions) {
    const plan = planLocalQueue(partitions, options)
    super(new LocalService(plan), plan.workerId)
  }

  /** A queue with a partition for each core that this process may use. */
  static auto(options?: LocalQueueOptions): LocalDistributedQueue {
    return new LocalDistributedQueue(PartitionConfig.auto(), options)
  }

  /**
   * The same queue for another worker, with a `workerId` of its own. Closing it ends this worker
   * only.
   *
   * @param workerId - Unique among the workers of the queue.
   * @throws ConfigError `CORELANE_INVALID_ENVELOPE` for a bad name; ClosedError `CORELANE_CLOSED`.
   */
  asWorker(workerId: string): LeasedQueue {
    this.checkOpen()
    checkName('workerId', workerId)
    return new LocalWorker(this.service, workerId)
  }

  /** Ends the queue with all its workers. Commands in it are gone. */
  override async close(): Promise<void> {
    await super.close()
    for (const worker of this.service.open) await worker.close()
    this.service.close()
  }
}
