// Pool: the public face of a worker, with its options; wiring, and its life from start to close.
// Thread: main.   Owns: the state of the pool and the instances of its parts.

import { outside } from '../../base/async-context.ts'
import { TIMER_MS_MAX } from '../../base/bounds.ts'
import { laneError } from '../../base/errors.ts'
import {
  anything,
  boolean,
  checkGiven,
  checkOptions,
  integer,
  milliseconds,
  type OptionRules,
} from '../../base/options.ts'
import { DRAIN_RULES } from '../../coordinator/options.ts'
import {
  type ManagerPort,
  managerPort,
  type QueueManager,
} from '../../coordinator/queue-manager.ts'
import { takesKeys } from '../../model/partition-config.ts'
import type { DistributedQueue, LeasedQueue } from '../contract/distributed-queue.ts'
import { type IncidentListener, incidentTeller } from '../incident.ts'
import { leasedQueueOf } from '../lift/leased-queue-of.ts'
import { Pause, turn } from '../pause.ts'
import { Settlements, StartGate } from './acks.ts'
import { LeaseLoop } from './fetch.ts'
import type { HeldCommand } from './held.ts'
import { chooseLanes, type WorkerLane } from './lanes.ts'
import { Announcer, LeaseKeeper, leaseMarginMs, PartitionClaims } from './leases.ts'
import { LaneDesk } from './limits.ts'
import { Quarantine } from './pacing.ts'
import { type LossCause, Runner, type WorkerTally } from './run.ts'

/** Options of a worker pool. All have defaults. */
export interface WorkerPoolOptions {
  /**
   * Whether the pool does without what the queue cannot do of that which lanes ask for, instead of
   * refusing to start. Default false.
   */
  readonly allowDegraded?: boolean | undefined
  /**
   * So much work is held beyond what runs, 0 to 10,000 ms by the measured rate, and as much more as
   * bridges the time that the queue takes to answer. Default 35.
   */
  readonly prefetchMs?: number | undefined
  /** Most commands that are held, but for a few that are more urgent. 1 to 4,096. Default 4,096. */
  readonly prefetchMax?: number | undefined
  /**
   * So long a completion waits for others at most, while more commands run whose own will come
   * within that time: one call for several. 0 to 1,000 ms; 0: none waits. Default 4.
   */
  readonly gatherMs?: number | undefined
  /** Names of the lanes to take commands of. Default: all lanes of the manager. */
  readonly lanes?: readonly string[] | undefined
  /** How many commands of a lane may run at once over all workers, by lane. Default: no bound. */
  readonly globalConcurrency?: Readonly<Record<string, number>> | undefined
  /**
   * So long after its acceptance a command that names no handler of the manager is handed on to
   * other workers, which may have it: 0 to 2^31 - 1 ms. After that, or in a queue without delays at
   * once, it is dead. Default 60,000.
   */
  readonly unknownHandlerMs?: number | undefined
  /** How long `drain` waits where it is not told, 0 to 2^31 - 1 ms. Default 30,000. */
  readonly drainTimeoutMs?: number | undefined
  /**
   * How long `close` waits for threads to end that run something, and for the queue, 0 to 2^31 - 1
   * ms. Default 2,000.
   */
  readonly closeTimeoutMs?: number | undefined
  /** Told of what goes wrong and is dealt with. Default: nobody is. */
  readonly onIncident?: IncidentListener | undefined
}

function isNames(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((name) => typeof name === 'string') &&
    new Set(value).size === value.length
  )
}

function isCounts(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((count) => Number.isInteger(count) && count >= 1 && count <= 65_536)
  )
}

/** The rules of {@link WorkerPoolOptions}. */
export const WORKER_POOL_RULES = Object.freeze({
  allowDegraded: boolean(false),
  prefetchMs: milliseconds(35, 0, 10_000),
  prefetchMax: integer(4096, 1, 4096),
  gatherMs: milliseconds(4, 0, 1_000),
  lanes: anything(undefined, 'an array of different lane names', isNames),
  globalConcurrency: anything(
    Object.freeze({}),
    'an object of integers from 1 to 65536 by lane name',
    isCounts,
  ),
  unknownHandlerMs: milliseconds(60_000, 0, TIMER_MS_MAX),
  drainTimeoutMs: milliseconds(30_000, 0, TIMER_MS_MAX),
  closeTimeoutMs: milliseconds(2_000, 0, TIMER_MS_MAX),
  onIncident: anything(undefined, 'a function', (value) => typeof value === 'function'),
}) satisfies OptionRules

/** How long nothing is leased after the manager has refused a command. */
const MANAGER_REST_MS = 250

/** Part of a lease that a completion may wait for others. */
const GATHER_OF_LEASE = 1 / 24

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
  /** Commands that ran alone, since their next death would bury them. */
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
  readonly #queue: LeasedQueue
  readonly #manager: QueueManager
  readonly #port: ManagerPort
  readonly #options: Readonly<WorkerPoolOptions>
  readonly #tell: IncidentListener
  readonly #lanes: readonly WorkerLane[]
  readonly #desks: ReadonlyMap<string, LaneDesk>
  readonly #announcer: Announcer
  /** How long a completion may wait for others. */
  readonly #gatherMs: number
  readonly #settlements: Settlements
  readonly #quarantine: Quarantine
  readonly #gate: StartGate
  readonly #runner: Runner
  readonly #claims: PartitionClaims
  readonly #keeper: LeaseKeeper
  readonly #loop: LeaseLoop
  #state: WorkerPoolState = 'created'
  /** Whether the manager can run anything, as far as that has been acted upon. */
  #isFit = true
  #unwatch: () => void = () => {}
  /** Waits for threads to end. */
  readonly #deathWaits = new Set<Pause>()
  /** Types that the manager has no handler of, and that was told. */
  readonly #unknownTypes = new Set<string>()
  /** Whether nothing is waited for any more. */
  #isOver = false
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
   * @param queue - What to take commands from. One of five members is lifted: it delivers at most
   * once. The pool does not close it.
   * @param manager - What runs them; {@link WorkerPool.start} starts it. The pool does not close
   * it.
   * @param options - All have defaults.
   * @throws ConfigError `CORELANE_INVALID_OPTION`, `CORELANE_UNKNOWN_LANE`, `CORELANE_DEGRADED` if
   * a lane asks for what the queue cannot do.
   */
  constructor(
    queue: DistributedQueue,
    // biome-ignore lint/suspicious/noExplicitAny: a manager of whatever handler module.
    manager: QueueManager<any>,
    options?: WorkerPoolOptions,
  ) {
    const checked = checkOptions<WorkerPoolOptions>('WorkerPool', options, WORKER_POOL_RULES)
    this.#queue = leasedQueueOf(queue)
    this.#manager = manager
    this.#port = managerPort(manager)
    this.#options = checked
    this.#tell = incidentTeller(checked.onIncident)
    this.#lanes = chooseLanes(this.#manager.lanes, this.#queue, {
      lanes: checked.lanes,
      globalConcurrency: checked.globalConcurrency!,
      allowDegraded: checked.allowDegraded!,
    })
    this.#gatherMs = Math.min(checked.gatherMs!, this.#queue.leaseMs * GATHER_OF_LEASE)
    this.#settlements = new Settlements({
      queue: this.#queue,
      settled: (held, status) => this.#runner.settled(held, status),
      dropped: (held, error) => this.#dropped(held, error),
      failed: this.#failed,
      patienceMs: this.#patienceMs,
    })
    this.#quarantine = new Quarantine(this.#queue.maxDeliveries)
    this.#desks = this.#createDesks()
    const laneIds = this.#lanes.map(({ plan }) => plan.name)
    this.#announcer = new Announcer(
      this.#queue,
      laneIds,
      manager.lanes.map(({ name }) => name).filter((name) => !laneIds.includes(name)),
      () => this.#port.handlers,
      this.#tell,
      this.#failed,
    )
    this.#gate = new StartGate({
      queue: this.#queue,
      lanes: this.#lanes,
      capacity: () => this.#capacity,
      startsWithin: (ms) => ms * this.#runner.throughput.perMs,
      submit: (held) => this.#runner.submit(held),
      lost: (held) => this.#runner.lose([held], 'taken'),
      failed: this.#failed,
    })
    this.#runner = this.#createRunner()
    this.#claims = new PartitionClaims({
      queue: this.#queue,
      runner: () => this.#runner,
      isAskedFor: (partitionId) => this.#loop.isAskingFor(partitionId),
      changed: () => this.#loop.interrupt(),
      failed: this.#failed,
    })
    this.#keeper = new LeaseKeeper({
      queue: this.#queue,
      runner: this.#runner,
      beat: () => this.#claims.look(),
      renew: () => {
        for (const desk of this.#desks.values()) void desk.keep()
        if (this.#state === 'running' && this.#isFit) void this.#announcer.announce()
      },
      heldUp: () => this.#tell({ what: 'loop-held-up' }),
      failed: this.#failed,
    })
    this.#loop = this.#createLoop()
  }

  /**
   * Starts the manager and takes commands. From then on the process is kept alive until
   * {@link WorkerPool.drain} or {@link WorkerPool.close}.
   *
   * @returns Once the manager is ready. Calling it again gives the same promise.
   * @throws (as a rejection) ConfigError `CORELANE_HANDLERS_FAILED`; ClosedError
   * `CORELANE_WORKER_CLOSED` after `drain` or `close`.
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
  async drain(timeoutMs: number = this.#options.drainTimeoutMs!): Promise<void> {
    checkGiven('drain', { timeoutMs }, DRAIN_RULES)
    this.#draining ??= this.#drain()
    const limit = new Pause()
    const isOver = await Promise.race([
      this.#draining.then(() => false),
      limit.wait(timeoutMs).then(() => true),
    ])
    limit.end()
    if (!isOver) return
    const { held, submitted } = this.stats()
    const left = `${submitted} running, ${held - Math.min(held, submitted)} to be settled`
    throw laneError('CORELANE_DRAIN_TIMEOUT', { timeoutMs, left })
  }

  /**
   * Ends the pool: takes no more, ends the threads of what runs, and gives everything back. Drain
   * it first, so that nothing has to run again. The manager and the queue stay open.
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

  /** What it holds, and what has become of what it has taken. */
  stats(): WorkerPoolStats {
    const { holdings, submitted, tally, throughput } = this.#runner
    return {
      state: this.#state,
      isFit: this.#isFit,
      held: holdings.size,
      submitted,
      chained: holdings.chained,
      unsettled: this.#settlements.size,
      isolated: this.#quarantine.admitted,
      target: this.#loop.target,
      perSecond: throughput.perMs * 1000,
      ownedPartitions: this.#claims.ownedCount,
      ...tally,
    }
  }

  #createDesks(): Map<string, LaneDesk> {
    const queue = this.#queue
    const desks = new Map<string, LaneDesk>()
    for (const lane of this.#lanes) {
      if (lane.rate === undefined && lane.places === undefined) continue
      const desk = new LaneDesk({
        queue,
        lane,
        name: crypto.randomUUID(),
        startsWithin: (ms) => this.#capacity + ms * this.#runner.throughput.perMs,
        submit: (held) => this.#runner.submit(held),
        failed: this.#failed,
      })
      desks.set(lane.plan.name, desk)
    }
    return desks
  }

  #createRunner(): Runner {
    const { capabilities, leaseMs, numPartitions, workerId } = this.#queue
    return new Runner({
      port: this.#port,
      passesKeys: takesKeys(this.#manager.partitioning.strategy),
      workerId,
      lanes: this.#lanes,
      settlements: this.#settlements,
      quarantine: this.#quarantine,
      gate: this.#gate,
      desks: this.#desks,
      keepsKeyOrder: capabilities.keyOrder,
      partitions: numPartitions,
      marginMs: leaseMarginMs(leaseMs),
      unknownHandlerMs: capabilities.delay ? this.#options.unknownHandlerMs! : 0,
      isReturning: (partitionId) =>
        this.#state !== 'running' || !this.#isFit || this.#claims.isReturning(partitionId),
      progressed: () => {
        this.#claims.check()
        this.#loop.progressed()
      },
      deaths: () => this.#deaths(),
      lost: this.#lost,
      refused: (error) => {
        if (this.#isFit) this.#tell({ what: 'manager-refused', error })
        this.#loop.rest(MANAGER_REST_MS)
      },
      unknown: this.#unknown,
    })
  }

  #createLoop(): LeaseLoop {
    return new LeaseLoop({
      queue: this.#queue,
      runner: this.#runner,
      keeper: this.#keeper,
      claims: this.#claims,
      quarantine: this.#quarantine,
      lanes: this.#lanes,
      isFit: () => this.#isFit,
      capacity: () => this.#capacity,
      prefetchMs: this.#options.prefetchMs!,
      prefetchMax: this.#options.prefetchMax!,
      failed: this.#failed,
    })
  }

  /** Handlers that can run at once. */
  get #capacity(): number {
    return Math.max(this.#port.health.working, 1) * this.#manager.partitioning.concurrency
  }

  async #start(): Promise<void> {
    this.#refuseUnlessNew()
    await this.#manager.start()
    this.#refuseUnlessNew()
    this.#state = 'running'
    this.#unwatch = this.#port.health.watch(this.#onHealth)
    this.#onHealth()
    this.#keeper.start()
    if (this.#isFit) void this.#announcer.announce()
    await this.#claims.beat()
    if (this.#state === 'running') this.#loop.start()
  }

  #refuseUnlessNew(): void {
    const state = this.#state
    if (state !== 'created') throw laneError('CORELANE_WORKER_CLOSED', { state })
  }

  async #drain(): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'draining'
    const stopped = this.#loop.stop()
    this.#runner.giveBack()
    await stopped
    await this.#runner.idle()
    await this.#claims.leave()
    this.#keeper.stop()
    this.#unwatch()
  }

  async #close(): Promise<void> {
    const wasRunning = this.#state === 'running' || this.#state === 'draining'
    this.#state = 'closed'
    if (!wasRunning) return
    const limit = new Pause()
    await Promise.race([this.#giveUpAll(), limit.wait(this.#options.closeTimeoutMs!)])
    limit.end()
    this.#isOver = true
    this.#unwatch()
    for (const pause of this.#deathWaits) pause.end()
    this.#settlements.giveUp()
    this.#gate.giveUp()
    for (const desk of this.#desks.values()) desk.giveUp()
    this.#keeper.stop()
  }

  /**
   * The manager may be another than it was. One that can run nothing would lease commands only to
   * hold them, or to let them fail for its own fault: others take them instead.
   */
  readonly #onHealth = (): void => {
    const { trouble } = this.#port.health
    const isFit = trouble === undefined
    if (isFit === this.#isFit || this.#state !== 'running') return
    this.#isFit = isFit
    this.#tell(isFit ? { what: 'worker-fit' } : { what: 'worker-unfit', error: trouble })
    this.#claims.take(isFit)
    if (isFit) void this.#announcer.announce()
    else this.#runner.giveBack()
    this.#loop.interrupt()
  }

  /** Resolves once no thread runs anything that was given up, or native code holds one for long. */
  async #deaths(): Promise<void> {
    if (this.#port.health.isQuiet || this.#isOver) return
    const pause = new Pause()
    const stop = this.#port.health.whenQuiet(() => pause.end())
    this.#deathWaits.add(pause)
    await pause.wait(this.#options.closeTimeoutMs!)
    this.#deathWaits.delete(pause)
    stop()
  }

  /** Ends what runs and gives everything back; whoever waits for it may stop waiting. */
  async #giveUpAll(): Promise<void> {
    const stopped = this.#loop.stop()
    this.#runner.giveBack()
    // What was given back has been told of by the end of the turn; the rest runs.
    await turn()
    this.#runner.abortAll('its worker was closed')
    await stopped
    await this.#runner.idle()
    await Promise.all([...this.#desks.values()].map((desk) => desk.close()))
    await this.#claims.leave()
  }

  /** A completion waits only while more run, and only if some of them will end meanwhile. */
  readonly #patienceMs = (): number => {
    const { submitted, throughput } = this.#runner
    return submitted > 0 && throughput.perMs * this.#gatherMs >= 1 ? this.#gatherMs : 0
  }

  readonly #failed = (error: unknown): void => this.#tell({ what: 'queue-failed', error })

  readonly #unknown = ({ envelope }: HeldCommand, error: unknown): void => {
    const { commandType, id } = envelope
    if (this.#unknownTypes.has(commandType)) return
    this.#unknownTypes.add(commandType)
    this.#tell({ what: 'handler-unknown', error, commandIds: [id] })
  }

  readonly #lost = (held: readonly HeldCommand[], why: LossCause): void => {
    const commandIds = held.map(({ envelope }) => envelope.id)
    this.#tell({ what: why === 'expired' ? 'leases-expired' : 'leases-taken', commandIds })
  }

  #dropped(held: HeldCommand, error: unknown): void {
    this.#runner.tally.dropped++
    this.#tell({ what: 'end-dropped', error, commandIds: [held.envelope.id] })
    this.#runner.settled(held, 'done')
  }
}
