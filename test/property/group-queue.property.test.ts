// Goal: turns between groups are fair, and no limit of a group is ever broken.
// Method: random offers, turns, starts, ends, terms and steps of the clock, against plain books.

import fc from 'fast-check'
import { expect } from 'vitest'
import { type LaneOptions, type LanePlan, planLane } from '../../src/model/lane.ts'
import { GroupQueue } from '../../src/schedule/group-queue.ts'
import { GroupSeat } from '../../src/schedule/group-ring.ts'
import { deed, lawOf } from '../support/law.ts'

const law = lawOf(300)

class Item {
  rank: number
  sequence: number
  readonly cost: number
  readonly place: number
  readonly seat: GroupSeat
  readonly submittedAtMs = 0
  readonly deadlineMs = undefined
  startedAtMs = 0

  constructor(group: string, sequence: number, cost: number, rank = 128, place = 0) {
    this.seat = new GroupSeat(group)
    this.sequence = sequence
    this.cost = cost
    this.rank = rank
    this.place = place
  }
}

function planOf(options: LaneOptions): LanePlan {
  return planLane('lane', { priority: 0, ...options })
}

function queueOf(options: LaneOptions, places = 1, isFixed = false): GroupQueue<Item> {
  const plan = planOf(options)
  return new GroupQueue<Item>(
    plan,
    plan.groups,
    places,
    ({ cost }) => cost,
    ({ startedAtMs }) => startedAtMs,
    isFixed,
  )
}

const costs = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 20 })

law(
  'groups that wait all the time get their shares, to a quantum and two commands',
  [
    fc.array(fc.tuple(costs, fc.integer({ min: 1, max: 5 })), { minLength: 2, maxLength: 6 }),
    // Others come and go meanwhile.
    fc.array(fc.tuple(fc.nat(20), fc.integer({ min: 1, max: 50 })), { maxLength: 100 }),
    fc.boolean(),
    // With a maximum of 1 each command puts its group at its limit in the middle of its turn.
    fc.constantFrom(undefined, 1, 2),
  ],
  (groups, others, isFixed, groupConcurrency) => {
    const weights = Object.fromEntries(groups.map(([, weight], i) => [`g${i}`, weight]))
    const queue = queueOf({ groupWeights: weights, groupConcurrency }, 1, isFixed)
    const got = groups.map(() => 0)
    const next = groups.map(() => 0)
    let sequence = 0
    const offer = (i: number) => {
      const [all] = groups[i]!
      queue.offer(new Item(`g${i}`, sequence++, all[next[i]!++ % all.length]!), 0, 0)
    }
    for (const i of groups.keys()) for (let n = 0; n < 3; n++) offer(i)
    const dearest = Math.max(...groups.flatMap(([all]) => all), ...others.map(([, c]) => c), 1)
    for (let turn = 0; turn < 300; turn++) {
      const other = others[turn]
      if (other !== undefined) {
        queue.offer(new Item(`other${other[0]}`, sequence++, other[1]), 0, 0)
      }
      const item = queue.next(0, 0)!
      item.seat.leave()
      const i = Number(/^g(\d+)$/.exec(item.seat.group)?.[1] ?? -1)
      if (i < 0) continue
      got[i]! += item.cost / groups[i]![1]
      offer(i)
      expect(Math.max(...got) - Math.min(...got)).toBeLessThanOrEqual(3 * dearest)
    }
  },
)

const sliding = fc.constantFrom('token-bucket' as const, 'sliding-window' as const)
const termsOf = fc.record({
  groupConcurrency: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
  rate: fc.option(fc.tuple(fc.integer({ min: 1, max: 4 }), sliding), { nil: undefined }),
})
type Terms = typeof termsOf extends fc.Arbitrary<infer T> ? T : never

function optionsOf({ groupConcurrency, rate }: Terms): LaneOptions {
  const groupRateLimit = rate && { limit: rate[0], windowMs: 50, algorithm: rate[1] }
  return { groupConcurrency, groupRateLimit }
}

const step = fc.oneof(
  deed(4, 'offer', {
    group: fc.nat(4),
    rank: fc.integer({ min: 126, max: 130 }),
    cost: fc.integer({ min: 1, max: 9 }),
    place: fc.nat(1),
    clockAgeMs: fc.nat(5),
  }),
  deed(4, 'next', { place: fc.nat(1) }),
  ...(['start', 'end', 'leave', 'back'] as const).map((kind) => deed(1, kind, { at: fc.nat() })),
  deed(4, 'wait', {
    // After a second or two groups that hold nothing are forgotten.
    ms: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 40 }) }, fc.constant(1100)),
  }),
  deed(4, 'replan', { to: termsOf }),
)

/** Checks the promise of a limit over every interval between two starts. */
function expectRate(starts: number[], limit: number, windowMs: number, isSliding: boolean): void {
  const sorted = starts.toSorted((a, b) => a - b)
  for (const [i, from] of sorted.entries()) {
    for (let j = i; j < sorted.length; j++) {
      const ms = sorted[j]! - from
      const most = isSliding ? (ms < windowMs ? limit : Infinity) : limit + (limit * ms) / windowMs
      expect(j - i + 1).toBeLessThanOrEqual(most + 1e-6)
    }
  }
}

law(
  'no limit is broken, nothing is lost, none waits in vain, and nothing stays',
  [termsOf, fc.array(step, { maxLength: 150 }), fc.boolean()],
  (atFirst, steps, isFixed) => {
    let terms = atFirst
    const queue = queueOf(optionsOf(terms), 2, isFixed)
    const isLimited = terms.groupConcurrency !== undefined || terms.rate !== undefined
    expect(queue.isOpen).toBe(isFixed && !isLimited)
    const waiting = new Set<Item>()
    const released = new Set<Item>()
    const starts = new Map<string, number[]>()
    // Released before the present rate was.
    const uncounted = new Set<Item>()
    const ages = [-1, -1]
    let now = 1000
    let sequence = 0
    let offered = 0
    let gone = 0
    const start = (item: Item) => {
      if (item.startedAtMs > 0) return
      item.startedAtMs = now
      if (uncounted.has(item)) return
      starts.set(item.seat.group, [...(starts.get(item.seat.group) ?? []), now])
    }
    const end = (item: Item) => {
      released.delete(item)
      gone++
      item.seat.leave(item.startedAtMs)
    }
    const runsOf = ({ seat }: Item) =>
      [...released].filter((one) => one.seat.group === seat.group).length
    const mostOf = () => terms.groupConcurrency ?? Number.POSITIVE_INFINITY
    const expectRates = () => {
      if (terms.rate === undefined) return
      const [limit, algorithm] = terms.rate
      for (const all of starts.values()) expectRate(all, limit, 50, algorithm === 'sliding-window')
    }
    const release = (item: Item) => {
      const { place, sequence: age } = item
      // Those released before stay ahead of it, and its rank is that of all.
      expect(item.rank).toBe(128)
      expect(item.seat.isReleased).toBe(true)
      expect(age).toBeGreaterThanOrEqual(ages[place]!)
      ages[place] = age
      released.add(item)
      uncounted.delete(item)
      expect(runsOf(item)).toBeLessThanOrEqual(mostOf())
    }
    const take = (place: number) => {
      queue.advance(now)
      const item = queue.next(place, now)
      if (item === undefined) {
        // Work conservation: without a rate only the maximum is in the way.
        for (const one of terms.rate === undefined ? waiting : []) {
          if (one.place === place) expect(runsOf(one)).toBeGreaterThanOrEqual(mostOf())
        }
        return undefined
      }
      expect(waiting.delete(item)).toBe(true)
      expect(item.place).toBe(place)
      // Within its group the most urgent goes first, and of those the oldest.
      const { group, number } = item.seat
      const rank = number === undefined ? item.rank : item.seat.rank
      for (const other of waiting) {
        if (other.place !== place || other.seat.group !== group) continue
        const behind = other.rank - rank || other.sequence - (number ?? item.sequence)
        expect(behind).toBeGreaterThan(0)
      }
      release(item)
      return item
    }
    const pick = (set: Set<Item>, at: number) => [...set][at % Math.max(1, set.size)]
    for (const one of steps) {
      if (one.kind === 'offer') {
        const { group, cost, rank, place, clockAgeMs } = one
        const item = new Item(`g${group}`, sequence++, cost, rank, place)
        offered++
        if (queue.passes(item, place, now - clockAgeMs)) {
          expect(waiting.size).toBe(0)
          release(item)
          continue
        }
        waiting.add(item)
        queue.offer(item, place, now)
      } else if (one.kind === 'next') take(one.place)
      else if (one.kind === 'wait') now += one.ms
      else if (one.kind === 'replan') {
        if (isFixed) continue
        if (String(one.to.rate) !== String(terms.rate)) {
          expectRates()
          starts.clear()
          for (const item of released) uncounted.add(item)
        }
        terms = one.to
        const plan = planOf(optionsOf(terms))
        queue.replan(plan, plan.groups, now)
      } else if (one.kind === 'leave') {
        const item = pick(waiting, one.at)
        if (item === undefined) continue
        waiting.delete(item)
        gone++
        item.seat.leave()
      } else {
        const item = pick(released, one.at)
        if (item === undefined) continue
        if (one.kind === 'start') start(item)
        else if (one.kind === 'end') end(item)
        else if (item.startedAtMs === 0) {
          released.delete(item)
          queue.giveBack(item, item.place, item.cost)
          waiting.add(item)
          queue.offer(item, item.place, now)
        }
      }
      expect(queue.size).toBe(waiting.size)
      if (!queue.isOpen) continue
      // Without limits only groups are known of which something waits.
      const known = new Set([...waiting].map(({ seat }) => seat.group))
      expect(queue.groupCount).toBe(known.size)
    }
    // All that is released starts and ends; then all that waits comes, as limits allow.
    for (let rounds = 0; waiting.size > 0 || released.size > 0; rounds++) {
      expect(rounds).toBeLessThan(5000)
      for (const item of released) start(item)
      for (const item of released) end(item)
      let took = 0
      for (const place of [0, 1]) while (take(place) !== undefined) took++
      if (took > 0 || waiting.size === 0) continue
      // Something waits and nothing runs, so only the clock is in the way.
      expect(terms.rate).toBeDefined()
      expect(queue.changesAtMs).toBeGreaterThan(now)
      expect(queue.changesAtMs).toBeLessThan(Infinity)
      now = queue.changesAtMs
    }
    expect(gone).toBe(offered)
    expectRates()
    // Once no start counts any more nothing is known of any group.
    for (let i = 1; i <= 4; i++) queue.advance(now + i * 10_000)
    expect(queue.groupCount).toBe(0)
    expect(queue.changesAtMs).toBe(Infinity)
  },
)
