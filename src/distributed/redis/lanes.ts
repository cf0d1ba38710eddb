// Lanes: the workers of a queue with their lanes and handlers, as they announce them; and the
// pauses and limits that hold over all of them.

import { isPortableName } from '../../base/portable-name.ts'
import { type QueueWorker, standingOf } from '../../model/queue-standing.ts'
import type { NameRegistry, NameState, WorkerRegistry } from '../contract/distributed-queue.ts'
import { CALL_MAX, NAMES_MAX, REMEMBERED_MS } from '../contract/engine-checks.ts'
import type { Behind, LanesBehind } from '../contract/leased-engine.ts'
import { checkConcurrency, checkLiveRate, type LaneLimits } from '../contract/live-limits.ts'
import { type Reply, textOf } from './caller.ts'
import type { RedisEngine } from './engine.ts'
import { groupedLane, type PartitionKeys, userLane } from './keys.ts'
import { allLanes, countsOf } from './registry.ts'
import { ANNOUNCE_LANES } from './scripts/announce-lanes.ts'
import { LIMIT } from './scripts/limit.ts'
import { LIVE } from './scripts/live.ts'
import { LOOK_LANES } from './scripts/look-lanes.ts'
import { PAUSE_LANE } from './scripts/pause-lane.ts'
import { fixMeta, pairsOf } from './start-check.ts'

export function namesIn({ caller, plan }: RedisEngine, key: string): NameRegistry {
  return {
    announce: async (names, others = []) => {
      const times = [plan.leaseMs, REMEMBERED_MS]
      await caller.run(ANNOUNCE_LANES, [key], [...times, names.length, ...names, ...others])
    },
    look: async (names) => {
      const args = [REMEMBERED_MS, NAMES_MAX, ...names]
      const words = (await caller.run<Reply[]>(LOOK_LANES, [key], args)).map(textOf)
      const states = words.slice(0, names.length) as NameState[]
      return { states, known: words.slice(names.length).filter(isPortableName) }
    },
  }
}

export function workersIn({ caller, keys, plan, report }: RedisEngine): Behind<WorkerRegistry> {
  const { workerId, leaseMs } = plan
  const say = (worker: string, ttlMs: number, standing: string): Promise<Reply[]> =>
    caller.run(LIVE, [keys.workers, keys.standings], [worker, ttlMs, '', standing])
  return {
    announce: async (standing) => {
      // First: what leaves meanwhile comes after it.
      await say(workerId, leaseMs, JSON.stringify({ leaseMs, ...standing }))
      // Redis may have been flushed though the connection lasts.
      await fixMeta((args) => caller.send(args), plan, report)
    },
    leave: async () => void (await say(workerId, 0, '')),
    list: async () => {
      const reply = await say('', 0, '')
      const workers: QueueWorker[] = []
      for (let i = 0; i + 2 < reply.length; i += 3) {
        const worker = workerOf(textOf(reply[i]!), Number(reply[i + 1]), String(reply[i + 2]))
        if (worker !== undefined) workers.push(worker)
      }
      return workers.sort((a, b) => (a.workerId < b.workerId ? -1 : 1))
    },
  }
}

export function lanesIn(engine: RedisEngine): LanesBehind {
  const { caller, keys, wakes } = engine
  const names = namesIn(engine, keys.lanes)
  const setLimit = async (kind: 'c' | 'r', laneId: string, limit: string): Promise<void> => {
    const args = [`${kind} ${laneId}`, limit, keys.wakes, `l0 ${laneId} 0`]
    await caller.run(LIMIT, [keys.limits], args)
  }
  return {
    ...names,
    unserved: () => unserved(engine, names),
    pause: (laneId) => setPaused(engine, laneId, true),
    resume: (laneId) => setPaused(engine, laneId, false),
    paused: async () => {
      const paused = await caller.send(['HGET', keys.partition(0).own, 'paused'])
      return paused === null ? [] : textOf(paused).split(' ').filter(isPortableName).sort()
    },
    onPause: (listener) => wakes.hear('p', ({ lane }) => listener(lane)),
    setConcurrency: (laneId, concurrency) => setLimit('c', laneId, String(concurrency ?? '')),
    setRateLimit: (laneId, rate) =>
      setLimit('r', laneId, rate === undefined ? '' : `${rate.limit} ${rate.windowMs}`),
    limits: async () => limitsOf(pairsOf(await caller.send(['HGETALL', keys.limits]))),
    onLimits: (listener) => wakes.hear('l', () => listener()),
  }
}

function limitsOf(fields: ReadonlyMap<string, string>): LaneLimits[] {
  const byLane = new Map<string, LaneLimits>()
  for (const [name, value] of fields) {
    const [kind, laneId = ''] = name.split(' ')
    const [limit = 0, windowMs = 0] = value.split(' ').map(Number)
    const known = { ...byLane.get(laneId), laneId }
    const limits: LaneLimits =
      kind === 'c' ? { ...known, concurrency: limit } : { ...known, rate: { limit, windowMs } }
    if (isLimits(limits)) byLane.set(laneId, limits)
  }
  return [...byLane.values()].sort((a, b) => (a.laneId < b.laneId ? -1 : 1))
}

async function setPaused(
  { caller, keys }: RedisEngine,
  laneId: string,
  isPaused: boolean,
): Promise<void> {
  const grouped = groupedLane(laneId)
  const set = (names: PartitionKeys) => {
    const all = [names.own, ...names.streams([laneId, grouped]), ...names.groups(grouped)]
    return caller.run(PAUSE_LANE, all, [laneId, isPaused ? 1 : 0])
  }
  const [first, ...others] = keys.partitions
  // The first partition is asked for what is paused: a lane is, while any partition keeps it.
  if (isPaused) await set(first!)
  await Promise.all(others.map(set))
  if (!isPaused) await set(first!)
}

async function unserved(engine: RedisEngine, { look }: NameRegistry): Promise<readonly string[]> {
  const byPartition = await allLanes(engine)
  const names = [...new Set([...byPartition.values()].flat().map(userLane))]
  const others = new Set<string>()
  for (let from = 0; from < names.length; from += CALL_MAX) {
    const some = names.slice(from, from + CALL_MAX)
    const { states } = await look(some)
    for (const [i, name] of some.entries()) if (states[i] !== 'served') others.add(name)
  }
  // As a rule there is none, and then nothing is counted.
  if (others.size === 0) return []
  const { lanes } = await countsOf(engine)
  const isWaiting = (lane: string): boolean => others.has(lane) && lanes[lane]! > 0
  return Object.keys(lanes).filter(isWaiting).slice(0, NAMES_MAX)
}

/** A worker that was announced; undefined if it is none: anything may have written it. */
function workerOf(workerId: string, leftMs: number, text: string): QueueWorker | undefined {
  try {
    const said = JSON.parse(text) as { leaseMs?: unknown }
    const standing = standingOf(said)
    if (standing === undefined || !isPortableName(workerId)) return undefined
    return { workerId, ageMs: Math.max(0, Number(said.leaseMs) - leftMs || 0), ...standing }
  } catch {
    // Others are listed.
    return undefined
  }
}

/** Whether they are: anything may have written them. */
function isLimits({ laneId, concurrency, rate }: LaneLimits): boolean {
  try {
    checkConcurrency(laneId, concurrency)
    checkLiveRate(laneId, rate)
    return true
  } catch {
    // Workers go on by what they are configured with.
    return false
  }
}
