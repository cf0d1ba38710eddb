// Pool: the public face of a worker, with its options, its life from start to close, and the health
// of its manager.
// Owns: the state of the pool and the instances of its parts.

import { hostname } from 'node:os'
import { outside } from '../../base/async-context.ts'
import { epochMs } from '../../base/clock.ts'
import { laneError } from '../../base/errors.ts'
import { checkGiven, checkOptions } from '../../base/options.ts'
import { DRAIN_RULES } from '../../coordinator/options.ts'
import { managerPort, type QueueManager } from '../../coordinator/queue-manager.ts'
import { takesKeys } from '../../model/partition-config.ts'
import type { WorkerStanding } from '../../model/queue-standing.ts'
import type { DistributedQueue } from '../contract/distributed-queue.ts'
import { isWithin, turn } from '../contract/pause.ts'
import { type IncidentListener, incidentTeller } from '../incident.ts'
import { leasedQueueOf } from '../lift/lifted-queue.ts'
import { LeaseFetcher } from './fetch.ts'
import { HeldCommands, type WorkerCore, type WorkerEvents, type WorkerTally } from './held.ts'
import type { WorkerLane } from './lane.ts'
import { Announcer, LeaseKeeper, PartitionAssignment } from './leases.ts'
import { chooseLanes, LimitWatch } from './limits.ts'
import { Pace, Quarantine } from './pacing.ts'
import { WORKER_POOL_RULES, type WorkerPlan, type WorkerPoolOptions } from './pool-options.ts'
import { Runner } from './run.ts'

/** How long nothing is leased after the manager has refused a command. */
const MANAGER_REST_MS = 250

/** Where a worker pool is in its life. */
export type WorkerPoolState = 'created' | 'running' | 'draining' | 'closed'

/** A worker pool at one moment. */
export interface WorkerPoolStats extends Readonly<WorkerTally> {
  readonly state: WorkerPoolState
  /** Whether its manager can run commands. While it cannot, the pool takes none. */
  readonly isFit: boolean
  /** Deliveries it has: they wait, run, or are about to be completed or given back. */
  readonly held: number
  /** Commands that the manager has. */
  readonly submitted: number
  /** Commands that wait for another of their key. */
  readonly chained: number
  /** Ends that the queue has not answered for. */
  readonly unsettled: number
  /** Commands that ran alone, since their next death would dead-letter them. */
  readonly isolated: number
  /** How many commands it would have at the measured rate. */
  readonly target: number
  /** Commands ended in a second, by a moving average. */
  readonly perSecond: number
  /** Partitions that are this worker's alone; undefined where partitions have no owners. */
  readonly ownedPartitions: number | undefined
}

/**
 * Takes commands out of a distributed queue, has a queue manager run them, and tells the queue how
 * they ended. Any number of pools on any number of machines share a queue.
 */
export class WorkerPool {
  readonly #core: WorkerCore
  readonly #manager: QueueManager
  readonly #tell: IncidentListener
  readonly #runner: Runner
  readonly #assignment: PartitionAssignment
  readonly #announcer: Announcer
  readonly #keeper: LeaseKeeper
  readonly #fetcher: LeaseFetcher
  readonly #limits: LimitWatch
  #state: WorkerPoolState = 'created'
  #startedAt = 0
  /** Whether the manager can run anything, as far as that has been acted upon. */
  #isFit = true
  #unwatch: () => void = () => {}
  #starting: Promise<void> | undefined
  #draining: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #end!: () => void
  /** Resolves when `close` has ended the pool; never rejects. */
  readonly closed: Promise<void> = outside(
    () =>
      new Promise<void>((resolve) => {
        this.#end = resolve
      }),
  )

  /**
   * @param queue - What to take commands from. The pool does not close it. One of five members is
   * lifted: it delivers at most once.
   * @param manager - What runs them; {@link WorkerPool.start} starts it.
   * @throws ConfigError `CORELANE_INVALID_OPTION`, `CORELANE_UNKNOWN_LANE`, `CORELANE_DEGRADED` if
   * a lane asks for what the queue cannot do.
   */
  constructor(
    queue: DistributedQueue,
    // biome-ignore lint/suspicious/noExplicitAny: a manager of whatever handler module.
    manager: QueueManager<any>,
    options?: WorkerPoolOptions,
  ) {
    const plan = checkOptions<WorkerPlan>('WorkerPool', options, WORKER_POOL_RULES)
    this.#manager = manager
    this.#tell = incidentTeller(plan.onIncident)
    const leased = leasedQueueOf(queue)
    const { capabilities, maxDeliveries, numPartitions } = leased
    const port = managerPort(manager)
    const events = this.#events()
    const core: WorkerCore = {
      plan,
      queue: leased,
      port,
      lanes: chooseLanes(manager.lanes, leased, plan),
      held: new HeldCommands(events, numPartitions, capabilities.keyOrder),
      pace: new Pace(port.health, manager.partitioning.concurrency),
      quarantine: new Quarantine(maxDeliveries),
      events,
    }
    this.#core = core
    this.#runner = new Runner(core, takesKeys(manager.partitioning.strategy))
    this.#assignment = new PartitionAssignment(core, this.#runner)
    this.#announcer = new Announcer(core, manager.lanes, () => this.#standing())
    this.#limits = new LimitWatch(
      core,
      (lane) => this.#limited(lane),
      (laneId) => {
        this.#runner.paused(laneId)
        this.#fetcher.paused(laneId)
      },
    )
    this.#keeper = new LeaseKeeper(
      core,
      this.#runner,
      this.#assignment,
      this.#announcer,
      this.#limits,
    )
    this.#fetcher = new LeaseFetcher(core, this.#runner, this.#keeper, this.#assignment)
  }

  /**
   * Starts the manager and takes commands. From then on the process is kept alive until
   * {@link WorkerPool.drain} or {@link WorkerPool.close}.
   *
   * @returns Once the manager is ready. Calling it again gives the same promise.
   * @throws (as a rejection) ConfigError `CORELANE_HANDLERS_FAILED`; ClosedError
   * `CORELANE_WORKER_CLOSED` after `drain` or `close`, `CORELANE_CLOSED` if the queue is closed.
   */
  start(): Promise<void> {
    this.#starting ??= outside(() => this.#start())
    return this.#starting
  }

  /**
   * Takes no more, gives back what has not started, and lets what runs finish.
   *
   * @param timeoutMs - How long to wait, in milliseconds. Default: `drainTimeoutMs`.
   * @throws (as a rejection) LaneError `CORELANE_DRAIN_TIMEOUT`: what is left goes on until
   * `close`.
   */
  async drain(timeoutMs: number = this.#core.plan.drainTimeoutMs): Promise<void> {
    checkGiven('drain', { timeoutMs }, DRAIN_RULES)
    this.#draining ??= this.#drain()
    if (await isWithin(timeoutMs, this.#draining)) return
    const { held, submitted } = this.stats()
    const left = `${submitted} running, ${held - Math.min(held, submitted)} to be settled`
    throw laneError('CORELANE_DRAIN_TIMEOUT', { timeoutMs, left })
  }

  /**
   * Ends the pool: takes no more, ends the threads of running commands, and gives everything back.
   * Drain it first, so that nothing has to run again. The manager and the queue stay open.
   *
   * @returns Once the queue knows, or after `closeTimeoutMs`. Calling it again gives the same
   * promise.
   */
  close(): Promise<void> {
    this.#closing ??= outside(() => this.#close()).finally(this.#end)
    return this.#closing
  }

  /** Drains, at most for `drainTimeoutMs`, and closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.drain()
    } finally {
      await this.close()
    }
  }

  /** Counts of the commands that it holds and has taken. */
  stats(): WorkerPoolStats {
    const { held, pace, quarantine } = this.#core
    return {
      state: this.#state,
      isFit: this.#isFit,
      held: held.size,
      submitted: held.submitted,
      chained: held.chained,
      unsettled: this.#runner.acknowledger.size,
      isolated: quarantine.admitted,
      target: this.#fetcher.target,
      perSecond: pace.perMs * 1000,
      ownedPartitions: this.#assignment.ownedCount,
      ...held.tally,
    }
  }

  #standing(): WorkerStanding {
    const { held, lanes: own, port } = this.#core
    const { lanes } = this.#manager.stats()
    const names = own.map(({ plan }) => plan.name)
    return {
      host: hostname(),
      pid: process.pid,
      startedAt: this.#startedAt,
      state: this.#state === 'draining' ? 'draining' : this.#isFit ? 'running' : 'unfit',
      partitions: port.health.working,
      ownedPartitions: this.#assignment.ownedCount,
      lanes: names,
      held: held.size,
      running: names.reduce((sum, name) => sum + lanes[name]!.running, 0),
    }
  }

  #events(): WorkerEvents {
    return {
      settled: (held) => this.#runner.settled(held),
      progressed: () => {
        this.#runner.progressed()
        this.#assignment.check()
        this.#fetcher.progressed()
      },
      reassigned: () => this.#fetcher.interrupt(),
      refused: (error) => {
        if (this.#isFit) this.#tell({ what: 'manager-refused', error })
        this.#fetcher.rest(MANAGER_REST_MS)
      },
      failed: (error) => this.#tell({ what: 'queue-failed', error }),
      incident: this.#tell,
    }
  }

  async #start(): Promise<void> {
    this.#refuseUnlessNew()
    await this.#manager.start()
    this.#refuseUnlessNew()
    this.#state = 'running'
    this.#startedAt = Math.round(epochMs())
    this.#core.held.isAccepting = true
    const unwatch = this.#core.port.health.watch(this.#onHealth)
    const end = this.#core.queue.commands?.onCancel((fences) => this.#runner.cancelled(fences))
    this.#unwatch = () => {
      unwatch()
      end?.()
      this.#limits.stop()
      for (const lane of this.#core.lanes) if (lane.limit(undefined)) this.#limitManager(lane)
    }
    this.#onHealth()
    this.#keeper.start()
    this.#announcer.announce()
    await this.#assignment.heartbeat()
    void this.#limits.start().then(() => {
      if (this.#state === 'running') this.#fetcher.start()
    })
  }

  /** A lane has other limits than before, over all workers. */
  #limited(lane: WorkerLane): void {
    this.#limitManager(lane)
    this.#runner.limited(lane)
    this.#fetcher.interrupt()
  }

  /** The manager's own limit would hold back what the queue lets start. */
  #limitManager(lane: WorkerLane): void {
    if (lane.isRateOfManager) this.#manager.lane(lane.plan.name).setRateLimit(lane.rate!)
  }

  #refuseUnlessNew(): void {
    const state = this.#state
    if (state !== 'created') throw laneError('CORELANE_WORKER_CLOSED', { state })
    if (this.#core.queue.isClosed) throw laneError('CORELANE_CLOSED', { state: 'closed' })
  }

  async #drain(): Promise<void> {
    const state = this.#state
    if (state === 'closed') return
    this.#state = 'draining'
    const { held } = this.#core
    held.isAccepting = false
    if (state === 'running') this.#announcer.announce()
    const stopped = this.#fetcher.stop()
    this.#runner.giveBack()
    await stopped
    await held.idle()
    // Not awaited: a queue that does not answer keeps an idle worker no longer than before.
    if (state === 'running') void this.#announcer.leave()
    await this.#assignment.leave()
    this.#keeper.stop()
    this.#unwatch()
  }

  async #close(): Promise<void> {
    const wasRunning = this.#state === 'running' || this.#state === 'draining'
    this.#state = 'closed'
    this.#core.held.isAccepting = false
    if (!wasRunning) return
    await isWithin(this.#core.plan.closeTimeoutMs, this.#giveUpAll())
    this.#unwatch()
    this.#runner.giveUp()
    this.#keeper.stop()
  }

  /**
   * The manager may be another than it was. One that can run nothing would lease commands only to
   * hold them, or to let them fail for its own fault: others take them instead.
   */
  readonly #onHealth = (): void => {
    const { held, port } = this.#core
    const { trouble } = port.health
    const isFit = trouble === undefined
    if (isFit === this.#isFit || this.#state !== 'running') return
    this.#isFit = isFit
    held.isAccepting = isFit
    this.#tell(isFit ? { what: 'worker-fit' } : { what: 'worker-unfit', error: trouble })
    this.#assignment.take(isFit)
    this.#announcer.announce()
    if (!isFit) this.#runner.giveBack()
    this.#fetcher.interrupt()
  }

  /** Ends what runs and gives everything back; `close` may stop waiting for it. */
  async #giveUpAll(): Promise<void> {
    const left = this.#announcer.leave()
    const stopped = this.#fetcher.stop()
    this.#runner.giveBack()
    // By the end of the turn the queue has what was given back; the rest runs.
    await turn()
    this.#runner.abortAll('its worker was closed')
    await stopped
    await this.#core.held.idle()
    await this.#runner.close()
    await Promise.all([this.#assignment.leave(), left])
  }
}
