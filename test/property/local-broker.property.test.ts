// Goal: the engine of this process gives out, keeps and ends commands as the contract says, in any
// order of events. Method: a model that keeps a list and searches it for every question, beside the
// broker, under a clock that the test turns.

import fc from 'fast-check'
import { expect } from 'vitest'
import type { Delivery, LaneDemand } from '../../src/distributed/contract/distributed-queue.ts'
import { type CommandResult, checkEnvelope } from '../../src/distributed/contract/envelope.ts'
import { LocalBroker } from '../../src/distributed/local/local-broker.ts'
import { deed, lawOf } from '../support/law.ts'
import { range } from '../support/range.ts'

const law = lawOf(300)

const LEASE_MS = 100
const TTL_MS = 400
const PARTITIONS = 2
const LANES = ['a', 'b']

const BOOSTS: readonly LaneDemand['boost'][] = [
  [],
  [{ afterMs: 60, levels: 3 }],
  [
    { afterMs: 30, levels: 1 },
    { afterMs: 90, levels: 9 },
  ],
]

const operation = fc.oneof(
  deed(5, 'enqueue', {
    commands: fc.array(
      fc.record({
        id: fc.integer({ min: 0, max: 15 }).map((n) => `c${n}`),
        laneId: fc.constantFrom(...LANES),
        partitionId: fc.nat(PARTITIONS - 1),
        key: fc.constantFrom(undefined, undefined, 'k1', 'k2'),
        priority: fc.constantFrom(undefined, 5, 200),
      }),
      { minLength: 1, maxLength: 4 },
    ),
  }),
  deed(5, 'lease', {
    partitions: fc.constantFrom([0, 1], [1, 0], [0], [1]),
    max: fc.integer({ min: 1, max: 5 }),
    lanes: fc.uniqueArray(
      fc.record({
        laneId: fc.constantFrom(...LANES),
        max: fc.integer({ min: 0, max: 4 }),
        priority: fc.constantFrom(2, 5),
        boost: fc.constantFrom(...BOOSTS),
      }),
      { selector: ({ laneId }) => laneId, minLength: 1 },
    ),
  }),
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('start', 'complete', 'retry', 'unstarted', 'crash', 'bury', 'extend'),
      which: fc.nat(40),
      delayMs: fc.constantFrom(0, 0, 50, 150),
    }),
  },
  deed(3, 'wait', {
    ms: fc.constantFrom(1, 20, 45, LEASE_MS, 2 * LEASE_MS, TTL_MS),
  }),
  deed(2, 'cancel', {
    id: fc.integer({ min: 0, max: 15 }).map((n) => `c${n}`),
  }),
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('redrive' as const, 'redrive' as const, 'drop' as const),
      which: fc.nat(40),
    }),
  },
)

type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never
type Wish = Extract<Operation, { kind: 'enqueue' }>['commands'][number]
type Request = Extract<Operation, { kind: 'lease' }>

interface ModelCommand extends Wish {
  state: 'waiting' | 'leased' | 'delayed'
  place: number
  sinceMs: number
  dueMs: number
  fence: string
  deliveries: number
  isCounted: boolean
  isCancelled: boolean
  retryCount: number
}

/** What a queue is, in the simplest words: one list, searched anew for everything. */
class Model {
  commands: ModelCommand[] = []
  readonly ended = new Map<string, { untilMs: number; success: boolean }>()
  readonly dead = new Map<string, Wish>()
  readonly ends: string[] = []
  readonly #maxDeliveries: number
  #places = 0

  constructor(maxDeliveries: number) {
    this.#maxDeliveries = maxDeliveries
  }

  knows(id: string): boolean {
    return (
      this.commands.some((one) => one.id === id && !one.isCancelled) ||
      this.ended.has(id) ||
      this.dead.has(id)
    )
  }

  enqueue(wish: Wish, nowMs: number): void {
    const counts = { deliveries: 0, isCounted: false, retryCount: 0 }
    const rest = { dueMs: 0, fence: '', isCancelled: false, ...counts }
    const place = this.#places++
    this.commands.push({ ...wish, ...rest, state: 'waiting', place, sinceMs: nowMs })
  }

  advance(nowMs: number): void {
    for (;;) {
      const [next] = this.commands
        .filter(({ state, dueMs }) => state !== 'waiting' && dueMs <= nowMs)
        .toSorted((a, b) => a.dueMs - b.dueMs)
      if (next === undefined) break
      if (next.isCancelled) this.remove(next)
      else if (next.state === 'leased') this.crash(next, nowMs, 0)
      else this.queueUp(next, nowMs)
    }
    for (const [id, { untilMs }] of this.ended) if (untilMs <= nowMs) this.ended.delete(id)
  }

  queueUp(command: ModelCommand, nowMs: number): void {
    Object.assign(command, { state: 'waiting', place: this.#places++, sinceMs: nowMs })
  }

  giveBack(command: ModelCommand, nowMs: number, delayMs: number, keepsPlace: boolean): void {
    if (delayMs > 0) Object.assign(command, { state: 'delayed', dueMs: nowMs + delayMs })
    else if (keepsPlace) command.state = 'waiting'
    else this.queueUp(command, nowMs)
  }

  crash(command: ModelCommand, nowMs: number, delayMs: number): void {
    if (command.deliveries < this.#maxDeliveries) this.giveBack(command, nowMs, delayMs, true)
    else this.deadLetter(command, nowMs)
  }

  count(command: ModelCommand): void {
    if (!command.isCounted) command.deliveries++
    command.isCounted = true
  }

  deadLetter(command: ModelCommand, nowMs: number): void {
    const { id, laneId, partitionId, key, priority } = command
    this.dead.set(id, { id, laneId, partitionId, key, priority })
    this.end(command, false, nowMs)
  }

  remove(command: ModelCommand): void {
    this.commands = this.commands.filter((one) => one !== command)
  }

  cancel(id: string, nowMs: number): string {
    const command = this.commands.find((one) => one.id === id && !one.isCancelled)
    if (command === undefined) return this.knows(id) ? 'ended' : 'unknown'
    if (command.state !== 'leased') {
      this.end(command, false, nowMs)
      return 'cancelled'
    }
    command.isCancelled = true
    this.ended.set(id, { untilMs: nowMs + TTL_MS, success: false })
    this.ends.push(`${id} false`)
    return 'stopping'
  }

  end(command: ModelCommand, success: boolean, nowMs: number): void {
    this.remove(command)
    this.ended.set(command.id, { untilMs: nowMs + TTL_MS, success })
    this.ends.push(`${command.id} ${success}`)
  }

  /** Ids in the order in which a request is to be given them. */
  lease({ partitions, lanes, max }: Request, nowMs: number): ModelCommand[] {
    const left = new Map(lanes.map((lane) => [lane.laneId, lane.max]))
    const given: ModelCommand[] = []
    for (const partitionId of partitions) {
      while (given.length < max) {
        const [best] = this.commands
          .filter((one) => one.partitionId === partitionId && one.state === 'waiting')
          .filter((one) => (left.get(one.laneId) ?? 0) > 0 && this.#isFirstOfKey(one))
          .map((one) => ({ one, rank: rankOf(one, lanes, nowMs) }))
          .toSorted((a, b) => a.rank - b.rank || a.one.place - b.one.place)
        if (best === undefined) break
        const { one } = best
        left.set(one.laneId, left.get(one.laneId)! - 1)
        Object.assign(one, { state: 'leased', dueMs: nowMs + LEASE_MS })
        // Only the first counts before its start is told, if it brings none to its last.
        one.isCounted = false
        if (one.deliveries === 0 && this.#maxDeliveries > 2) this.count(one)
        given.push(one)
      }
    }
    return given
  }

  #isFirstOfKey({ key, partitionId, place }: ModelCommand): boolean {
    if (key === undefined) return true
    return this.commands.every(
      (other) =>
        other.key !== key ||
        other.partitionId !== partitionId ||
        other.state === 'delayed' ||
        other.place >= place,
    )
  }

  counts(): unknown {
    const of = (state: string, among = this.commands) =>
      among.filter((one) => one.state === state).length
    const present = this.commands.filter(({ state }) => state !== 'delayed')
    const dead = [...this.dead.values()]
    return {
      waiting: of('waiting'),
      delayed: of('delayed'),
      leased: of('leased'),
      dead: dead.length,
      byLane: Object.fromEntries(
        LANES.map((lane) => {
          const own = this.commands.filter(({ laneId }) => laneId === lane)
          const died = dead.filter(({ laneId }) => laneId === lane).length
          const [waiting, delayed] = [of('waiting', own), of('delayed', own)]
          return [lane, { waiting, delayed, leased: of('leased', own), dead: died }]
        }),
      ),
      lanes: Object.fromEntries(
        LANES.map((lane) => [lane, present.filter(({ laneId }) => laneId === lane).length]),
      ),
      partitions: [0, 1].map(
        (index) => present.filter(({ partitionId }) => partitionId === index).length,
      ),
    }
  }
}

function rankOf(command: ModelCommand, lanes: readonly LaneDemand[], nowMs: number): number {
  const { priority, boost } = lanes.find(({ laneId }) => laneId === command.laneId)!
  const levels = boost.filter(({ afterMs }) => afterMs <= nowMs - command.sinceMs).at(-1)?.levels
  return Math.max(0, priority - (levels ?? 0)) * 256 + (command.priority ?? 128)
}

function resultOf({ envelope }: Delivery, success: boolean): CommandResult {
  const { id, partitionId, retryCount } = envelope
  const rest = { workerId: 'w', durationMs: 0, completedAt: 0 }
  return { commandId: id, partitionId, retryCount, success, ...rest }
}

/** The broker and its model, and the deliveries that were ever made. */
class Duel {
  readonly model: Model
  readonly ends: string[] = []
  readonly given: Delivery[] = []
  readonly stopped: string[] = []
  now = 1000
  readonly broker: LocalBroker

  constructor(maxDeliveries: number) {
    const plan = {
      strategy: 'hash',
      numPartitions: PARTITIONS,
      workerId: 'w',
      leaseMs: LEASE_MS,
      maxDeliveries,
      resultTtlMs: TTL_MS,
      maxResults: 1000,
      maxDead: 1000,
      maxPending: 12,
    } as const
    this.model = new Model(maxDeliveries)
    this.broker = new LocalBroker(plan, {
      ended: ({ id }, { success }) => this.ends.push(`${id} ${success}`),
      cancelled: (_, fence) => this.stopped.push(fence),
    })
  }

  play(step: Operation): void {
    // No two moments are alike, so that what is due first is never a matter of chance.
    this.now += step.kind === 'wait' ? step.ms + 1 / 64 : 1 / 64
    // Who has a command may still end it after its lease, until somebody looks for what is due.
    if (!('delayMs' in step)) this.model.advance(this.now)
    if (step.kind === 'enqueue') this.#enqueue(step.commands)
    else if (step.kind === 'lease') this.#lease(step)
    else if (step.kind === 'wait') this.broker.advance(this.now)
    else if (step.kind === 'cancel') this.#cancel(step.id)
    else if (step.kind === 'redrive' || step.kind === 'drop') this.#dead(step.kind, step.which)
    else if (this.given.length > 0) {
      const { kind, which, delayMs } = step as Extract<Operation, { delayMs: number }>
      this.#settle(kind, this.given[which % this.given.length]!, delayMs)
    }
    this.model.advance(this.now)
    this.#compare()
  }

  #enqueue(wishes: readonly Wish[]): void {
    const envelopes = wishes.map((wish) =>
      checkEnvelope({ ...wish, commandType: 't', createdAt: 0 }, PARTITIONS),
    )
    this.broker.advance(this.now)
    const fresh = new Set(wishes.map(({ id }) => id).filter((id) => !this.model.knows(id)))
    if (fresh.size > 0 && this.model.commands.length + fresh.size > 12) {
      expect(() => this.broker.enqueue(envelopes, this.now)).toThrow(/is full/)
      return
    }
    const expected = wishes.map((wish) => {
      if (this.model.knows(wish.id)) return 'duplicate'
      this.model.enqueue(wish, this.now)
      return 'accepted'
    })
    expect(this.broker.enqueue(envelopes, this.now)).toEqual(expected)
  }

  #lease(request: Request): void {
    const expected = this.model.lease(request, this.now)
    const given = this.broker.lease('w', { ...request, waitMs: 0 }, this.now)
    expect(given.map(({ envelope, deliveries }) => `${envelope.id} ${deliveries}`)).toEqual(
      expected.map(({ id, deliveries, isCounted }) => `${id} ${deliveries + +!isCounted}`),
    )
    for (const [index, delivery] of given.entries()) {
      const command = expected[index]!
      command.fence = delivery.fence
      expect(delivery.envelope.retryCount).toBe(command.retryCount)
      expect(delivery.leasedUntilMs).toBe(command.dueMs)
      expect(delivery.countsAtStart).toBe(!command.isCounted)
      this.given.push(delivery)
    }
  }

  #settle(kind: string, delivery: Delivery, delayMs: number): void {
    const { model, broker, now } = this
    const held = model.commands.find(
      (one) => one.state === 'leased' && one.fence === delivery.fence,
    )
    const command = held?.isCancelled ? undefined : held
    if (held?.isCancelled && kind !== 'extend') model.remove(held)
    const expected = command === undefined ? 'stale' : 'done'
    if (kind === 'start') {
      expect(broker.start(delivery, now)).toBe(expected)
      if (command !== undefined) model.count(command)
    } else if (kind === 'extend') {
      const { lost } = broker.extend([delivery], now)
      expect(lost).toEqual(command === undefined ? [delivery.fence] : [])
      // A cancelled one keeps its key closed meanwhile.
      if (held !== undefined) held.dueMs = now + LEASE_MS
    } else if (kind === 'complete') {
      expect(broker.complete(delivery, resultOf(delivery, true), now)).toBe(expected)
      if (command !== undefined) model.end(command, true, now)
    } else if (kind === 'bury') {
      expect(broker.deadLetter(delivery, 'x', resultOf(delivery, false), now)).toBe(expected)
      if (command !== undefined) model.deadLetter(command, now)
    } else {
      const reason = kind as 'retry' | 'unstarted' | 'crash'
      expect(broker.release(delivery, reason, delayMs, now)).toBe(expected)
      if (command === undefined) return
      if (reason === 'crash') {
        model.count(command)
        model.crash(command, now, delayMs)
      } else {
        command.deliveries = reason === 'retry' ? 0 : command.deliveries - +command.isCounted
        if (reason === 'retry') command.retryCount++
        model.giveBack(command, now, delayMs, reason === 'unstarted')
      }
    }
  }

  #cancel(id: string): void {
    const { model, broker, now } = this
    const held = model.commands.find((one) => one.id === id && !one.isCancelled)
    const count = this.stopped.length
    const expected = model.cancel(id, now)
    expect(broker.cancel(id, 'me', now)).toBe(expected)
    expect(this.stopped.slice(count)).toEqual(expected === 'stopping' ? [held!.fence] : [])
  }

  #dead(kind: 'redrive' | 'drop', which: number): void {
    const dead = [...this.model.dead.keys()].toSorted()
    const id = which % 8 === 0 ? 'c0' : (dead[which % dead.length] ?? 'c1')
    const wish = this.model.dead.get(id)
    const expected = wish === undefined ? 0 : 1
    this.broker.advance(this.now)
    if (kind === 'redrive' && wish !== undefined && this.model.commands.length >= 12) {
      expect(() => this.broker.redrive([id], this.now)).toThrow(/is full/)
      return
    }
    this.model.dead.delete(id)
    if (kind === 'drop') expect(this.broker.archive.drop(id)).toBe(wish !== undefined)
    else {
      const count = this.broker.redrive([id], this.now)
      expect(count).toBe(expected)
      if (wish === undefined) return
      this.model.ended.delete(id)
      this.model.enqueue(wish, this.now)
    }
  }

  #compare(): void {
    const { model, broker, now } = this
    const ids = range(16).map((n) => `c${n}`)
    const { lanes, byLane, ...counts } = broker.counts(now)
    const none = { waiting: 0, delayed: 0, leased: 0, dead: 0 }
    const lanesOfAll = { lanes: { a: 0, b: 0, ...lanes }, byLane: { a: none, b: none, ...byLane } }
    const seen = {
      counts: { ...counts, ...lanesOfAll },
      ends: this.ends.toSorted(),
      dead: broker.archive
        .listDead(1000)
        .map(({ envelope }) => envelope.id)
        .toSorted(),
      states: ids.map((id) => broker.look(id, now).state),
      nextDueMs: broker.nextDueMs,
    }
    const dues = model.commands.filter(({ state }) => state !== 'waiting').map((one) => one.dueMs)
    expect(seen).toEqual({
      counts: model.counts(),
      ends: model.ends.toSorted(),
      dead: [...model.dead.keys()].toSorted(),
      states: ids.map((id) => {
        if (model.commands.some((one) => one.id === id && !one.isCancelled)) return 'pending'
        return model.ended.has(id) || model.dead.has(id) ? 'ended' : 'unknown'
      }),
      nextDueMs: Math.min(Number.POSITIVE_INFINITY, ...dues),
    })
  }
}

const lists = fc.array(operation, { maxLength: 100, size: 'max' })

for (const max of [2, 3]) {
  law(`the broker does what a list does that is searched anew (${max})`, [lists], (steps) => {
    const duel = new Duel(max)
    for (const step of steps) duel.play(step)
  })
}
