// Goal: the heap gives the first of what it holds whatever was added, moved and removed before, its
// items always know their places, and no step costs more than the logarithm of what is there.
// Method: random operations beside a plain list; costs are counted in comparisons, not in time.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type HeapPlace, IndexedHeap } from '../../src/schedule/indexed-heap.ts'
import { deed, lawOf } from '../support/law.ts'

const law = lawOf(300)

interface Item {
  readonly id: number
  value: number
  readonly home: HeapPlace
}

const byValue = (a: Item, b: Item): boolean =>
  a.value < b.value || (a.value === b.value && a.id < b.id)

const value = fc.nat(30)
const operation = fc.oneof(
  deed(1, 'put', { value }),
  deed(1, 'move', { pick: fc.nat(), value }),
  deed(1, 'remove', { pick: fc.nat() }),
  deed(1, 'pop'),
)

const lists = fc.array(operation, { maxLength: 120 })

law('whatever is done, the heap has the first of what a list would hold', [lists], (operations) => {
  const heap = new IndexedHeap<Item>(byValue, (item) => item.home)
  const all: Item[] = []
  let held: Item[] = []
  const first = () => held.toSorted((a, b) => (byValue(a, b) ? -1 : 1))[0]
  for (const step of operations) {
    if (step.kind === 'put') {
      const item = { id: all.length, value: step.value, home: { place: -1 } }
      all.push(item)
      held.push(item)
      heap.put(item)
    } else if (step.kind === 'pop') {
      const expected = first()
      expect(heap.pop()).toBe(expected)
      held = held.filter((item) => item !== expected)
    } else if (all.length > 0) {
      // Also items that left before: putting one adds it again, removing one does nothing.
      const item = all[step.pick % all.length]!
      if (step.kind === 'move') {
        item.value = step.value
        if (!held.includes(item)) held.push(item)
        heap.put(item)
      } else {
        heap.remove(item)
        held = held.filter((other) => other !== item)
      }
    }
    expect(heap.size).toBe(held.length)
    expect(new Set(heap.values())).toEqual(new Set(held))
    expect(heap.peek()).toBe(first())
    const places = held.map((item) => item.home.place).sort((a, b) => a - b)
    expect(places).toEqual(held.map((_, place) => place))
    for (const item of all) if (!held.includes(item)) expect(item.home.place).toBe(-1)
  }
})

test('an item can be in two heaps, each with a place of its own', () => {
  const items = [4, 1, 3, 2].map((value) => ({ value, up: { place: -1 }, down: { place: -1 } }))
  type Both = (typeof items)[number]
  const rise = new IndexedHeap<Both>(
    (a, b) => a.value < b.value,
    ({ up }) => up,
  )
  const fall = new IndexedHeap<Both>(
    (a, b) => a.value > b.value,
    ({ down }) => down,
  )
  for (const item of items) {
    rise.put(item)
    fall.put(item)
  }
  rise.remove(items[0]!)
  expect(fall.pop()).toBe(items[0])
  expect(rise.pop()).toBe(items[1])
  expect(fall.size).toBe(3)
})

test.each([10, 1_000, 100_000])('of %i a step costs two comparisons a level at most', (count) => {
  let comparisons = 0
  const heap = new IndexedHeap<Item>(
    (a, b) => {
      comparisons++
      return byValue(a, b)
    },
    (item) => item.home,
  )
  let seed = 7
  const random = (): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed
  }
  const items: Item[] = []
  let worst = 0
  const cost = (step: () => void): void => {
    comparisons = 0
    step()
    worst = Math.max(worst, comparisons)
  }
  for (let id = 0; id < count; id++) {
    const item = { id, value: random(), home: { place: -1 } }
    items.push(item)
    cost(() => heap.put(item))
  }
  for (let i = 0; i < 1_000; i++) {
    const item = items[random() % count]!
    item.value = random()
    cost(() => heap.put(item))
    cost(() => heap.remove(item))
    cost(() => heap.put(item))
    const popped = heap.peek()!
    cost(() => heap.pop())
    cost(() => heap.put(popped))
  }
  const levels = Math.floor(Math.log2(count)) + 1
  expect(worst).toBeLessThanOrEqual(2 * levels + 1)
})
