import { expect, test } from 'vitest'
import { PriorityHeap, precedes, type Ranked } from '../../../src/schedule/priority-heap.ts'

function drain(heap: PriorityHeap<Ranked>): number[] {
  const order: number[] = []
  for (let item = heap.pop(); item !== undefined; item = heap.pop()) order.push(item.sequence)
  return order
}

test('rank decides, and age among equals', () => {
  expect(precedes({ rank: 1, sequence: 9 }, { rank: 2, sequence: 1 })).toBe(true)
  expect(precedes({ rank: 2, sequence: 1 }, { rank: 1, sequence: 9 })).toBe(false)
  expect(precedes({ rank: 1, sequence: 1 }, { rank: 1, sequence: 2 })).toBe(true)
  expect(precedes({ rank: 1, sequence: 2 }, { rank: 1, sequence: 2 })).toBe(false)
})

test('an empty heap has nothing to give', () => {
  const heap = new PriorityHeap()
  expect(heap.size).toBe(0)
  expect(heap.peek()).toBeUndefined()
  expect(heap.pop()).toBeUndefined()
  expect([...heap]).toEqual([])
})

test('items of one rank come out in the order they came in, however many', () => {
  const heap = new PriorityHeap()
  for (let sequence = 0; sequence < 5000; sequence++) heap.push({ rank: 3, sequence })
  expect(heap.size).toBe(5000)
  expect(drain(heap)).toEqual(Array.from({ length: 5000 }, (_, i) => i))
})

test('more urgent items overtake, and an item that comes back takes its old place', () => {
  const heap = new PriorityHeap()
  for (const sequence of [1, 2, 4]) heap.push({ rank: 5, sequence })
  heap.push({ rank: 0, sequence: 10 })
  heap.push({ rank: 9, sequence: 11 })
  heap.push({ rank: 5, sequence: 3 })
  heap.push({ rank: 0, sequence: 0 })
  expect(drain(heap)).toEqual([0, 10, 1, 2, 3, 4, 11])
})

test('looking takes nothing', () => {
  const heap = new PriorityHeap()
  heap.push({ rank: 1, sequence: 1 })
  heap.push({ rank: 0, sequence: 2 })
  expect(heap.peek()).toEqual({ rank: 0, sequence: 2 })
  expect(heap.peek()).toBe(heap.pop())
  expect(heap.size).toBe(1)
})

test('iterating gives every item once and takes none', () => {
  const heap = new PriorityHeap()
  for (let i = 0; i < 100; i++) heap.push({ rank: (i * 37) % 10, sequence: i })
  const seen = [...heap].map(({ sequence }) => sequence).sort((a, b) => a - b)
  expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i))
  expect(heap.size).toBe(100)
})

test('the order holds while the run grows, wraps and shrinks', () => {
  const heap = new PriorityHeap()
  let pushed = 0
  let due = 0
  for (const [grow, shrink] of [
    [10, 7],
    [5000, 4900],
    [3000, 100],
    [20, 3023],
  ] as const) {
    for (let i = 0; i < grow; i++) heap.push({ rank: 1, sequence: pushed++ })
    for (let i = 0; i < shrink; i++) expect(heap.pop()!.sequence).toBe(due++)
    expect(heap.size).toBe(pushed - due)
  }
  expect(heap.size).toBe(0)
})

test('what is taken is what was seen, though the same command is here twice', () => {
  const heap = new PriorityHeap()
  // As after a recall: the older copy is in the run, the newer one had to overtake the run's end.
  heap.push({ rank: 1, sequence: 1 })
  heap.push({ rank: 1, sequence: 5 })
  heap.push({ rank: 1, sequence: 1 })
  for (const sequence of [1, 1, 5]) {
    const seen = heap.peek()
    expect(heap.pop()).toBe(seen)
    expect(seen?.sequence).toBe(sequence)
  }
})
