// Local queue: the distributed queue of one process, in memory, as its workers and submitters see
// it: the embedded default.
// Owns: the service that all of them share.

import { nowMs } from '../../base/clock.ts'
import { PartitionConfig, type PartitionOptions, takesKeys } from '../../model/partition-config.ts'
import type {
  DeadCommands,
  GlobalLimits,
  LaneRegistry,
  LeasedQueue,
  NameRegistry,
  QueuedCommands,
  WorkerRegistry,
} from '../contract/distributed-queue.ts'
import { idOf } from '../contract/engine-checks.ts'
import { checkName } from '../contract/envelope.ts'
import {
  allCapabilities,
  type Behind,
  type EngineCore,
  type LanesBehind,
  LeasedEngine,
} from '../contract/leased-engine.ts'
import type { LaneLimits } from '../contract/live-limits.ts'
import { type LocalQueueOptions, planLocalQueue } from './local-plan.ts'
import { type LocalNames, LocalService, type LocalWorker } from './local-service.ts'

/** What a worker does with the queue. */
function coreOf(service: LocalService, worker: LocalWorker): EngineCore {
  const { plan } = service
  const { workerId } = worker
  return {
    ...plan,
    workerId,
    capabilities: allCapabilities({
      keyOrder: takesKeys(plan.strategy),
      ownership: false,
      commandPriority: true,
      boost: 'command',
      durable: false,
    }),
    get isClosed() {
      return !service.open.has(worker)
    },
    enqueueMany: (envelopes) => service.with((broker, now) => broker.enqueue(envelopes, now)),
    lease: (request) => service.lease(worker, request),
    next: (partition) => service.with((broker, now) => broker.leaseNext(workerId, partition, now)),
    start: (all) => service.with((broker, now) => all.map((each) => broker.start(each, now))),
    extend: (all) => service.with((broker, now) => broker.extend(all, now)),
    completeMany: (all) =>
      service.with((broker, now) =>
        all.map(({ delivery, result }) => broker.complete(delivery, result, now)),
      ),
    release: (all, { reason, delayMs = 0 }) =>
      service.with((broker, now) => all.map((each) => broker.release(each, reason, delayMs, now))),
    deadLetter: (delivery, reason, result) =>
      service.with((broker, now) => broker.deadLetter(delivery, reason, result, now)),
    announce: async (submitter, listener) =>
      service.listen(worker, service.results, submitter, listener),
    look: (all) =>
      service.with((broker, now) => all.map(({ commandId }) => broker.look(commandId, now))),
    forget: (all) =>
      service.with(({ archive }) => {
        for (const { commandId } of all) archive.forget(commandId)
      }),
    counts: () => service.with((broker, now) => broker.counts(now)),
    close: () => service.leave(worker),
    dead: deadIn(service),
    commands: commandsIn(service, worker),
    limits: limitsIn(service),
    lanes: lanesIn(service),
    handlers: namesIn(service, service.handlers),
    workers: workersIn(service, workerId),
  }
}

function deadIn(service: LocalService): Behind<DeadCommands> {
  return {
    list: (max = 100) => service.with(({ archive }) => archive.listDead(max)),
    redrive: (all) => service.with((broker, now) => broker.redrive(all.map(idOf), now)),
    drop: (all) =>
      service.with(({ archive }) => all.filter((each) => archive.drop(idOf(each))).length),
  }
}

function commandsIn(service: LocalService, worker: LocalWorker): Behind<QueuedCommands> {
  const { workerId } = worker
  return {
    find: (command) => service.with((broker, now) => broker.find(idOf(command), now)),
    peek: (laneId, max = 10) => service.with((broker, now) => broker.peek(laneId, max, now)),
    cancel: (all) =>
      service.with((broker, now) => all.map((each) => broker.cancel(idOf(each), workerId, now))),
    onCancel: (listener) => service.cancels.add(workerId, listener),
    report: (all) => {
      for (const { commandId, submitter, value } of all) {
        service.progress.call(submitter, commandId, value)
      }
    },
    onProgress: (submitter, listener) =>
      service.listen(worker, service.progress, submitter, listener),
  }
}

function limitsIn({ limits, plan }: LocalService): Behind<GlobalLimits> {
  return {
    takeTokens: (laneId, rate, count) => limits.takeTokens(laneId, rate, count, nowMs()),
    takeSlots: (laneId, max, holders) => {
      const now = nowMs()
      return limits.takeSlots(laneId, max, holders, now, now + plan.leaseMs)
    },
    releaseSlots: (laneId, holders) => limits.releaseSlots(laneId, holders),
    onSlotFree: (laneId, listener) => limits.freed.add(laneId, listener),
  }
}

function namesIn({ plan }: LocalService, registry: LocalNames): Behind<NameRegistry> {
  return {
    announce: (names, others = []) => {
      const now = nowMs()
      registry.announce(names, others, now, now + plan.leaseMs)
    },
    look: (names) => {
      const now = nowMs()
      return { states: names.map((name) => registry.stateOf(name, now)), known: registry.known }
    },
  }
}

function lanesIn(service: LocalService): LanesBehind {
  const { lanes, limits, limitChanges, pauses } = service
  const setLimits = (laneId: string, changed: Omit<LaneLimits, 'laneId'>): void => {
    limits.set(laneId, changed)
    limitChanges.call('')
  }
  return {
    ...namesIn(service, lanes),
    unserved: () => service.with((broker, now) => lanes.unserved(broker.busyLanes, now)),
    pause: (laneId) => {
      service.with(({ paused }) => paused.add(laneId))
      pauses.call('', laneId)
    },
    resume: (laneId) => void service.with(({ paused }) => paused.delete(laneId)),
    paused: () => service.with(({ paused }) => [...paused].sort()),
    onPause: (listener) => pauses.add('', listener),
    setConcurrency: (laneId, concurrency) => setLimits(laneId, { concurrency }),
    setRateLimit: (laneId, rate) => setLimits(laneId, { rate }),
    limits: () => [...limits.live.values()].sort((a, b) => (a.laneId < b.laneId ? -1 : 1)),
    onLimits: (listener) => limitChanges.add('', listener),
  }
}

function workersIn(service: LocalService, workerId: string): Behind<WorkerRegistry> {
  return {
    announce: (standing) => void service.live().set(workerId, { atMs: nowMs(), standing }),
    leave: () => void service.live().delete(workerId),
    list: () => {
      const now = nowMs()
      return Array.from(service.live(), ([id, { atMs, standing }]) => ({
        workerId: id,
        ageMs: now - atMs,
        ...standing,
      })).sort((a, b) => (a.workerId < b.workerId ? -1 : 1))
    },
  }
}

/**
 * A distributed queue in the memory of this process: the same promises as on a broker, but for
 * outliving the process. Payloads and results are passed on as they are, not copied: hand them
 * over.
 */
export class LocalDistributedQueue extends LeasedEngine implements LeasedQueue {
  declare readonly commands: QueuedCommands
  declare readonly lanes: LaneRegistry
  declare readonly handlers: NameRegistry
  declare readonly workers: WorkerRegistry
  readonly #service: LocalService

  /**
   * @param partitions - How many partitions, and how envelopes find theirs: a
   * {@link PartitionConfig} or its plain form. `custom` is refused: submitters could not follow it.
   * Default: `balanced`, one for each core that this process may use.
   * @param options - All have defaults.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  constructor(partitions?: PartitionOptions, options?: LocalQueueOptions) {
    const plan = planLocalQueue(partitions, options)
    const service = new LocalService(plan)
    super(coreOf(service, service.join(plan.workerId)))
    this.#service = service
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
    return new LeasedEngine(coreOf(this.#service, this.#service.join(workerId)))
  }

  /** Ends the queue with all its workers. Commands in it are gone. */
  override async close(): Promise<void> {
    this.#service.close()
  }
}
