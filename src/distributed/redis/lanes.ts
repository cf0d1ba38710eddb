// Lanes: the workers of a queue with their lanes and handlers, as they announce them; and the
// pauses and limits that hold over all of them.

import { isPortableName } from '../../base/portable-name.ts'
import { type QueueWorker, standingOf, type WorkerStanding } from '../../model/queue-standing.ts'
import type { NameRegistry, NameState, WorkerRegistry } from '../contract/distributed-queue.ts'
import { CALL_MAX, NAMES_MAX, REMEMBERED_MS } from '../contract/engine-checks.ts'
import type { LanesBehind } from '../contract/leased-engine.ts'
import {
  checkConcurrency,
  checkLiveRate,
  type LaneLimits,
  type SharedRate,
} from '../contract/live-limits.ts'
import { type Reply, textOf } from './caller.ts'
import { type RedisEngine, RedisPart } from './engine.ts'
import { groupedLane, type PartitionKeys, userLane } from './keys.ts'
import type { Registry } from './registry.ts'
import { ANNOUNCE_LANES } from './scripts/announce-lanes.ts'
import { LIMIT } from './scripts/limit.ts'
import { LIVE } from './scripts/live.ts'
import { LOOK_LANES } from './scripts/look-lanes.ts'
import { PAUSE_LANE } from './scripts/pause-lane.ts'
import { fixMeta, pairsOf } from './start-check.ts'

export class RedisNames extends RedisPart implements NameRegistry {
  readonly #key: string

  constructor(engine: RedisEngine, key: string) {
    super(engine)
    this.#key = key
  }

  async announce(names: readonly string[], others: readonly string[] = []): Promise<void> {
    const { caller, plan } = this.engine
    const times = [plan.leaseMs, REMEMBERED_MS]
    await caller.run(ANNOUNCE_LANES, [this.#key], [...times, names.length, ...names, ...others])
  }

  async look(names: readonly string[]): ReturnType<NameRegistry['look']> {
    const { caller } = this.engine
    const args = [REMEMBERED_MS, NAMES_MAX, ...names]
    const words = (await caller.run<Reply[]>(LOOK_LANES, [this.#key], args)).map(textOf)
    const states = words.slice(0, names.length) as NameState[]
    return { states, known: words.slice(names.length).filter(isPortableName) }
  }
}

/** Workers that announce themselves. */
export class RedisWorkers extends RedisPart implements WorkerRegistry {
  async announce(standing: WorkerStanding): Promise<void> {
    const { caller, plan, report } = this.engine
    const { workerId, leaseMs } = plan
    // First: what leaves meanwhile comes after it.
    await this.#say(workerId, leaseMs, JSON.stringify({ leaseMs, ...standing }))
    // Redis may have been flushed though the connection lasts.
    await fixMeta((args) => caller.send(args), plan, report)
  }

  async leave(): Promise<void> {
    await this.#say(this.engine.plan.workerId, 0, '')
  }

  async list(): Promise<readonly QueueWorker[]> {
    const reply = await this.#say('', 0, '')
    const workers: QueueWorker[] = []
    for (let i = 0; i + 2 < reply.length; i += 3) {
      const worker = workerOf(textOf(reply[i]!), Number(reply[i + 1]), String(reply[i + 2]))
      if (worker !== undefined) workers.push(worker)
    }
    return workers.sort((a, b) => (a.workerId < b.workerId ? -1 : 1))
  }

  #say(workerId: string, ttlMs: number, standing: string): Promise<Reply[]> {
    const { caller, keys } = this.engine
    return caller.run(LIVE, [keys.workers, keys.standings], [workerId, ttlMs, '', standing])
  }
}

export class RedisLanes extends RedisNames implements LanesBehind {
  readonly #registry: Registry

  constructor(engine: RedisEngine, registry: Registry) {
    super(engine, engine.keys.lanes)
    this.#registry = registry
  }

  pause(laneId: string): Promise<void> {
    return this.#setPaused(laneId, true)
  }

  resume(laneId: string): Promise<void> {
    return this.#setPaused(laneId, false)
  }

  async paused(): Promise<readonly string[]> {
    const { caller, keys } = this.engine
    const names = await caller.send(['HGET', keys.partition(0).own, 'paused'])
    if (names === null) return []
    return textOf(names).split(' ').filter(isPortableName).sort()
  }

  onPause(listener: (laneId: string) => void): () => void {
    return this.engine.wakes.hear('p', ({ lane }) => listener(lane))
  }

  async setConcurrency(laneId: string, concurrency: number | undefined): Promise<void> {
    await this.#setLimit('c', laneId, concurrency === undefined ? '' : String(concurrency))
  }

  async setRateLimit(laneId: string, rate: SharedRate | undefined): Promise<void> {
    await this.#setLimit('r', laneId, rate === undefined ? '' : `${rate.limit} ${rate.windowMs}`)
  }

  async limits(): Promise<readonly LaneLimits[]> {
    const { caller, keys } = this.engine
    const all = pairsOf(await caller.send(['HGETALL', keys.limits]))
    const byLane = new Map<string, LaneLimits>()
    for (const [name, value] of all) {
      const [kind, laneId = ''] = name.split(' ')
      const [limit = 0, windowMs = 0] = value.split(' ').map(Number)
      const known = { ...byLane.get(laneId), laneId }
      const limits: LaneLimits =
        kind === 'c' ? { ...known, concurrency: limit } : { ...known, rate: { limit, windowMs } }
      if (isLimits(limits)) byLane.set(laneId, limits)
    }
    return [...byLane.values()].sort((a, b) => (a.laneId < b.laneId ? -1 : 1))
  }

  onLimits(listener: () => void): () => void {
    return this.engine.wakes.hear('l', () => listener())
  }

  async #setLimit(kind: 'c' | 'r', laneId: string, limit: string): Promise<void> {
    const { caller, keys } = this.engine
    const args = [`${kind} ${laneId}`, limit, keys.wakes, `l0 ${laneId} 0`]
    await caller.run(LIMIT, [keys.limits], args)
  }

  async #setPaused(laneId: string, isPaused: boolean): Promise<void> {
    const { caller, keys } = this.engine
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

  async unserved(): Promise<readonly string[]> {
    const byPartition = await this.#registry.allLanes()
    const names = [...new Set([...byPartition.values()].flat().map(userLane))]
    const unserved = new Set<string>()
    for (let from = 0; from < names.length; from += CALL_MAX) {
      const some = names.slice(from, from + CALL_MAX)
      const { states } = await this.look(some)
      for (const [i, name] of some.entries()) if (states[i] !== 'served') unserved.add(name)
    }
    // As a rule there is none, and then nothing is counted.
    if (unserved.size === 0) return []
    const { lanes } = await this.#registry.counts()
    const isWaiting = (lane: string): boolean => unserved.has(lane) && lanes[lane]! > 0
    return Object.keys(lanes).filter(isWaiting).slice(0, NAMES_MAX)
  }
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
