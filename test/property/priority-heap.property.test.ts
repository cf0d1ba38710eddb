// Goal: whatever is pushed and popped in whatever order, the heap gives the least item.
// Method: random operations against a sorted array, biased to what the run and the heap beside it
// are for: long ascending stretches, items that come back, bursts of more urgent ones.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PriorityHeap, precedes, type Ranked } from '../../src/schedule/priority-heap.ts'
import { deed, lawOf } from '../support/law.ts'

const law = lawOf(300)

type Operation =
  | { readonly kind: 'push'; readonly rank: number }
  | { readonly kind: 'burst'; readonly rank: number; readonly count: number }
  | { readonly kind: 'pop'; readonly count: number }
  | { readonly kind: 'return' }

const rank = fc.oneof(fc.constantFrom(3, 4), fc.nat(10), fc.constantFrom(0, 65_535))

const operation: fc.Arbitrary<Operation> = fc.oneof(
  deed(4, 'push', { rank }),
  deed(1, 'burst', {
    rank,
    count: fc.oneof({ weight: 9, arbitrary: fc.nat(40) }, fc.constant(1500)),
  }),
  deed(3, 'pop', {
    count: fc.oneof(fc.nat(5), fc.nat(60), fc.constant(1400)),
  }),
  deed(1, 'return'),
)

function compare(a: Ranked, b: Ranked): number {
  return a.rank - b.rank || a.sequence - b.sequence
}

const lists = fc.array(operation, { maxLength: 60 })

law('a heap gives the items in order of rank, then age', [lists], (operations) => {
  const heap = new PriorityHeap<Ranked>()
  let model: Ranked[] = []
  let sequence = 0
  let last: Ranked | undefined
  const push = (item: Ranked) => {
    heap.push(item)
    model.push(item)
  }
  for (const step of operations) {
    if (step.kind === 'push') push({ rank: step.rank, sequence: sequence++ })
    else if (step.kind === 'burst') {
      for (let i = 0; i < step.count; i++) push({ rank: step.rank, sequence: sequence++ })
    } else if (step.kind === 'pop') {
      model.sort(compare)
      const due = model.slice(0, step.count)
      model = model.slice(step.count)
      for (const item of due) if (heap.pop() !== item) expect.fail('another order')
      last = due.at(-1)
    } else if (last !== undefined) {
      // One that was taken comes back with its old sequence.
      push(last)
      last = undefined
    }
    model.sort(compare)
    // Plain comparisons: `expect` costs more than all the rest.
    if (heap.size !== model.length || heap.peek() !== model[0]) expect.fail('another front')
  }
  expect([...heap].sort(compare)).toEqual(model)
  for (const item of model) if (heap.pop() !== item) expect.fail('another order')
  expect(heap.pop()).toBeUndefined()
})

const item = fc.record({ rank: fc.nat(3), sequence: fc.nat(3) })

law('precedence is a total order: by rank, then age', [item, item, item], (a, b, c) => {
  expect(precedes(a, b)).toBe(compare(a, b) < 0)
  if (precedes(a, b) && precedes(b, c)) expect(precedes(a, c)).toBe(true)
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
