// Fetcher: gives this worker commands, and lets it wait for them.
// Owns: the turn in which leases are asked for, and the waits.

import { randomInt } from 'node:crypto'
import { nowMs } from '../../base/clock.ts'
import { show } from '../../base/errors.ts'
import { isErrorValue } from '../../wire/families.ts'
import type {
  Delivery,
  LaneDemand,
  LeaseRequest,
  ReleaseOptions,
} from '../contract/distributed-queue.ts'
import { Pause } from '../contract/pause.ts'
import { countsFirstAtStart, DELIVERIES_SPENT, poisonedResult } from '../contract/poison.ts'
import { deadLetter, release } from './acknowledger.ts'
import { Backlog, divide, type Share } from './backlog.ts'
import type { Reply } from './caller.ts'
import { Strays } from './commands.ts'
import { type RedisEngine, RedisPart } from './engine.ts'
import { decodeEnvelope, idOf, undecodableResult, unreadEnvelope } from './envelope-codec.ts'
import { groupedLane, isGroupedLane, laneOf, userLane } from './keys.ts'
import { answerOf, digestOf, type GivenCommand, type LeaseAnswer, laneWords } from './lease-call.ts'
import { validityOf } from './limits.ts'
import { LinkLost } from './link.ts'
import type { RedisOwnership } from './ownership.ts'
import { Recovery } from './recovery.ts'
import { LEASE } from './scripts/lease.ts'
import { GIVEN_AGAIN, SCRIPT_MAX } from './scripts/script.ts'
import { TEND } from './scripts/tend.ts'
import { WEIGHTS } from './scripts/weights.ts'
import type { Wake } from './subscriptions.ts'

/** How soon is asked again at first while announcements are not received. */
const POLL_MIN_MS = 50

/** How soon a partition is looked after again at least, where leases are about to expire. */
const REAP_MS_MIN = 10

/** How soon is looked again at partitions that could not be asked, for the sake of order. */
const HELD_UP_MS = 50

/** Most lanes with groups that are remembered: names may come and go for ever. */
const GROUPED_MAX = 10_000

interface Waiter {
  readonly partitions: ReadonlySet<number>
  readonly lanes: ReadonlySet<string>
  /** The partitions that it could ask. */
  asked: readonly number[]
  /** Whether something came while it was looking. */
  isRung: boolean
  readonly pause: Pause
}

export class RedisFetcher extends RedisPart {
  readonly #ownership: RedisOwnership | undefined
  readonly #strays: Strays
  readonly #backlog = new Backlog()
  readonly #waiters = new Set<Waiter>()
  readonly #recovery: Recovery
  #turn: Promise<unknown> = Promise.resolve()
  /** Lanes that have, or had, commands with groups: those are asked for as well. */
  readonly #grouped = new Set<string>()
  /** When the next partition is looked at though nothing was announced. */
  #pollMs = 0
  /** The partition that was looked at last in this way. */
  #polled = -1

  constructor(engine: RedisEngine, ownership: RedisOwnership | undefined) {
    super(engine)
    this.#strays = new Strays(engine)
    this.#ownership = ownership
    this.#backlog.holdsMs = POLL_MIN_MS
    this.#recovery = new Recovery(engine)
    engine.wakes.add('', (wake) => this.#announced(wake))
    engine.wakes.add('+', ({ partition, lane, amount }) => this.keptBack(partition, lane, amount))
  }

  async lease(request: LeaseRequest): Promise<Delivery[]> {
    const { caller } = this.engine
    const untilMs = nowMs() + request.waitMs
    // A stable sort: among equals the order of the request.
    const lanes = request.lanes
      .filter(({ max }) => max > 0)
      .toSorted((a, b) => a.priority - b.priority)
    if (lanes.length === 0 || request.partitions.length === 0) return []
    const waiter: Waiter = {
      partitions: new Set(request.partitions),
      lanes: new Set(lanes.map(({ laneId }) => laneId)),
      asked: [],
      isRung: false,
      pause: new Pause(),
    }
    this.#waiters.add(waiter)
    try {
      for (;;) {
        waiter.isRung = false
        this.#poll(request.partitions)
        const given = await this.#inTurn(() => this.#collect(waiter, request, lanes))
        const leftMs = untilMs - nowMs()
        if (given.length > 0 || leftMs <= 0 || request.signal?.aborted) return given
        const spanMs = this.#spanMs(waiter, request, leftMs)
        // Commands that came while it looked may be among those it did not see.
        if (!waiter.isRung) await waiter.pause.wait(spanMs, true, request.signal)
        if (caller.isClosed) return []
      }
    } finally {
      this.#waiters.delete(waiter)
    }
  }

  /** Gives the next command of a partition, whatever its lane. */
  async next(partition: number, laneNames: readonly string[]): Promise<Delivery | undefined> {
    const names = new Set(laneNames.map(userLane))
    const lanes = Array.from(names, (laneId) => ({ laneId, max: 1, priority: 0, boost: [] }))
    return (await this.lease({ partitions: [partition], lanes, max: 1, waitMs: 0 }))[0]
  }

  #announced({ partition, lane, amount }: Wake): void {
    this.#meet(lane)
    if (this.#backlog.announced(partition, lane, amount)) {
      // Who takes them may die.
      this.#backlog.add(partition, 'reapMs', nowMs() + this.engine.plan.leaseMs)
    }
    this.#backlog.holdsMs = POLL_MIN_MS
    for (const waiter of this.#waiters) {
      if (waiter.partitions.has(partition) && waiter.lanes.has(userLane(lane))) ring(waiter)
    }
  }

  /** Announced as well, where they are kept back; but a caller that does not wait hears nothing. */
  released(deliveries: readonly Delivery[], { delayMs = 0 }: ReleaseOptions): void {
    if (delayMs === 0) return
    for (const { envelope } of deliveries) {
      this.keptBack(envelope.partitionId, laneOf(envelope), delayMs)
    }
  }

  keptBack(partition: number, lane: string, delayMs: number): void {
    const isNew = this.#meet(lane)
    if (!this.#backlog.announced(partition, lane, 0) && !isNew) return
    this.#backlog.add(partition, 'dueMs', nowMs() + delayMs)
    this.#ringAt(partition)
  }

  /** Asks for a lane of commands with groups from now on; whether it did not before. */
  #meet(lane: string): boolean {
    if (!isGroupedLane(lane) || this.#grouped.has(userLane(lane))) return false
    if (this.#grouped.size === GROUPED_MAX) {
      // Redis says again which there are where it is asked again.
      this.#grouped.clear()
      this.#backlog.forget()
    }
    this.#grouped.add(userLane(lane))
    return true
  }

  /** A partition became this worker's: what others have left there is to be found. */
  gained(partition: number): void {
    this.#backlog.doubt(partition)
    this.#ringAt(partition)
  }

  /**
   * Announcements are received from now on, or are not. Earlier announcements may have been lost.
   *
   * @param isReceiving - Whether they are.
   */
  setReceiving(isReceiving: boolean): void {
    this.#backlog.isReceiving = isReceiving
    this.#backlog.holdsMs = POLL_MIN_MS
    if (isReceiving) this.#backlog.forget()
    this.wakeAll()
  }

  wakeAll(): void {
    for (const waiter of this.#waiters) ring(waiter)
  }

  #ringAt(partition: number): void {
    for (const waiter of this.#waiters) if (waiter.partitions.has(partition)) ring(waiter)
  }

  /** An announcement may be lost without a trace: now and then one partition is looked at. */
  #poll(partitions: readonly number[]): void {
    const now = nowMs()
    if (now < this.#pollMs) return
    const { pollMaxMs } = this.engine.plan
    this.#pollMs = now + roughly(pollMaxMs)
    // By their numbers: requests name partitions in an order that changes.
    const beyond = partitions.filter((partition) => partition > this.#polled)
    this.#polled = Math.min(...(beyond.length > 0 ? beyond : partitions))
    this.#backlog.doubt(this.#polled)
  }

  /** One after the other: what a lease in flight was given would look unknown to a recovery. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {})
    return done
  }

  async #collect(
    waiter: Waiter,
    request: LeaseRequest,
    demands: readonly LaneDemand[],
  ): Promise<Delivery[]> {
    if (this.engine.caller.isClosed) return []
    let lanes = this.#expanded(demands)
    await this.#recovery.look()
    const partitions = await this.#inOrder(request.partitions)
    waiter.asked = partitions
    const given: Delivery[] = []
    // Announcements serve a caller that waits; one that does not wait makes Redis be asked.
    const isFinal = request.waitMs <= 0
    let mustLook = this.#backlog.isEmpty(partitions, lanes)
    for (let round = 0; round < 4 && given.length === 0; round++) {
      const known = this.#grouped.size
      await this.#tend(partitions, lanes, mustLook, isFinal)
      if (this.#grouped.size > known) {
        // Commands with groups came to light.
        lanes = this.#expanded(demands)
        await this.#tend(partitions, lanes, true, isFinal)
      }
      const shares = divide(this.#backlog, partitions, lanes, request.max, SCRIPT_MAX)
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
   * up what it could not extend in time, before Redis does. Younger commands must not come until
   * those are back in their place.
   */
  async #inOrder(partitions: readonly number[]): Promise<readonly number[]> {
    if (this.#ownership === undefined) return partitions
    const { holdings } = this.engine
    const mine = this.#ownership.mine(partitions)
    const expired = mine.flatMap((partition) => holdings.takeExpired(partition))
    // No worker died: it does not count towards maxDeliveries.
    if (expired.length > 0) await release(this.engine, expired, { reason: 'unstarted' })
    return mine.filter((partition) => !holdings.isAgeing(partition))
  }

  /** With a lane for the commands of each that have groups, where there are such. */
  #expanded(demands: readonly LaneDemand[]): readonly LaneDemand[] {
    if (this.#grouped.size === 0) return demands
    return demands.flatMap((demand) =>
      this.#grouped.has(demand.laneId)
        ? [demand, { ...demand, laneId: groupedLane(demand.laneId) }]
        : [demand],
    )
  }

  /** Looks after partitions: all of them, or those that need it. One round trip for all. */
  async #tend(
    partitions: readonly number[],
    lanes: readonly LaneDemand[],
    isAll: boolean,
    isFinal: boolean,
  ): Promise<void> {
    const now = nowMs()
    const needy = partitions.filter(
      (partition) =>
        (isAll && (isFinal || !this.#backlog.isCurrent(partition, lanes))) ||
        this.#backlog.nextMs([partition]) <= now ||
        this.#backlog.isUnknown(partition, lanes),
    )
    if (needy.length === 0) return
    // While nothing is found and no announcements are received, it is asked less and less often.
    this.#backlog.holdsMs = Math.min(this.engine.plan.pollMaxMs, this.#backlog.holdsMs * 2)
    await Promise.all(needy.map((partition) => this.#tendOne(partition, lanes)))
  }

  async #tendOne(partition: number, lanes: readonly LaneDemand[]): Promise<void> {
    const { keys, caller, plan } = this.engine
    const names = keys.partition(partition)
    const laneIds = lanes.map(({ laneId }) => laneId)
    this.#backlog.asking(partition, lanes)
    const reply = await caller.run<Reply[]>(
      TEND,
      [...names.pairs(laneIds), names.own, ...names.groups(...laneIds)],
      [plan.leaseMs, laneIds.length],
    )
    const [dueMs, reapMs] = reply as [number, number]
    const counts = reply.slice(2, 2 + lanes.length) as number[]
    const grouped = reply[2 + lanes.length]
    for (const name of Buffer.isBuffer(grouped) ? grouped.toString('latin1').split(' ') : []) {
      this.#meet(name)
    }
    const now = nowMs()
    const isSure = this.#backlog.answered(partition, lanes, counts)
    // All workers see the same leases expire; the first takes them back for all. A moment of grace
    // spares a second run to what ends in it.
    const graceMs = Math.ceil(plan.leaseMs / 16)
    const laterMs = randomInt(graceMs, 2 * graceMs + 1)
    this.#backlog.setTimes(
      partition,
      dueMs < 0 ? Number.POSITIVE_INFINITY : now + dueMs,
      reapMs < 0 ? Number.POSITIVE_INFINITY : now + Math.max(reapMs, REAP_MS_MIN) + laterMs,
    )
    if (!isSure) this.#backlog.add(partition, 'reapMs', now + plan.leaseMs)
  }

  async #askAll(
    shares: readonly Share[],
    lanes: readonly LaneDemand[],
    given: Delivery[],
  ): Promise<void> {
    const sentMs = nowMs()
    const asked = await Promise.allSettled(shares.map((share) => this.#ask(share, lanes)))
    const letters: Promise<unknown>[] = []
    let failure: PromiseRejectedResult | undefined
    for (const [i, answer] of asked.entries()) {
      if (answer.status === 'rejected') {
        failure = answer
        continue
      }
      const { partition } = shares[i]!
      const isLate = this.#ownership !== undefined && this.engine.holdings.isAgeing(partition)
      const some: Delivery[] = []
      letters.push(...this.#take(partition, lanes, answer.value, sentMs, some))
      // Its commands may have been given up while it waited for this answer: see inOrder.
      if (isLate) letters.push(release(this.engine, some, { reason: 'unstarted' }))
      else given.push(...some)
    }
    // A command that cannot be dead-lettered now comes back when its lease has expired.
    await Promise.allSettled(letters)
    if (failure === undefined || given.length > 0) return
    if (!(failure.reason instanceof LinkLost)) throw failure.reason
    // The next round waits for the connection, and recovers first.
    await this.#recovery.look()
  }

  async #ask(share: Share, lanes: readonly LaneDemand[]): Promise<LeaseAnswer | undefined> {
    const { keys, caller, plan, consumer } = this.engine
    const names = keys.partition(share.partition)
    const laneIds = lanes.map(({ laneId }) => laneId)
    const epoch = this.#ownership?.epochOf(share.partition) ?? ''
    const first = countsFirstAtStart(plan.maxDeliveries) ? 0 : 1
    const own = [consumer, plan.workerId, plan.leaseMs, epoch, share.max, first]
    this.#backlog.asking(share.partition, lanes)
    try {
      const reply = await caller.run<Reply[]>(
        LEASE,
        [names.own, ...names.streams(laneIds), ...names.groups(...laneIds)],
        [...own, ...laneWords(share, lanes)],
      )
      return answerOf(reply, lanes.length)
    } catch (error) {
      if (error instanceof LinkLost) this.#recovery.begin(share.partition, laneIds)
      throw error
    }
  }

  /** Says the weights of the groups of lanes, so that the next lease may give some of them. */
  async #weigh(partition: number, lanes: readonly LaneDemand[]): Promise<void> {
    const { keys, caller } = this.engine
    for (const { laneId, groups } of lanes) {
      const weights = groups!.weights!
      const key = keys.partition(partition).weights(userLane(laneId))
      await caller.run(WEIGHTS, [key], [digestOf(weights), WEIGHTS_MS, ...[...weights].flat()])
      this.#backlog.distrust(partition)
    }
  }

  /** Takes an answer in; commands that no worker may run are dead-lettered. */
  #take(
    partition: number,
    lanes: readonly LaneDemand[],
    answer: LeaseAnswer | undefined,
    sentMs: number,
    given: Delivery[],
  ): Promise<unknown>[] {
    if (answer === undefined) {
      this.#ownership?.lost(partition)
      const none = lanes.map(() => 0)
      this.#backlog.answered(partition, lanes, none)
      // It may be free later, and then nothing is announced.
      this.#backlog.distrust(partition)
      return []
    }
    const { epoch, timeMs, counts, commands, ripeMs, unweighed } = answer
    this.#ownership?.learned(partition, epoch)
    this.#backlog.answered(partition, lanes, counts)
    if (ripeMs >= 0) this.#backlog.add(partition, 'dueMs', nowMs() + ripeMs)
    const { holdings, plan } = this.engine
    const leasedUntilMs = sentMs + plan.leaseMs
    const unknown = unweighed.map((i) => lanes[i]!)
    const letters: Promise<unknown>[] = [this.#weigh(partition, unknown)]
    for (const command of commands) {
      const { laneId, groups } = lanes[command.lane]!
      const { entry, counter } = command
      if (this.#strays.take(partition, laneId, entry)) continue
      holdings.take(partition, laneId, entry, counter, leasedUntilMs)
      const fence = holdings.fence(partition, laneId, entry, counter)
      const rate = isGroupedLane(laneId) ? groups?.rate : undefined
      const lane = userLane(laneId)
      const read = this.#read(partition, lane, command, fence, leasedUntilMs, timeMs)
      const delivery = read && rate ? { ...read, startByMs: sentMs + validityOf(rate) } : read
      if (delivery === undefined) {
        letters.push(this.#deadLetterUndecodable(partition, lane, command, fence))
      } else if (delivery.deliveries > plan.maxDeliveries) {
        letters.push(this.#deadLetterPoisoned(delivery))
      } else given.push(delivery)
    }
    if (given.length > 0) {
      this.#backlog.holdsMs = POLL_MIN_MS
      this.#backlog.add(partition, 'reapMs', leasedUntilMs)
    }
    return letters
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
      const { maxBytes } = this.engine.plan
      const { envelope, spent, sinceMs } = decodeEnvelope(value, lane, partition, maxBytes)
      const countsAtStart = counter !== 1
      const deliveries = (counter % GIVEN_AGAIN) + spent + (countsAtStart ? 1 : 0)
      // Both moments are by the clock of Redis; it may have been set back in between.
      const ageMs = timeMs - (sinceMs || Number.parseInt(entry, 10))
      const acceptedAtMs = nowMs() - Math.max(0, ageMs)
      return { envelope, fence, deliveries, countsAtStart, leasedUntilMs, acceptedAtMs }
    } catch (error) {
      const text = isErrorValue(error) ? error.message : 'no error'
      this.engine.report('undecodable', `partition ${partition}, lane ${lane}: ${show(text)}`)
      return undefined
    }
  }

  #deadLetterPoisoned(delivery: Delivery): Promise<unknown> {
    const { envelope, deliveries } = delivery
    const { workerId } = this.engine.plan
    this.engine.report('poisoned', `command ${envelope.id} of type ${envelope.commandType}`)
    const result = poisonedResult(envelope, deliveries - 1, workerId)
    return deadLetter(this.engine, delivery, DELIVERIES_SPENT, result)
  }

  #deadLetterUndecodable(
    partition: number,
    lane: string,
    { value, entry }: GivenCommand,
    fence: string,
  ): Promise<unknown> {
    const envelope = unreadEnvelope(idOf(value), entry, partition, lane)
    const result = undecodableResult(envelope, this.engine.plan.workerId)
    return deadLetter(this.engine, { envelope, fence }, 'undecodable', result)
  }

  /** How long a request may wait before Redis is asked again. */
  #spanMs({ asked }: Waiter, { partitions }: LeaseRequest, leftMs: number): number {
    const { isReceiving, holdsMs } = this.#backlog
    const now = nowMs()
    const isHeldUp = asked.length < partitions.length
    const untilMs = Math.min(
      now + leftMs,
      this.#backlog.nextMs(asked),
      this.#recovery.nextMs,
      isReceiving ? this.#pollMs : now + roughly(holdsMs),
      isHeldUp ? now + HELD_UP_MS : Number.POSITIVE_INFINITY,
    )
    return Math.max(1, Math.ceil(untilMs - now))
  }
}

/** How long Redis keeps the weights of groups; they are said again then. */
const WEIGHTS_MS = 3_600_000

/** A time or up to a quarter less: workers that wait for the same would look in step. */
function roughly(ms: number): number {
  return randomInt(Math.ceil(ms * 0.75), Math.ceil(ms) + 1)
}

function ring(waiter: Waiter): void {
  waiter.isRung = true
  waiter.pause.end()
}
