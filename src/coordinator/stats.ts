// Stats: one plain snapshot of a manager and its host.

import { cpus, freemem, loadavg, totalmem, uptime } from 'node:os'
import { outside } from '../base/async-context.ts'
import { readCounter } from '../memory/counters.ts'
import { Counter } from '../memory/layout.ts'
import type { GroupMetrics, PartitionMetrics } from '../model/metrics.ts'
import type { Backpressure } from './admission/backpressure.ts'
import type { GroupTurns } from './dispatch/group-turns.ts'
import type { HostStats } from './host-by-os-utils.ts'
import { type LaneTable, openCountOf } from './lane-table.ts'
import type { ManagerState } from './life-cycle.ts'
import type { PartitionHandle } from './threads/partition-handle.ts'

/** A lane at one moment. `submitted = unsettled + completed + failed`. */
export interface LaneStats {
  /** Urgency, 0 (the most urgent) to 255. */
  readonly priority: number
  /** Its present bound of commands that run at once; undefined: none. */
  readonly maxConcurrency: number | undefined
  /** Starts within a window; undefined: no limit. */
  readonly rateLimit: { readonly limit: number; readonly windowMs: number } | undefined
  /** Commands that wait: in the backlog, for a delay, or bound to a partition. */
  readonly queued: number
  /** Commands whose handler runs. */
  readonly running: number
  /** Commands that are submitted and not settled: `queued + running`. */
  readonly unsettled: number
  /** Submits that wait for room; they are not among those submitted yet. */
  readonly waiting: number
  /** Commands submitted since the start of the manager. */
  readonly submitted: number
  /** Commands whose handler gave a result. */
  readonly completed: number
  /** Commands that rejected for good, aborted and late ones included. */
  readonly failed: number
  /** Runs that were followed by another. */
  readonly retried: number
  /** Runs that took longer than they may. */
  readonly timedOut: number
  /** Commands that became dead letters; they are among the failed ones. */
  readonly deadLettered: number
  /** The groups that have waited longest for a turn: ten at most, that one first. */
  readonly groups: readonly GroupMetrics[]
}

/** A partition at one moment. */
export interface PartitionStats {
  /** Its number, from 0. */
  readonly index: number
  /**
   * `failed`: given up after its threads died again and again. `draining`: its thread finishes what
   * it runs and ends; another takes over, unless the manager ends. `dormant`: it gets a thread when
   * there is work for it.
   */
  readonly state: PartitionMetrics['state']
  /** `threadId` of its present thread; undefined while it has none. */
  readonly threadId: number | undefined
  /** Threads it has had. */
  readonly incarnations: number
  /** Threads given up that have not ended yet: native code holds them. */
  readonly terminating: number
  /** Threads in a row that died without settling a command, or could not load the handlers. */
  readonly failures: number
  /** Runs that go on though their commands have settled. */
  readonly detached: number
  /** Heap in use when the present thread last looked, in MiB; 0 before. */
  readonly heapMb: number
  /** Commands bound to it, running ones included. */
  readonly bound: number
  /** Estimated run time of those, in microseconds. */
  readonly boundWorkUs: number
  /** Handlers entered by the present thread. */
  readonly started: number
  /** Times the present thread went to sleep. */
  readonly parked: number
  /** Times it found the result ring full. */
  readonly stalled: number
}

/** A queue manager at one moment. */
export interface QueueStats {
  readonly state: ManagerState
  /** Why a partition was given up, if one was: the manager does not do all it should. */
  readonly failing: Error | undefined
  readonly strategy: string
  /** Commands of all lanes that wait. */
  readonly queued: number
  /** Commands of all lanes whose handler runs. */
  readonly running: number
  /** `queued + running`. */
  readonly unsettled: number
  /** Commands submitted since the start of the manager. */
  readonly submitted: number
  /** Commands whose handler gave a result. */
  readonly completed: number
  /** Commands that rejected for good. */
  readonly failed: number
  /** Runs that were followed by another of the same command. */
  readonly retried: number
  /** Runs that took longer than they may. */
  readonly timedOut: number
  /** Dead letters that are kept. */
  readonly deadLetters: number
  readonly lanes: Readonly<Record<string, LaneStats>>
  readonly partitions: readonly PartitionStats[]
  readonly host: HostStats
}

/**
 * Takes a snapshot. Counts of partitions may lag by a moment; counts of settled commands never do.
 *
 * @param lanes - Its lanes.
 * @param backpressure - Knows which submits wait.
 * @param turns - Knows which groups wait.
 * @param partitions - Its partitions.
 * @param deadLetters - How many it keeps.
 */
export function takeStats(
  state: ManagerState,
  strategy: string,
  lanes: LaneTable,
  backpressure: Backpressure,
  turns: GroupTurns,
  partitions: readonly PartitionHandle[],
  deadLetters: number,
): QueueStats {
  const runningIn = new Array<number>(lanes.all.length).fill(0)
  for (const { incarnation } of partitions) {
    for (const { command, started } of incarnation?.window.snapshot() ?? []) {
      if (started) runningIn[command.lane.index]!++
    }
  }
  const all = lanes.all.map((lane): LaneStats => {
    const { index, submitted, completed, failed, retried, timedOut, deadLettered } = lane
    const { priority, maxConcurrency, rate } = lane.plan
    const running = runningIn[index]!
    const unsettled = openCountOf(lane)
    return {
      priority,
      maxConcurrency,
      rateLimit: rate && { limit: rate.limit, windowMs: rate.windowMs },
      queued: unsettled - running,
      running,
      unsettled,
      waiting: backpressure.waitingIn(lane),
      submitted,
      completed,
      failed,
      retried,
      timedOut,
      deadLettered,
      groups: turns.longestWaiting(index, partitions),
    }
  })
  const sum = (name: keyof LaneStats & keyof QueueStats) =>
    all.reduce((total, lane) => total + lane[name], 0)
  return {
    state,
    failing: partitions.find(({ state }) => state === 'failed')?.failure,
    strategy,
    queued: sum('queued'),
    running: sum('running'),
    unsettled: sum('unsettled'),
    submitted: sum('submitted'),
    completed: sum('completed'),
    failed: sum('failed'),
    retried: sum('retried'),
    timedOut: sum('timedOut'),
    deadLetters,
    // By assignment a lane `__proto__` would be lost.
    lanes: Object.fromEntries(lanes.all.map(({ name }, index) => [name, all[index]!])),
    partitions: partitions.map((partition) => partitionStats(partition, state)),
    host: hostStats(),
  }
}

/** Where a partition is in its life. */
export function partitionState(
  { state, incarnation }: PartitionHandle,
  managerState: ManagerState,
): PartitionStats['state'] {
  if (state === 'failed') return state
  if (managerState === 'closed') return 'ended'
  if (state === 'dormant') return state
  if (incarnation?.isReady) return 'ready'
  return incarnation?.isUp ? 'draining' : 'starting'
}

function partitionStats(partition: PartitionHandle, state: ManagerState): PartitionStats {
  const { index, incarnations, incarnation, failures, terminating } = partition
  const window = incarnation?.window
  const views = window?.end.views
  return {
    index,
    state: partitionState(partition, state),
    threadId: incarnation?.threadId,
    incarnations,
    terminating: terminating.size,
    failures,
    detached: window?.watch.detachedCount ?? 0,
    heapMb: views ? readCounter(views, Counter.HEAP_KIB) / 1024 : 0,
    bound: window ? window.load.count + window.load.restingCount : 0,
    boundWorkUs: window?.load.workUs ?? 0,
    started: views ? readCounter(views, Counter.STARTED) : 0,
    parked: views ? readCounter(views, Counter.PARKED) : 0,
    stalled: views ? readCounter(views, Counter.STALLED) : 0,
  }
}

const MEBIBYTE = 2 ** 20

/** Set once os-utils is loaded. */
let byOsUtils: (() => HostStats) | undefined
let isLoading = false

function loadOsUtils(): void {
  import('./host-by-os-utils.ts').then(
    (loaded) => {
      byOsUtils = loaded.hostByOsUtils
    },
    // Some bundlers cannot load CommonJS from ES modules; the figures below are the same ones.
    () => {},
  )
}

/** The machine's figures. Only the first call loads os-utils, since that delays a start by 2 ms. */
function hostStats(): HostStats {
  if (!isLoading) {
    isLoading = true
    // Node keeps the promises of a module that it loads.
    outside(loadOsUtils)
  }
  if (byOsUtils !== undefined) return byOsUtils()
  return {
    cores: cpus().length,
    loadAverage: loadavg()[0]!,
    freeMemoryMb: freemem() / MEBIBYTE,
    totalMemoryMb: totalmem() / MEBIBYTE,
    uptimeSeconds: uptime(),
  }
}
