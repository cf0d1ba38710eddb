// Queue standing: the counts of a queue that workers share, and its live workers.
// Owns: nothing; data only.

/** Commands of a lane of a queue, or of all of them. */
export interface LaneCounts {
  /** Commands that wait to be given out. */
  readonly waiting: number
  /** Commands that are kept back for a while. */
  readonly delayed: number
  /** Commands that a worker has. */
  readonly leased: number
  /** Commands that failed for good and are kept. */
  readonly dead: number
}

/** What a queue holds. */
export interface QueueCounts extends LaneCounts {
  /** Waiting and leased ones by lane. */
  readonly lanes: Readonly<Record<string, number>>
  /** All counts by lane. A lane of which there is nothing may be missing. */
  readonly byLane: Readonly<Record<string, LaneCounts>>
  /** Waiting and leased ones by partition. */
  readonly partitions: readonly number[]
}

/** What a worker pool says of itself. */
export interface WorkerStanding {
  /** Name of its machine. */
  readonly host: string
  /** Id of its process. */
  readonly pid: number
  /** When it was started, milliseconds since 1970 on its own clock. */
  readonly startedAt: number
  /** `unfit`: its manager can run nothing at the moment. `draining`: it takes no more commands. */
  readonly state: 'running' | 'unfit' | 'draining'
  /** Count of the threads that run its commands: partitions of its manager. */
  readonly partitions: number
  /** Count of the queue's partitions that are its alone. Absent where they have no owners. */
  readonly ownedPartitions?: number | undefined
  /** Lanes that it takes. */
  readonly lanes: readonly string[]
  /** Count of the commands that it has. */
  readonly held: number
  /** Count of the handlers of these lanes that its manager runs. */
  readonly running: number
}

/** A worker pool that lives. */
export interface QueueWorker extends WorkerStanding {
  /** Unique among the workers of the queue that live. */
  readonly workerId: string
  /** How long ago it said so, in milliseconds: a third of its lease at most while it lives. */
  readonly ageMs: number
}

/** Adds to the counts of a lane. */
export function addCounts(
  byLane: Map<string, LaneCounts>,
  laneId: string,
  waiting: number,
  delayed = 0,
  leased = 0,
  dead = 0,
): void {
  const before = byLane.get(laneId)
  byLane.set(laneId, {
    waiting: waiting + (before?.waiting ?? 0),
    delayed: delayed + (before?.delayed ?? 0),
    leased: leased + (before?.leased ?? 0),
    dead: dead + (before?.dead ?? 0),
  })
}

/**
 * What a queue holds, from its counts by lane.
 *
 * @param partitions - Waiting and leased ones by partition.
 */
export function queueCounts(
  byLane: ReadonlyMap<string, LaneCounts>,
  partitions: readonly number[],
): QueueCounts {
  const all = [...byLane.values()]
  const sum = (kind: keyof LaneCounts) => all.reduce((total, counts) => total + counts[kind], 0)
  const entries = Array.from(byLane, ([lane, counts]) => [lane, counts.waiting + counts.leased])
  return {
    waiting: sum('waiting'),
    delayed: sum('delayed'),
    leased: sum('leased'),
    dead: sum('dead'),
    lanes: Object.fromEntries(entries),
    byLane: Object.fromEntries(byLane),
    partitions,
  }
}

const COUNTS = ['pid', 'startedAt', 'partitions', 'held', 'running'] as const
const STATES: readonly unknown[] = ['running', 'unfit', 'draining']

/**
 * Takes what a worker says of itself from anything.
 *
 * @returns Its known members; undefined if one is missing or is none.
 */
export function standingOf(value: unknown): WorkerStanding | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const given = value as WorkerStanding
  const { host, pid, startedAt, state, partitions, ownedPartitions, lanes, held, running } = given
  const counts = [...COUNTS.map((name) => given[name]), ownedPartitions ?? 0]
  const texts: readonly unknown[] = Array.isArray(lanes) ? [host, ...lanes] : [undefined]
  if (!counts.every((count) => Number.isSafeInteger(count) && count >= 0)) return undefined
  if (!texts.every((text) => typeof text === 'string') || !STATES.includes(state)) return undefined
  const known = { host, pid, startedAt, state, partitions, lanes: [...lanes], held, running }
  return ownedPartitions === undefined ? known : { ...known, ownedPartitions }
}
