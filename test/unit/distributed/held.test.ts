// Held: one at a time and in the order of its key, whatever leaves; a key opens only when
// everything of it that left is back, and the answer that may have been given before that is in.

import { expect, test } from 'vitest'
import {
  type HeldCommand,
  HeldCommands,
  type HeldState,
} from '../../../src/distributed/work/held.ts'
import { WorkerLane } from '../../../src/distributed/work/lane.ts'
import { planLane } from '../../../src/model/lane.ts'
import { deliveryOf } from '../../support/envelopes.ts'
import { UNHEARD } from '../../support/worker-events.ts'

/** Deliveries of one lane, by name: the name is the fence, too. */
class World {
  progressed = 0
  readonly lane = new WorkerLane(planLane('lane', {}), false, undefined)
  readonly held: HeldCommands
  readonly #byName = new Map<string, HeldCommand>()

  constructor(keepsKeyOrder = true) {
    const events = { ...UNHEARD, progressed: () => void this.progressed++ }
    this.held = new HeldCommands(events, 2, keepsKeyOrder)
    this.held.isAccepting = true
  }

  add(name: string, keyOf: string | null = 'key', partitionId = 0): HeldState {
    const key = keyOf ?? undefined
    const held = this.held.add(deliveryOf(name, { partitionId, key }), this.lane)
    this.#byName.set(name, held)
    return held.state
  }

  get(name: string): HeldCommand {
    return this.#byName.get(name)!
  }

  /** Ends one; gives the name of the next of its key. */
  end(name: string): string | undefined {
    this.held.end(this.get(name))
    return this.held.passOn(this.get(name))?.envelope.id
  }

  /** Gives one back; gives the names of those behind it. */
  leave(name: string): string[] {
    const behind = this.held.leave(this.get(name))
    this.held.end(this.get(name))
    return behind.map(({ envelope }) => envelope.id)
  }

  settle(name: string): void {
    this.held.settled(this.get(name), 'done')
  }

  /** Whether a fresh command of a key must not start. */
  isClosed(key: string): boolean {
    const name = `probe ${Math.max(this.held.size, 0)} ${key}`
    this.add(name, key)
    const isClosed = this.held.isClosed(this.get(name))
    this.end(name)
    this.settle(name)
    return isClosed
  }
}

function world(...names: string[]): World {
  const made = new World()
  for (const name of names) made.add(name)
  return made
}

test('the first goes at once, the others one after another', () => {
  const chains = new World()
  const states = ['a', 'b', 'c'].map((name) => chains.add(name))
  expect(states).toEqual(['READY', 'CHAINED', 'CHAINED'])
  expect(chains.add('x', 'other')).toBe('READY')
  expect([chains.held.chained, chains.lane.ready]).toEqual([2, 2])
  expect(chains.end('a')).toBe('b')
  expect(chains.held.passOn(chains.get('a'))).toBeUndefined()
  expect([chains.held.chained, chains.lane.ready]).toEqual([1, 2])
  expect([chains.end('b'), chains.end('c')]).toEqual(['c', undefined])
  expect(chains.add('d')).toBe('READY')
  expect(chains.held.chained).toBe(0)
})

test('one that leaves out of turn takes those behind it along', () => {
  const chains = world('a', 'b', 'c', 'd')
  expect(chains.held.lose(chains.get('c'), false)).toEqual([chains.get('d')])
  expect(chains.leave('d')).toEqual([])
  expect(chains.held.chained).toBe(1)
  expect(chains.held.leave(chains.get('c'))).toEqual([])
  expect(chains.leave('a')).toEqual(['b'])
  expect(chains.leave('b')).toEqual([])
  expect(chains.held.chained).toBe(0)
  expect(chains.add('e')).toBe('READY')
  expect(chains.lane.ready).toBe(1)
})

test('commands without a key, or of a queue without an order of keys, never wait', () => {
  const keyless = new World()
  expect([keyless.add('a', null), keyless.add('b', null)]).toEqual(['READY', 'READY'])
  const unordered = new World(false)
  expect([unordered.add('a'), unordered.add('b')]).toEqual(['READY', 'READY'])
  expect(unordered.leave('a')).toEqual([])
  expect([unordered.held.isReordering, unordered.isClosed('key')]).toEqual([false, false])
})

test('a key is closed from when something of it leaves until it is back', () => {
  const keys = world('a')
  expect([keys.leave('a'), keys.held.isReordering]).toEqual([[], true])
  expect([keys.isClosed('key'), keys.isClosed('other')]).toEqual([true, false])
  const { progressed } = keys
  keys.settle('a')
  expect(keys.progressed).toBe(progressed + 1)
  expect([keys.isClosed('key'), keys.held.isReordering]).toEqual([false, false])
})

test('it stays closed until all of it is back', () => {
  const keys = world('a', 'b')
  expect(keys.leave('a')).toEqual(['b'])
  keys.leave('b')
  keys.settle('a')
  expect(keys.isClosed('key')).toBe(true)
  keys.settle('b')
  expect(keys.isClosed('key')).toBe(false)
})

test('what came back while the queue was asked opens its key once the answer is in', () => {
  const keys = world('a')
  keys.leave('a')
  keys.held.asking([1])
  expect([keys.held.isAskedFor(0), keys.held.isAskedFor(1)]).toEqual([false, true])
  keys.settle('a')
  // The answer may have been given before: it may hold something younger and not the older one.
  expect(keys.isClosed('key')).toBe(true)
  keys.held.asked()
  expect([keys.isClosed('key'), keys.held.isAskedFor(1)]).toEqual([false, false])
})

test('what leaves out of that answer keeps its key closed beyond it', () => {
  const keys = world('a')
  keys.leave('a')
  keys.held.asking([0])
  keys.settle('a')
  keys.add('b')
  keys.leave('b')
  keys.held.asked()
  expect(keys.isClosed('key')).toBe(true)
  keys.settle('b')
  expect(keys.isClosed('key')).toBe(false)
})

test('a lease that is lost while its command runs is given back once the run is over', () => {
  const all = world('a', 'b')
  const a = all.get('a')
  all.held.submit(a)
  expect(all.held.lose(a, false)).toEqual([all.get('b')])
  all.leave('b')
  expect([all.held.size, all.held.submitted, all.lane.ready]).toEqual([1, 1, 0])
  expect(all.held.lose(a, false)).toBeUndefined()
  all.held.runEnded()
  all.held.end(a)
  all.settle('b')
  expect([all.held.size, all.isClosed('key')]).toEqual([0, true])
  // Another worker must not get the partition before.
  expect(all.held.countIn(0)).toBe(1)
  all.settle('a')
  expect([all.isClosed('key'), a.state, all.held.countIn(0)]).toEqual([false, 'GONE', 0])
})

test('a lease that another worker has closes no key', () => {
  const all = world('a')
  expect(all.held.lose(all.get('a'), true)).toEqual([])
  expect([all.isClosed('key'), all.held.isReordering]).toEqual([false, false])
  expect(all.held.tally.lost).toBe(1)
})

test('every transition that the table does not name is refused', () => {
  const all = world('a', 'b')
  const { held } = all
  const [a, b] = [all.get('a'), all.get('b')]
  expect(() => held.submit(b)).toThrow('only a ready delivery')
  expect(() => held.unsubmit(a)).toThrow('only a submitted delivery')
  expect(() => held.passOn(a)).toThrow('the first of a key ends first')
  held.submit(a)
  expect(() => held.submit(a)).toThrow('only a ready delivery')
  held.unsubmit(a)
  held.end(a)
  expect(() => held.end(a)).toThrow('a delivery ends once')
  expect(held.lose(a, false)).toBeUndefined()
  held.settled(a, 'stale')
  held.settled(a, 'stale')
  expect([held.size, held.tally.stale]).toEqual([1, 1])
  expect(() => held.end(a)).toThrow('a delivery ends once')
})

test('it is idle once nothing is held and nothing runs', async () => {
  const all = world('a')
  all.held.submit(all.get('a'))
  let isIdle = false
  const idle = all.held.idle().then(() => {
    isIdle = true
  })
  all.end('a')
  all.settle('a')
  await Promise.resolve()
  expect(isIdle).toBe(false)
  all.held.runEnded()
  all.held.progressed()
  await idle
  await all.held.idle()
})
