// Lease desk: gives this worker commands, and lets it wait for them.
// Thread: main.   Owns: the turn in which leases are asked for, and the waits.

import { randomInt } from 'node:crypto'
import { nowMs, timers } from '../../base/clock.ts'
import { show } from '../../base/errors.ts'
import type { Delivery, LaneDemand, LeaseRequest } from '../distributed-queue.ts'
import { checkLeaseRequest } from '../lease-request.ts'
import { countsFirstAtStart, DELIVERIES_SPENT, poisonedResult } from '../poison.ts'
import { Backlog, divide, type Share } from './backlog.ts'
import type { Reply } from './caller.ts'
import type { RedisEngine } from './engine.ts'
import { decodeEnvelope, idOf } from './envelope-codec.ts'
import { commandsOf, type GivenCommand } from './given-commands.ts'
import { LEASE, TEND } from './giving-scripts.ts'
import { LinkLost } from './link.ts'
import type { RedisOwnership } from './ownership.ts'
import { Recovery } from './recovery.ts'
import { BATCH_MAX, GIVEN_AGAIN } from './script.ts'
import type { Settler } from './settler.ts'
import { undecodableResult, unreadEnvelope } from './undecodable.ts'

const POLL_MIN_MS = 50

/** Somebody who waits, or will if nothing is found. */
interface Waiter {
  readonly partitions: ReadonlySet<number>
  readonly lanes: ReadonlySet<string>
  /** Whether something came while it was looking. */
  isRung: boolean
  /** Ends its waiting, while it does wait. */
  end: () => void
}

function nothing(): void {}

/** Leases. */
export class LeaseDesk {
  readonly #engine: RedisEngine
  readonly #settler: Settler
  readonly #ownership: RedisOwnership | undefined
  readonly #backlog = new Backlog()
  readonly #waiters = new Set<Waiter>()
  readonly #reapEveryMs: number
  readonly #recovery: Recovery
  #turn: Promise<unknown> = Promise.resolve()

  /**
   * @param engine - The queue.
   * @param settler - Buries what nobody may run.
   * @param ownership - Where partitions are owned.
   */
  constructor(engine: RedisEngine, settler: Settler, ownership: RedisOwnership | undefined) {
    this.#engine = engine
    this.#settler = settler
    this.#ownership = ownership
    this.#reapEveryMs = Math.max(10, engine.plan.leaseMs / 4)
    this.#recovery = new Recovery(engine, settler, this.#reapEveryMs)
  }

  /**
   * Gives commands.
   *
   * @param request - What is wanted.
   */
  async lease(request: LeaseRequest): Promise<Delivery[]> {
    const { caller, plan } = this.#engine
    caller.checkOpen()
    checkLeaseRequest(request, plan.numPartitions)
    const untilMs = nowMs() + request.waitMs
    // A stable sort: among equals the order of the request.
    const lanes = request.lanes
      .filter(({ max }) => max > 0)
      .toSorted((a, b) => a.priority - b.priority)
    if (lanes.length === 0 || request.partitions.length === 0) return []
    const waiter: Waiter = {
      partitions: new Set(request.partitions),
      lanes: new Set(lanes.map(({ laneId }) => laneId)),
      isRung: false,
      end: nothing,
    }
    this.#waiters.add(waiter)
    try {
      for (let polls = 0, mustLook = false; ; polls++) {
        waiter.isRung = false
        const given = await this.#inTurn(() => this.#collect(request, lanes, mustLook))
        const leftMs = untilMs - nowMs()
        if (given.length > 0 || leftMs <= 0 || request.signal?.aborted) return given
        // What came while it looked may be among what it did not see.
        if (!waiter.isRung) await this.#wait(waiter, request, leftMs, polls)
        mustLook = !waiter.isRung
        if (caller.isClosed) return []
      }
    } finally {
      this.#waiters.delete(waiter)
    }
  }

  /**
   * Commands came, or came back.
   *
   * @param partition - Where.
   * @param lane - In which lane.
   * @param count - How many.
   */
  heard(partition: number, lane: string, count: number): void {
    this.#backlog.add(partition, lane, count)
    for (const waiter of this.#waiters) {
      if (waiter.partitions.has(partition) && waiter.lanes.has(lane)) ring(waiter)
    }
  }

  /** Something of a partition was kept back, until a time of this process. */
  keptBack(partition: number, untilMs: number): void {
    this.#backlog.addDue(partition, untilMs)
  }

  /** Announcements may have been lost. */
  deaf(): void {
    this.#backlog.forget()
    this.wakeAll()
  }

  /** Ends every wait. */
  wakeAll(): void {
    for (const waiter of this.#waiters) ring(waiter)
  }

  /** One after the other: what a lease in flight was given would look unknown to a recovery. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {})
    return done
  }

  async #collect(
    request: LeaseRequest,
    lanes: readonly LaneDemand[],
    isPoll: boolean,
  ): Promise<Delivery[]> {
    if (this.#engine.caller.isClosed) return []
    await this.#recovery.look(request.partitions, lanes)
    const partitions = await this.#inOrder(request.partitions)
    const given: Delivery[] = []
    // Believed to be empty is not empty: it is looked at before anybody waits, and at once for
    // somebody who will not wait.
    const isFinal = request.waitMs <= 0
    let mustLook = isPoll || this.#believed(partitions, lanes) === 0
    for (let round = 0; round < 4 && given.length === 0; round++) {
      await this.#tend(partitions, lanes, mustLook, isFinal)
      const shares = divide(this.#backlog, partitions, lanes, request.max, BATCH_MAX)
      if (shares.length === 0) {
        if (mustLook) break
        mustLook = true
        continue
      }
      await this.#askAll(shares, lanes, given)
      mustLook = true
    }
    return given
  }

  /**
   * Partitions that may be leased from. Where they are owned, for the sake of order: a worker gives
   * up what it could not extend in time, before Redis does. What is younger must not come until
   * that is back in its place.
   */
  async #inOrder(partitions: readonly number[]): Promise<readonly number[]> {
    if (this.#ownership === undefined) return partitions
    const { holdings } = this.#engine
    const mine = this.#ownership.mine(partitions)
    const expired = mine.flatMap((partition) => holdings.takeExpired(partition))
    // Nobody died: it does not count towards maxDeliveries.
    if (expired.length > 0) await this.#settler.release(expired, { reason: 'unstarted' })
    return mine.filter((partition) => !holdings.isAgeing(partition))
  }

  #believed(partitions: readonly number[], lanes: readonly LaneDemand[]): number {
    let sum = 0
    for (const partition of partitions) {
      for (const { laneId } of lanes) sum += this.#backlog.get(partition, laneId) ?? 0
    }
    return sum
  }

  /** Looks after partitions: all of them, or those that need it. One round trip for all. */
  async #tend(
    partitions: readonly number[],
    lanes: readonly LaneDemand[],
    isAll: boolean,
    isFinal: boolean,
  ): Promise<void> {
    const needy = partitions.filter(
      (partition) =>
        (isAll && (isFinal || !this.#backlog.isFresh(partition))) ||
        this.#backlog.isStale(partition) ||
        lanes.some(({ laneId }) => this.#backlog.get(partition, laneId) === undefined),
    )
    await Promise.all(needy.map((partition) => this.#tendOne(partition, lanes)))
  }

  async #tendOne(partition: number, lanes: readonly LaneDemand[]): Promise<void> {
    const { keys, caller, plan } = this.#engine
    const names = keys.partition(partition)
    const isReaping = this.#backlog.takeReap(partition, this.#reapEveryMs)
    const reply = (await caller.run({
      script: TEND,
      keys: lanes.flatMap(({ laneId }) => [names.stream(laneId), names.delayed(laneId)]),
      args: [
        String(plan.leaseMs),
        isReaping ? '1' : '0',
        String(partition),
        keys.wakes,
        ...lanes.map(({ laneId }) => laneId),
      ],
    })) as number[]
    this.#backlog.saw(partition)
    const dueMs = reply[0]!
    this.#backlog.setDue(partition, dueMs < 0 ? undefined : nowMs() + dueMs)
    for (let i = 0; i < lanes.length; i++) {
      this.#backlog.set(partition, lanes[i]!.laneId, reply[i + 1]!)
    }
  }

  async #askAll(
    shares: readonly Share[],
    lanes: readonly LaneDemand[],
    given: Delivery[],
  ): Promise<void> {
    const sentMs = nowMs()
    const asked = await Promise.allSettled(shares.map((share) => this.#ask(share, lanes)))
    const burials: Promise<unknown>[] = []
    let failure: PromiseRejectedResult | undefined
    for (const [i, answer] of asked.entries()) {
      if (answer.status === 'rejected') {
        failure = answer
        continue
      }
      const isLate =
        this.#ownership !== undefined && this.#engine.holdings.isAgeing(shares[i]!.partition)
      const some: Delivery[] = []
      burials.push(...this.#unpack(shares[i]!, lanes, answer.value, sentMs, some))
      // What it had may have been given up while it waited for this answer: see inOrder.
      if (isLate) burials.push(this.#settler.release(some, { reason: 'unstarted' }))
      else given.push(...some)
    }
    // What cannot be buried now comes back when its lease has expired.
    await Promise.allSettled(burials)
    if (failure === undefined || given.length > 0) return
    if (!(failure.reason instanceof LinkLost)) throw failure.reason
    // The next round waits for the connection, and recovers first.
    await this.#recovery.look(
      shares.map(({ partition }) => partition),
      lanes,
    )
  }

  async #ask(share: Share, lanes: readonly LaneDemand[]): Promise<Reply[]> {
    const { keys, caller, plan, consumer } = this.#engine
    const names = keys.partition(share.partition)
    try {
      return (await caller.run({
        script: LEASE,
        keys: [names.own, ...lanes.map(({ laneId }) => names.stream(laneId))],
        args: [
          consumer,
          plan.workerId,
          String(plan.leaseMs),
          this.#ownership?.epochOf(share.partition) ?? '',
          String(share.max),
          countsFirstAtStart(plan.maxDeliveries) ? '0' : '1',
          ...lanes.flatMap(({ laneId, priority, boost }, i) => [
            laneId,
            String(share.lanes[i]),
            String(priority),
            String(boost.length),
            ...boost.flatMap(({ afterMs, levels }) => [String(afterMs), String(levels)]),
          ]),
        ],
        once: true,
      })) as Reply[]
    } catch (error) {
      if (error instanceof LinkLost) this.#recovery.begin()
      throw error
    }
  }

  /** Takes an answer apart; what nobody may run is buried. */
  #unpack(
    share: Share,
    lanes: readonly LaneDemand[],
    reply: readonly Reply[],
    sentMs: number,
    given: Delivery[],
  ): Promise<unknown>[] {
    const { partition } = share
    if (reply[0] === 0) {
      this.#ownership?.lost(partition)
      for (const { laneId } of lanes) this.#backlog.set(partition, laneId, 0)
      return []
    }
    this.#ownership?.learned(partition, reply[1] as number)
    this.#backlog.saw(partition)
    const timeMs = reply[2] as number
    for (let i = 0; i < lanes.length; i++) {
      this.#backlog.set(partition, lanes[i]!.laneId, reply[i + 3] as number)
    }
    const leasedUntilMs = sentMs + this.#engine.plan.leaseMs
    const burials: Promise<unknown>[] = []
    for (const command of commandsOf(reply[3 + lanes.length] as Buffer)) {
      const { laneId } = lanes[command.lane - 1]!
      const { entry, counter } = command
      this.#engine.holdings.take(partition, laneId, entry, counter, leasedUntilMs)
      const fence = this.#engine.holdings.fence(partition, laneId, entry, counter)
      const delivery = this.#read(partition, laneId, command, fence, leasedUntilMs, timeMs)
      if (delivery === undefined) {
        burials.push(this.#buryUndecodable(partition, laneId, command.value, entry, fence))
      } else if (delivery.deliveries > this.#engine.plan.maxDeliveries) {
        burials.push(this.#buryPoisoned(delivery))
      } else given.push(delivery)
    }
    return burials
  }

  #read(
    partition: number,
    lane: string,
    { entry, counter, value }: GivenCommand,
    fence: string,
    leasedUntilMs: number,
    timeMs: number,
  ): Delivery | undefined {
    try {
      const { maxBytes } = this.#engine.plan
      const { envelope, spent, sinceMs } = decodeEnvelope(value, lane, partition, maxBytes)
      const countsAtStart = counter !== 1
      const deliveries = (counter % GIVEN_AGAIN) + spent + (countsAtStart ? 1 : 0)
      // Both moments are by the clock of Redis; it may have been set back in between.
      const ageMs = timeMs - (sinceMs || Number.parseInt(entry, 10))
      const acceptedAtMs = nowMs() - Math.max(0, ageMs)
      return { envelope, fence, deliveries, countsAtStart, leasedUntilMs, acceptedAtMs }
    } catch (error) {
      const text = error instanceof Error ? error.message : 'no error'
      this.#engine.report('undecodable', `partition ${partition}, lane ${lane}: ${show(text)}`)
      return undefined
    }
  }

  #buryPoisoned(delivery: Delivery): Promise<unknown> {
    const { envelope, deliveries } = delivery
    const { workerId } = this.#engine.plan
    this.#engine.report('poisoned', `command ${envelope.id} of type ${envelope.commandType}`)
    const result = poisonedResult(envelope, deliveries - 1, workerId)
    return this.#settler.bury(delivery, DELIVERIES_SPENT, result)
  }

  #buryUndecodable(
    partition: number,
    lane: string,
    value: Buffer,
    entry: string,
    fence: string,
  ): Promise<unknown> {
    const envelope = unreadEnvelope(idOf(value), entry, partition, lane)
    const result = undecodableResult(envelope, this.#engine.plan.workerId)
    return this.#settler.bury({ envelope, fence }, 'undecodable', result)
  }

  #wait(waiter: Waiter, request: LeaseRequest, leftMs: number, polls: number): Promise<void> {
    const { partitions, signal } = request
    const poll = Math.min(
      this.#engine.plan.pollMaxMs,
      this.#reapEveryMs,
      POLL_MIN_MS * 2 ** Math.min(polls, 10),
    )
    // Not all at once: workers that wait for the same would look in step.
    const pollMs = randomInt(Math.ceil(poll * 0.75), Math.ceil(poll) + 1)
    const dueMs = Math.max(1, Math.ceil(this.#backlog.dueMs(partitions) - nowMs()))
    return new Promise((resolve) => {
      const end = (): void => {
        timers.clearTimeout(timer)
        waiter.end = nothing
        signal?.removeEventListener('abort', end)
        resolve()
      }
      const timer = timers.setTimeout(end, Math.min(leftMs, pollMs, dueMs))
      waiter.end = end
      signal?.addEventListener('abort', end)
      if (signal?.aborted) end()
    })
  }
}

function ring(waiter: Waiter): void {
  waiter.isRung = true
  waiter.end()
}
