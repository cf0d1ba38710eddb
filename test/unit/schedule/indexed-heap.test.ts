// Indexed heap: its edges. The rest is in test/property/indexed-heap.property.test.ts.

import { expect, test } from 'vitest'
import { type HeapPlace, IndexedHeap } from '../../../src/schedule/indexed-heap.ts'

interface Item {
  value: number
  readonly home: HeapPlace
}

const make = (value: number): Item => ({ value, home: { place: -1 } })
const heapOf = (...items: Item[]) => {
  const heap = new IndexedHeap<Item>(
    (a, b) => a.value < b.value,
    (item) => item.home,
  )
  for (const item of items) heap.put(item)
  return heap
}

test('an empty heap has no first item and gives none', () => {
  const heap = heapOf()
  expect([heap.size, heap.peek(), heap.pop()]).toEqual([0, undefined, undefined])
})

test('the only item leaves an empty heap behind, and can come back', () => {
  const item = make(1)
  const heap = heapOf(item)
  expect(heap.pop()).toBe(item)
  expect([heap.size, item.home.place]).toEqual([0, -1])
  heap.put(item)
  expect(heap.peek()).toBe(item)
})

test('removing what is not there does nothing', () => {
  const heap = heapOf(make(1))
  heap.remove(make(0))
  expect(heap.size).toBe(1)
})

test('removing the last place, the first and one between keeps the order of the rest', () => {
  const items = [5, 3, 8, 1, 9, 2].map(make)
  const heap = heapOf(...items)
  for (const value of [9, 1, 3]) heap.remove(items.find((item) => item.value === value)!)
  expect([heap.pop(), heap.pop(), heap.pop()].map((item) => item?.value)).toEqual([2, 5, 8])
})

test('an item that changed moves up or down when it is put again', () => {
  const items = [1, 2, 3, 4, 5, 6, 7].map(make)
  const heap = heapOf(...items)
  items[6]!.value = 0
  heap.put(items[6]!)
  expect(heap.peek()).toBe(items[6])
  items[6]!.value = 10
  heap.put(items[6]!)
  expect(heap.peek()).toBe(items[0])
  expect(heap.size).toBe(7)
})
