// Goal: a handler may wait exactly for those commands that can still run.
// Method: random lives of small systems (handlers start, wait, start what is waited for, end early
// or in full) against brute force: let everything that can run do so and finish, over and over, and
// see whether the command in question was among it.

import fc from 'fast-check'
import { afterAll, expect } from 'vitest'
import {
  type Wait,
  type WaitCapacity,
  WaitGraph,
} from '../../src/coordinator/admission/wait-graph.ts'
import { lawOf } from '../support/law.ts'

const law = lawOf(300)

/** A command, from when somebody waits for it until it has ended. */
interface Command {
  readonly needs: number
  readonly lane: number
  readonly key: string | undefined
  readonly group: string | undefined
  /** Where it runs; undefined while it does not. */
  partition: number | undefined
  isDone: boolean
  readonly waitsFor: Command[]
  /** What the graph was told of those who wait for it. */
  readonly waits: Wait[]
}

/** What is free if some commands run. */
class Room {
  readonly runs: number[]
  readonly slots: number[]
  readonly keys = new Set<string>()
  /** Slots that are taken, by lane and group. */
  readonly groups = new Map<string, number>()
  readonly #groupSlots: readonly number[]

  constructor(
    { partitions, runs, laneSlots, groupSlots }: WaitCapacity,
    running: Iterable<Command>,
  ) {
    this.runs = new Array<number>(partitions).fill(runs)
    this.slots = [...laneSlots]
    this.#groupSlots = groupSlots
    for (const one of running) this.take(one, 1)
  }

  take({ partition, lane, key, group }: Command, count: 1 | -1): void {
    this.runs[partition!]! -= count
    this.slots[lane]! -= count
    const taken = this.groups.get(`${lane}/${group}`) ?? 0
    if (group !== undefined) this.groups.set(`${lane}/${group}`, taken + count)
    if (key !== undefined && count === 1) this.keys.add(`${partition}/${key}`)
    else this.keys.delete(`${partition}/${key}`)
  }

  /** Where a command could run; undefined if nowhere. */
  placeOf({ needs, lane, key, group }: Command): number | undefined {
    const inGroup = this.groups.get(`${lane}/${group}`) ?? 0
    if (this.slots[lane]! < 1 || inGroup >= this.#groupSlots[lane]!) return undefined
    const places = needs < 0 ? [...this.runs.keys()] : [needs]
    return places.find((place) => this.runs[place]! > 0 && !this.keys.has(`${place}/${key}`))
  }
}

class System {
  readonly capacity: WaitCapacity
  readonly graph: WaitGraph
  /** Not done, running or not. */
  commands: Command[] = []

  constructor(capacity: WaitCapacity) {
    this.capacity = capacity
    this.graph = new WaitGraph(capacity)
  }

  get running(): Command[] {
    return this.commands.filter(({ partition }) => partition !== undefined)
  }

  /** Only what has a home may have a key, or all where there is but one partition. */
  command(needs: number, lane: number, key?: string, group?: string): Command {
    const mayHaveKey = needs >= 0 || this.capacity.partitions === 1
    return {
      needs,
      lane,
      key: mayHaveKey ? key : undefined,
      group,
      partition: undefined,
      isDone: false,
      waitsFor: [],
      waits: [],
    }
  }

  /** Whether a command ends at last if everything that can run does. */
  canEnd(asked: Command): boolean {
    const left = new Set([...this.commands, asked])
    const room = new Room(this.capacity, this.running)
    for (let before = -1; before !== left.size; ) {
      before = left.size
      for (const one of left) {
        if (one.partition === undefined) {
          if (room.placeOf(one) !== undefined) left.delete(one)
        } else if (!one.waitsFor.some((other) => left.has(other))) {
          left.delete(one)
          room.take(one, -1)
        }
      }
    }
    return !left.has(asked)
  }

  /** A new command that nobody waits for starts, if it can. */
  root(command: Command): void {
    this.commands.push(command)
    if (!this.start(command)) this.commands.pop()
  }

  start(command: Command): boolean {
    const place = new Room(this.capacity, this.running).placeOf(command)
    command.partition = place
    return place !== undefined
  }

  wait(holder: Command, command: Command): void {
    const wait: Wait = {
      holder,
      awaited: () => command,
      holdsPartition: holder.partition!,
      holdsLane: holder.lane,
      holdsKey: holder.key,
      holdsGroup: holder.group,
      isOver: () => holder.isDone,
      needsPartition: command.needs,
      needsLane: command.lane,
      needsKey: command.key,
      needsGroup: command.group,
    }
    holder.waitsFor.push(command)
    this.graph.purge()
    const isAccepted = this.graph.add(wait)
    expect(isAccepted).toBe(this.canEnd(command))
    if (!isAccepted) {
      holder.waitsFor.pop()
      return
    }
    command.waits.push(wait)
    this.commands.push(command)
  }

  /** A handler ends, perhaps without waiting for what it submitted. */
  end(command: Command): void {
    command.isDone = true
    this.commands = this.commands.filter((one) => one !== command)
    for (const wait of command.waits) this.graph.remove(wait)
  }

  checkHeld(): void {
    for (let partition = 0; partition < this.capacity.partitions; partition++) {
      const waiting = this.running.filter(
        (one) => one.partition === partition && one.waitsFor.some(({ isDone }) => !isDone),
      )
      expect(this.graph.isHeld(partition)).toBe(waiting.length >= this.capacity.runs)
    }
  }
}

const capacities: fc.Arbitrary<WaitCapacity> = fc.record({
  partitions: fc.integer({ min: 1, max: 3 }),
  runs: fc.integer({ min: 1, max: 2 }),
  laneSlots: fc.array(fc.constantFrom(1, 2, Number.POSITIVE_INFINITY), {
    minLength: 1,
    maxLength: 3,
  }),
  groupSlots: fc.array(fc.constantFrom(1, 2, Number.POSITIVE_INFINITY), {
    minLength: 3,
    maxLength: 3,
  }),
})

const steps = fc.array(
  fc.record({
    what: fc.constantFrom('root', 'wait', 'wait', 'wait', 'start', 'end', 'leave'),
    who: fc.nat(1000),
    needs: fc.nat(1000),
    lane: fc.nat(1000),
    key: fc.constantFrom(undefined, undefined, 'k', 'l'),
    group: fc.constantFrom(undefined, undefined, 'g', 'h'),
  }),
  { maxLength: 40, size: 'max' },
)

function pick<T>(all: readonly T[], choice: number): T | undefined {
  return all.length === 0 ? undefined : all[choice % all.length]
}

const seen = { accepted: 0, refused: 0 }

law('a wait is refused if it could never end, else not', [capacities, steps], (capacity, life) => {
  const system = new System(capacity)
  for (const { what, who, needs, lane, key, group } of life) {
    const home = (needs % (capacity.partitions + 1)) - 1
    const command = system.command(home, lane % capacity.laneSlots.length, key, group)
    const running = system.running
    if (what === 'root') system.root(command)
    if (what === 'wait') {
      const holder = pick(running, who)
      if (holder === undefined) continue
      const before = system.commands.length
      system.wait(holder, command)
      if (system.commands.length > before) seen.accepted++
      else seen.refused++
    }
    if (what === 'start') {
      const waiting = system.commands.filter(({ partition }) => partition === undefined)
      const next = pick(waiting, who)
      if (next !== undefined) system.start(next)
    }
    if (what === 'end' || what === 'leave') {
      const isFree = ({ waitsFor }: Command) => waitsFor.every(({ isDone }) => isDone)
      const ending = pick(what === 'end' ? running.filter(isFree) : running, who)
      if (ending !== undefined) system.end(ending)
    }
  }
})

// It says something only if both happen.
afterAll(() => expect([seen.accepted > 30, seen.refused > 30]).toEqual([true, true]))

law('a partition is held while each of its runs waits', [capacities, steps], (capacity, life) => {
  const system = new System(capacity)
  for (const { what, who, needs, lane, key, group } of life) {
    const home = (needs % (capacity.partitions + 1)) - 1
    const command = system.command(home, lane % capacity.laneSlots.length, key, group)
    if (what === 'root') system.root(command)
    const holder = pick(system.running, who)
    if (holder === undefined) continue
    if (what === 'wait') system.wait(holder, command)
    // Only who waits for nothing ends: the graph hears of the others with the next wait.
    const isFree = holder.waitsFor.every(({ isDone }) => isDone)
    if (what === 'end' && isFree) system.end(holder)
    system.checkHeld()
  }
})
