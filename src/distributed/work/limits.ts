// Limits: checks what lanes ask of a queue, and lets their commands wait for tokens of a rate and
// for concurrency slots that all workers share.
// Owns: the commands that wait, and the names of their slots.

import { TURN_END } from '../../base/async-context.ts'
import { nowMs } from '../../base/clock.ts'
import { laneError, show } from '../../base/errors.ts'
import { uniqueName } from '../../base/random.ts'
import type { LanePlan } from '../../model/lane.ts'
import type { LeasedQueue, QueueCapabilities } from '../contract/distributed-queue.ts'
import { degraded, SHARED_MAX } from '../contract/engine-checks.ts'
import { checkName } from '../contract/envelope.ts'
import { backoffMs, Pause } from '../contract/pause.ts'
import { Outbox } from '../outbox.ts'
import type { Starter } from './acks.ts'
import { type HeldCommand, usableUntilMs, type WorkerCore } from './held.ts'
import { WorkerLane } from './lane.ts'
import type { WorkerPlan } from './pool-options.ts'

/** How long it waits before it asks again for slots, if the queue tells of those that are free. */
const SLOT_POLL_MS = 1000

/** The same where the queue does not tell. */
const UNTOLD_POLL_MS = 25

/** Several workers ask for the same free slot; none asks again sooner than this. */
const SLOT_GAP_MS = 5

/** Most slots that are taken, kept or given back in one call. */
const SLOTS_MAX = 1024

/**
 * Chooses the lanes of a pool and checks that the queue can do what they ask.
 *
 * @returns The most urgent first.
 * @throws ConfigError `CORELANE_UNKNOWN_LANE`, `CORELANE_INVALID_ENVELOPE` for a name that cannot
 * travel, `CORELANE_DEGRADED`.
 */
export function chooseLanes(
  plans: readonly LanePlan[],
  queue: LeasedQueue,
  { lanes: chosen, globalConcurrency, allowDegraded }: WorkerPlan,
): WorkerLane[] {
  const names = chosen ?? plans.map(({ name }) => name)
  const lanes = names.map((name) => lanePlan(plans, name))
  const slots = new Map(Object.entries(globalConcurrency))
  for (const name of slots.keys()) lanePlan(lanes, name)
  const { capabilities } = queue
  if (!allowDegraded) refuseDegraded(lanes, capabilities, slots)
  return lanes
    .map((plan) => {
      const isRateGlobal = plan.rate !== undefined && keepsRate(plan, capabilities)
      const max = capabilities.globalConcurrency ? slots.get(plan.name) : undefined
      return new WorkerLane(plan, isRateGlobal, max)
    })
    .sort((a, b) => a.plan.priority - b.plan.priority)
}

function lanePlan(plans: readonly LanePlan[], name: string): LanePlan {
  const plan = plans.find((each) => each.name === name)
  if (plan === undefined) {
    throw laneError('CORELANE_UNKNOWN_LANE', {
      received: show(name),
      allowed: plans.map((each) => each.name).join(', '),
    })
  }
  checkName('laneId', name)
  return plan
}

function algorithmOf({ rate }: Pick<LanePlan, 'rate'>): 'sliding-window' | 'token-bucket' {
  return rate?.isSliding ? 'sliding-window' : 'token-bucket'
}

function keepsRate(plan: LanePlan, { globalRate }: QueueCapabilities): boolean {
  return plan.rate?.isPerPartition === false && globalRate.includes(algorithmOf(plan))
}

function askedOf({ concurrency, rate, weights }: LanePlan['groups']): string | undefined {
  if (rate !== undefined) return 'groupRateLimit'
  if (concurrency !== Number.POSITIVE_INFINITY) return 'groupConcurrency'
  return weights.size > 0 ? 'groupWeights' : undefined
}

function refuseDegraded(
  lanes: readonly LanePlan[],
  capabilities: QueueCapabilities,
  slots: ReadonlyMap<string, number>,
): void {
  const priorities = new Set(lanes.map(({ priority }) => priority))
  if (priorities.size > 1 && !capabilities.lanePriority) {
    throw degraded('priorities of lanes', [...priorities].join(', '), 'one priority for all lanes')
  }
  for (const lane of lanes) {
    const owner = `lanes.${lane.name}`
    const { rate, retry, boostSteps, deadlineMs, groups } = lane
    const asked = capabilities.groups ? undefined : askedOf(groups)
    if (asked !== undefined) throw degraded(`${owner}.${asked}`, 'terms of groups', 'none')
    if (groups.rate !== undefined && !capabilities.globalRate.includes(algorithmOf(groups))) {
      const allowed = capabilities.globalRate.join(', ')
      throw degraded(`${owner}.groupRateLimit`, `algorithm "${algorithmOf(groups)}"`, allowed)
    }
    if (rate?.isPerPartition === false && !keepsRate(lane, capabilities)) {
      const allowed = [...capabilities.globalRate, 'scope "partition"'].join(', ')
      throw degraded(`${owner}.rateLimit`, `algorithm "${algorithmOf(lane)}"`, allowed)
    }
    if (retry.retries > 0 && retry.delayMs > 0 && !capabilities.delay) {
      throw degraded(`${owner}.retry`, `delayMs ${retry.delayMs}`, 'retries without delay')
    }
    if ((boostSteps.length > 0 || deadlineMs !== undefined) && capabilities.boost === 'none') {
      throw degraded(`${owner}.priorityBoost`, 'a boost', 'none')
    }
    if (slots.has(lane.name) && !capabilities.globalConcurrency) {
      const received = `${slots.get(lane.name)} over all workers`
      throw degraded(`globalConcurrency.${lane.name}`, received, 'maxConcurrency of each worker')
    }
  }
}

/** Lets commands of one lane start as the limits that it shares with other workers allow. */
export class LaneLimiter {
  readonly #core: WorkerCore
  readonly #lane: WorkerLane
  readonly #starter: Starter
  /** No other limiter of any worker has this name. */
  readonly #name = uniqueName()
  readonly #pause = new Pause()
  readonly #released: Outbox<string>
  /** Those that wait, in their order, and some that have left meanwhile. */
  #waiting: HeldCommand[] = []
  #isServing = false
  #isClosed = false
  /** Ends the news of free slots, if the queue tells of them. */
  #unlisten: (() => void) | undefined
  /** Whether there was such news since it asked last, or its lane got other limits. */
  #hasNews = false
  /** Whether it was given fewer slots than it asked for. */
  #isFull = false
  #slots = 0
  /** How long the last tokens could be used. */
  #horizonMs = 0

  /** @param starter - Takes commands that may start now. */
  constructor(core: WorkerCore, lane: WorkerLane, starter: Starter) {
    const { queue, events } = core
    this.#core = core
    this.#lane = lane
    this.#starter = starter
    this.#released = new Outbox<string>({
      batchMax: SLOTS_MAX,
      send: (names) => queue.limits.releaseSlots(lane.plan.name, names),
      failed: events.failed,
    })
  }

  add(held: HeldCommand): void {
    this.#waiting.push(held)
    void this.#serve()
  }

  /**
   * Takes a command back that could not start while its token was good: it goes before the others.
   */
  putBack(held: HeldCommand): void {
    held.tokenUntilMs = 0
    this.#waiting.unshift(held)
    void this.#serve()
  }

  /**
   * Frees the slot of a command that has left.
   *
   * @param mayRunOn - Whether its run may go on for a moment, so that its slot is left to expire.
   */
  left(held: HeldCommand, mayRunOn = false): void {
    if (held.slot === undefined) return
    if (!mayRunOn) this.#released.add(held.slot)
    held.slot = undefined
    // Where the queue tells of free slots, it tells of this one too, and in turn.
    if (this.#unlisten === undefined) this.#pause.end()
  }

  /** The limits of its lane are others. Running commands have slots from now on, all of them. */
  async changed(): Promise<void> {
    if (this.#lane.slots !== undefined) {
      for (const held of this.#held()) if (held.state === 'SUBMITTED') held.slot ??= this.#newName()
      // Slots from an earlier bound may have expired: as many as a queue takes.
      await this.#hold(SHARED_MAX).catch(this.#core.events.failed)
    }
    this.#onSlotFree()
    void this.#serve()
  }

  /** Keeps the slots of running commands; to be called every third of a lease. */
  keep(): void {
    const { slots } = this.#lane
    if (slots !== undefined) void this.#hold(slots).catch(this.#core.events.failed)
  }

  #held(): HeldCommand[] {
    return this.#core.held.values().filter(({ lane }) => lane === this.#lane)
  }

  /** Takes or keeps the slots of commands that run, or are about to. */
  async #hold(max: number): Promise<void> {
    const { limits } = this.#core.queue
    const names = this.#held().flatMap(({ slot }) => slot ?? [])
    for (let from = 0; from < names.length; from += SLOTS_MAX) {
      await limits.takeSlots(this.#lane.plan.name, max, names.slice(from, from + SLOTS_MAX))
    }
  }

  /** Lets nothing start any more. Resolves when the slots were given back, or cannot be. */
  async close(): Promise<void> {
    this.#waiting = []
    this.#end()
    await this.#released.idle()
  }

  giveUp(): void {
    this.#end()
    this.#released.giveUp()
  }

  #end(): void {
    this.#isClosed = true
    this.#unlisten?.()
    this.#pause.end()
  }

  async #serve(): Promise<void> {
    if (this.#isServing) return
    this.#isServing = true
    await TURN_END
    for (let failures = 0; this.#hasWaiting() && !this.#isClosed; ) {
      try {
        const askedAtMs = nowMs()
        this.#hasNews = false
        const waitMs = await this.#start(await this.#takeSlots())
        failures = 0
        await this.#rest(waitMs, askedAtMs)
      } catch (error) {
        this.#core.events.failed(error)
        if (!this.#isClosed) await this.#pause.wait(backoffMs(++failures))
      }
    }
    this.#isServing = false
  }

  #hasWaiting(): boolean {
    this.#waiting = this.#waiting.filter((held) => held.isReady)
    return this.#waiting.length > 0
  }

  /** Waits until the commands that are left are worth another try. */
  async #rest(tokenMs: number, askedAtMs: number): Promise<void> {
    const pollMs = this.#unlisten === undefined ? UNTOLD_POLL_MS : SLOT_POLL_MS
    const waitMs = this.#isFull ? pollMs : tokenMs
    if (waitMs === 0) return
    // The limit may have changed while it asked, and the answer is by the old one.
    if (!this.#hasNews && !this.#isClosed) await this.#pause.wait(waitMs)
    if (!this.#isFull && !this.#hasNews) return
    const gapMs = Math.ceil(SLOT_GAP_MS - (nowMs() - askedAtMs))
    if (gapMs > 0 && !this.#isClosed) await this.#pause.wait(gapMs)
  }

  readonly #onSlotFree = (): void => {
    this.#hasNews = true
    this.#pause.end()
  }

  /** Those that have a slot, or need none; as many as are worth a token now. */
  async #takeSlots(): Promise<readonly HeldCommand[]> {
    const { queue, pace } = this.#core
    const { plan, slots } = this.#lane
    const count = Math.ceil(pace.capacity + (this.#horizonMs / 2) * pace.perMs)
    const candidates = this.#waiting.slice(0, Math.min(Math.max(1, count), SLOTS_MAX))
    this.#isFull = false
    if (slots === undefined) return candidates
    this.#unlisten ??= queue.limits.onSlotFree?.(plan.name, this.#onSlotFree)
    const names = new Map<string, HeldCommand>()
    for (const held of candidates) {
      if (held.slot === undefined) names.set(this.#newName(), held)
    }
    if (names.size > 0) {
      const taken = await queue.limits.takeSlots(plan.name, slots, [...names.keys()])
      this.#isFull = taken.length < names.size
      for (const slot of taken) {
        const held = names.get(slot)
        if (held === undefined) continue
        held.slot = slot
        // It may have left meanwhile.
        if (!held.isReady) this.left(held)
      }
    }
    return candidates.filter(({ slot }) => slot !== undefined)
  }

  #newName(): string {
    return `${this.#name}.${this.#slots++}`
  }

  /** Starts what may start; answers how long to wait before the rest is worth a try. */
  async #start(candidates: readonly HeldCommand[]): Promise<number> {
    const { rate, plan } = this.#lane
    if (candidates.length === 0) return 0
    if (rate === undefined) {
      for (const held of candidates) this.#submit(held, 0)
      return 0
    }
    const askedAtMs = nowMs()
    const tokens = await this.#core.queue.limits.takeTokens(plan.name, rate, candidates.length)
    this.#horizonMs = Math.max(0, tokens.expiresAtMs - askedAtMs)
    const untilMs = usableUntilMs(tokens.expiresAtMs, askedAtMs)
    let left = tokens.granted
    for (const held of candidates) {
      if (left === 0) break
      if (this.#submit(held, untilMs)) left--
    }
    return tokens.granted >= candidates.length ? 0 : Math.max(1, tokens.retryAfterMs)
  }

  #submit(held: HeldCommand, tokenUntilMs: number): boolean {
    const index = held.isReady ? this.#waiting.indexOf(held) : -1
    if (index === -1) return false
    this.#waiting.splice(index, 1)
    held.tokenUntilMs = tokenUntilMs
    this.#starter.submit(held)
    return true
  }
}

/** Lets the limits and pauses hold that are set on the queue while its workers run. */
export class LimitWatch {
  readonly #core: WorkerCore
  readonly #changed: (lane: WorkerLane) => void
  readonly #paused: (laneId: string) => void
  /** Wishes to read them. Those that come while they are read lead to one more look. */
  readonly #reads: Outbox<'read'>
  #unlisten: () => void = () => {}
  #isOver = false

  /**
   * @param changed - Acts on a lane that has other limits than before.
   * @param paused - Acts on a lane that is paused, again and again while it is.
   */
  constructor(
    core: WorkerCore,
    changed: (lane: WorkerLane) => void,
    paused: (laneId: string) => void,
  ) {
    this.#core = core
    this.#changed = changed
    this.#paused = paused
    this.#reads = new Outbox<'read'>({ send: () => this.#read(), failed: core.events.failed })
  }

  /** Begins. Resolves once they are known: until then nothing may be taken. */
  async start(): Promise<void> {
    const { lanes } = this.#core.queue
    // The worker may have been closed while it claimed its partitions.
    if (this.#isOver) return
    const ends = [lanes?.onLimits(() => this.read()), lanes?.onPause(this.#paused)]
    this.#unlisten = () => {
      for (const end of ends) end?.()
    }
    this.read()
    await this.#reads.idle()
  }

  /** Has them read: when they may have changed, and every third of a lease: news can be lost. */
  read(): void {
    this.#reads.add('read')
  }

  stop(): void {
    this.#isOver = true
    this.#reads.giveUp()
    this.#unlisten()
  }

  async #read(): Promise<void> {
    const { queue, lanes } = this.#core
    if (queue.lanes === undefined) return
    const [limits, paused] = await Promise.all([queue.lanes.limits(), queue.lanes.paused()])
    if (this.#isOver) return
    const all = new Map(limits.map((each) => [each.laneId, each]))
    for (const lane of lanes) if (lane.limit(all.get(lane.plan.name))) this.#changed(lane)
    for (const laneId of paused) this.#paused(laneId)
  }
}
