// Goal: at most `max` commands run, and never does a free slot or a token wait while every
// partition that wants it sleeps unrung. Method: partitions are stepped by hand through what a duty
// cycle does with its gate (look, announce sleep, join the waiters, look again, sleep; run, leave),
// in every order of a bounded length, with a death or an unrelated command in every place; then all
// are stepped until none can go on, and nothing may be left. Some partitions have a handler under
// way that goes on once they sleep: they never look again, rung or not.

import { beforeEach, expect, test, vi } from 'vitest'
import { attachCommons, CoordinatorCommons } from '../../../src/memory/commons.ts'
import { Bell, type BellRinger } from '../../../src/memory/doorbell.ts'
import { LaneGate } from '../../../src/memory/lane-gate.ts'
import { type LaneCells, layOutCommons } from '../../../src/memory/layout.ts'
import { ownerOf } from '../../../src/memory/waiters.ts'

const clock = vi.hoisted(() => ({ ms: 1000 }))
vi.mock('../../../src/base/clock.ts', () => ({ nowMs: () => clock.ms }))

beforeEach(() => {
  clock.ms = 1000
})

const rate = { limit: 1, windowMs: 10, isSliding: false, isPerPartition: false }
const slots = (owners: number): LaneCells => ({ owners, minConcurrency: 0, rate: undefined })

type State =
  | 'look'
  | 'announce'
  | 'join'
  | 'last look'
  | 'park'
  | 'asleep'
  | 'run'
  | 'busy'
  | 'dead'

/** A partition and its duty cycle, one step at a time. */
class Partition {
  state: State = 'look'
  /** Commands of the lane that it has. */
  left: number
  /** Unrelated commands that it has. */
  others = 0
  /** Whether it has a handler under way that goes on once it sleeps. */
  readonly isBusy: boolean
  armedMs = Number.POSITIVE_INFINITY
  gate!: LaneGate
  bell!: BellRinger
  incarnation = 0
  readonly #world: World
  readonly #index: number
  #dueMs = Number.POSITIVE_INFINITY
  #slot = 0

  constructor(world: World, index: number, left: number, isBusy: boolean) {
    this.isBusy = isBusy
    this.#world = world
    this.#index = index
    this.left = left
    this.spawn()
  }

  spawn(): void {
    const { commons, cells, partitions } = this.#world
    this.incarnation++
    this.bell = commons.openBell(this.#index)
    const attached = attachCommons(commons.memory, partitions, [cells])
    this.gate = new LaneGate(attached, [cells], this.#index, this.incarnation, this.bell.word)
    this.state = 'look'
    this.armedMs = Number.POSITIVE_INFINITY
  }

  die(): void {
    if (this.state === 'run') this.#world.running--
    this.state = 'dead'
  }

  get isRung(): boolean {
    return this.bell.isAwake
  }

  get hasWork(): boolean {
    if (this.isBusy && this.state === 'asleep') return false
    return this.left > 0 || this.state === 'run' || this.state === 'dead'
  }

  /** Whether it can do a step. */
  get canStep(): boolean {
    if (this.state !== 'asleep') return true
    return !this.isBusy && (this.isRung || this.armedMs <= clock.ms)
  }

  step(): void {
    const { gate } = this
    const { words } = this.#world
    switch (this.state) {
      case 'look':
        Atomics.store(words, this.bell.word, Bell.AWAKE)
        if (!this.#look()) this.state = 'announce'
        break
      case 'announce':
        Atomics.store(words, this.bell.word, Bell.ASLEEP)
        this.state = 'join'
        break
      case 'join':
        this.#dueMs = gate.joinWaiters(this.isBusy)
        this.state = 'last look'
        break
      case 'last look':
        if (!this.#look()) this.state = gate.hasJoinedAll ? 'park' : 'look'
        break
      case 'park':
        if (this.#dueMs !== Number.POSITIVE_INFINITY) this.armedMs = this.#dueMs
        this.state = 'asleep'
        break
      case 'asleep':
        if (!this.canStep) break
        if (this.armedMs <= clock.ms) this.armedMs = Number.POSITIVE_INFINITY
        this.state = 'look'
        break
      case 'run':
        this.#world.running--
        gate.leave(0, this.#slot)
        this.state = 'look'
        break
      case 'busy':
        this.state = 'look'
        break
      case 'dead':
        this.#world.commons.closeBell(this.bell)
        this.#world.commons.reclaim(this.#index, this.incarnation)
        this.spawn()
    }
  }

  #look(): boolean {
    const { gate } = this
    gate.beginLook()
    if (this.others > 0) {
      this.others--
      gate.leaveWaiters()
      this.state = 'busy'
      return true
    }
    if (this.left === 0 || !gate.enter(0)) return false
    this.left--
    this.#slot = gate.slot
    this.#world.started()
    gate.leaveWaiters()
    this.state = 'run'
    return true
  }
}

class World {
  readonly cells: LaneCells
  readonly partitions: number
  readonly commons: CoordinatorCommons
  readonly words: Int32Array
  readonly all: readonly Partition[]
  running = 0
  runningMost = 0
  startedCount = 0

  constructor(cells: LaneCells, commands: readonly number[], busy: readonly number[] = []) {
    this.cells = cells
    this.partitions = commands.length
    this.commons = new CoordinatorCommons(this.partitions, [cells])
    this.words = new Int32Array(this.commons.memory)
    this.all = commands.map((left, index) => new Partition(this, index, left, busy.includes(index)))
  }

  started(): void {
    this.running++
    this.startedCount++
    this.runningMost = Math.max(this.runningMost, this.running)
    const { owners } = this.cells
    // Asserted without `expect`, which would take most of the time of an exploration.
    if (owners > 0 && this.running > owners) throw new Error(`${this.running} of ${owners} run`)
  }

  /** Rings a partition for an unrelated command, as the coordinator does. */
  send(partition: Partition): void {
    partition.others++
    Atomics.store(this.words, partition.bell.word, Bell.AWAKE)
  }

  /** What is free although every partition that wants it sleeps and nothing will wake it. */
  get isStuck(): boolean {
    const wanting = this.all.filter(
      ({ left, state, isBusy }) => (left > 0 && !(isBusy && state === 'asleep')) || state === 'run',
    )
    if (!wanting.some(({ left }) => left > 0)) return false
    // The supervisor sees to what a dead one leaves, and one that is awake may still have to tell
    // of a slot that it freed: it does so before it sleeps or turns to other work.
    if (this.all.some(({ state }) => state !== 'asleep')) return false
    const hasTimer = wanting.some(({ armedMs }) => armedMs !== Number.POSITIVE_INFINITY)
    return !hasTimer && wanting.every(({ state, isRung }) => state === 'asleep' && !isRung)
  }

  /** Steps all in turn until no command is left; the clock goes on when nobody can. */
  finish(): void {
    for (let steps = 0; this.all.some((one) => one.hasWork); steps++) {
      if (steps > 2_000) throw new Error('the partitions go on for ever')
      const movable = this.all.filter((partition) => partition.canStep)
      for (const partition of movable) partition.step()
      if (movable.length > 0) continue
      if (this.isStuck) throw new Error('a wake was lost')
      const armed = this.all.filter(({ isBusy }) => !isBusy)
      clock.ms = Math.min(...armed.map(({ armedMs }) => armedMs))
    }
  }
}

interface Event {
  readonly name: 'nothing' | 'death' | 'other work' | 'time'
  readonly partition: number
}

/** Runs every order of `depth` steps, with the event before each of them in turn. */
function exploreOrders(
  cells: LaneCells,
  commands: readonly number[],
  depth: number,
  events: readonly Event[],
  busy: readonly number[] = [],
): number {
  const total = commands.reduce((sum, count) => sum + count)
  let orders = 0
  for (const event of events) {
    for (let at = 0; at < (event.name === 'nothing' ? 1 : depth); at++) {
      for (let order = 0; order < commands.length ** depth; order++) {
        clock.ms = 1000
        const world = new World(cells, commands, busy)
        let rest = order
        const done: (string | number)[] = []
        try {
          for (let step = 0; step < depth; step++) {
            if (step === at && event.name !== 'nothing') {
              done.push(`${event.name} ${event.partition}`)
              if (event.name === 'death') world.all[event.partition]!.die()
              if (event.name === 'other work') world.send(world.all[event.partition]!)
              if (event.name === 'time') clock.ms += 15
            }
            const index = rest % commands.length
            rest = Math.floor(rest / commands.length)
            done.push(index)
            world.all[index]!.step()
            if (world.isStuck) throw new Error('a wake was lost')
          }
          world.finish()
          const kept = world.all.reduce((sum, one) => sum + (one.isBusy ? one.left : 0), 0)
          if (world.startedCount !== total - kept) throw new Error('a command was not started')
        } catch (error) {
          throw new Error(`after the steps ${done.join(', ')}`, { cause: error })
        }
        orders++
      }
    }
  }
  return orders
}

const nothing: Event = { name: 'nothing', partition: -1 }
const time: Event = { name: 'time', partition: -1 }
const died = (partition: number): Event => ({ name: 'death', partition })
const sent = (partition: number): Event => ({ name: 'other work', partition })
const both = [0, 1].flatMap((partition) => [died(partition), sent(partition)])
const rated = { ...slots(0), rate }
const slotAndRate = { ...slots(1), rate }

test.each<[string, LaneCells, number[], number, Event[]]>([
  [
    'a slot that is freed while another sets its bit is not missed',
    slots(1),
    [2, 2],
    13,
    [nothing],
  ],
  ['one that is woken and dies or turns to other work passes it on', slots(1), [2, 1], 9, both],
  ['three hand one slot on', slots(1), [1, 1, 1], 7, [nothing, died(1), sent(1)]],
  ['three hand two slots on', slots(2), [1, 2, 1], 7, [nothing, died(1), sent(1)]],
  ['some partition waits for the next token', rated, [2, 2], 9, [nothing, time, ...both]],
  ['a slot and a rate are never both free', slotAndRate, [2, 2], 9, [nothing, time, ...both]],
  ['three with a slot and a rate run all', slotAndRate, [1, 1, 1], 6, [nothing, time, died(0)]],
])('in any order of the steps, %s', (_, cells, commands, depth, events) => {
  const places = events.reduce((sum, { name }) => sum + (name === 'nothing' ? 1 : depth), 0)
  expect(exploreOrders(cells, commands, depth, events)).toBe(places * commands.length ** depth)
})

test.each([
  ['a slot', slots(1)],
  ['two slots', slots(2)],
  ['a rate', rated],
  ['a slot and a rate', slotAndRate],
])('with %s a busy partition that never looks again keeps nothing from the others', (_, cells) => {
  for (const busy of [[0], [1], [0, 1]]) {
    exploreOrders(cells, [1, 1, 1], 6, [nothing, time, sent(2)], busy)
  }
  exploreOrders(cells, [2, 1, 1], 7, [nothing], [1])
  exploreOrders(cells, [1, 2, 1, 1], 5, [nothing], [1, 2])
})

test('partitions with limits of their own each wait for their own next token', () => {
  const own = { ...slots(0), rate: { ...rate, isPerPartition: true } }
  exploreOrders(own, [2, 2], 8, [nothing, time, ...both])
  clock.ms = 1000
  const world = new World(own, [2, 2])
  // The first starts 4 ms before the second, so its next token comes 4 ms earlier.
  const [first, second] = world.all as [Partition, Partition]
  const untilAsleep = (partition: Partition): void => {
    while (partition.state !== 'asleep') partition.step()
  }
  untilAsleep(first)
  clock.ms = 1004
  untilAsleep(second)
  expect([first.armedMs, second.armedMs]).toEqual([1010, 1014])
})

test('one partition at a time waits for the next token, and hands on when it has taken it', () => {
  const world = new World({ ...slots(0), rate }, [2, 2, 2])
  const untilAsleep = (): void => {
    for (let i = 0; i < 10; i++) for (const one of world.all) if (one.canStep) one.step()
  }
  untilAsleep()
  expect(world.startedCount).toBe(1)
  expect(world.all.filter(({ armedMs }) => armedMs === 1010)).toHaveLength(1)
  expect(world.all.filter(({ armedMs }) => armedMs === Infinity)).toHaveLength(2)
  clock.ms = 1010
  untilAsleep()
  expect(world.startedCount).toBe(2)
  expect(world.all.filter(({ armedMs }) => armedMs === 1020)).toHaveLength(1)
})

test('a partition that waits for a slot does not wait for a token too: nobody polls', () => {
  const world = new World({ ...slots(1), rate }, [1, 1])
  const [first, second] = world.all as [Partition, Partition]
  first.step()
  expect(first.state).toBe('run')
  clock.ms = 2000
  for (let i = 0; i < 6; i++) second.step()
  expect([second.state, second.armedMs]).toEqual(['asleep', Infinity])
  first.step()
  expect(second.isRung).toBe(true)
})

test('a minimum counts what all partitions run, and what a dead one ran counts no more', () => {
  const cells: LaneCells = { owners: 0, minConcurrency: 2, rate: undefined }
  const world = new World(cells, [1, 1])
  const [first, second] = world.all as [Partition, Partition]
  expect(first.gate.isUnderMin(0)).toBe(true)
  first.step()
  expect(second.gate.isUnderMin(0)).toBe(true)
  second.step()
  expect(first.gate.isUnderMin(0)).toBe(false)
  first.die()
  first.step()
  expect(second.gate.isUnderMin(0)).toBe(true)
  second.step()
  expect(first.gate.isUnderMin(0)).toBe(true)
})

test('a command that is let in is told the reading of the clock that its token was stamped with', () => {
  const world = new World({ ...slots(1), rate: { ...rate, limit: 2 } }, [2])
  clock.ms = 1234.567_891
  const { gate } = world.all[0]!
  expect(gate.enter(0)).toBe(true)
  expect(gate.startedAtMs).toBe(1234.567_891)
  expect(gate.enter(0)).toBe(false)
  gate.leave(0, gate.slot)
  expect(gate.enter(0)).toBe(true)
})

test('a refused token leaves no slot taken', () => {
  const world = new World({ ...slots(2), rate }, [1, 1])
  const [first, second] = world.all as [Partition, Partition]
  first.step()
  second.step()
  expect([first.state, second.state]).toEqual(['run', 'announce'])
  const { owners, ownerCount } = layOutCommons(2, [world.cells]).lanes[0]!
  const taken = world.words.slice(owners, owners + ownerCount).filter((owner) => owner !== 0)
  expect([...taken]).toEqual([ownerOf(0, 1)])
})
