// Goal: whatever is pushed and popped in whatever order, the heap gives the least item.
// Method: random operations against a sorted array, biased to what the run and the heap beside it
// are for: long ascending stretches, items that come back, bursts of more urgent ones.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PriorityHeap, precedes, type Ranked } from '../../src/schedule/priority-heap.ts'

const RUNS = Number(process.env.CORELANE_PROPERTY_RUNS ?? 300)
const TIMEOUT_MS = 30_000 + RUNS * 30

type Operation =
  | { readonly is: 'push'; readonly rank: number }
  | { readonly is: 'burst'; readonly rank: number; readonly count: number }
  | { readonly is: 'pop'; readonly count: number }
  | { readonly is: 'return' }

const rank = fc.oneof(fc.constantFrom(3, 4), fc.nat(10), fc.constantFrom(0, 65_535))

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ is: fc.constant('push' as const), rank }) },
  {
    weight: 1,
    arbitrary: fc.record({
      is: fc.constant('burst' as const),
      rank,
      count: fc.oneof({ weight: 9, arbitrary: fc.nat(40) }, fc.constant(1500)),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      is: fc.constant('pop' as const),
      count: fc.oneof(fc.nat(5), fc.nat(60), fc.constant(1400)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ is: fc.constant('return' as const) }) },
)

function compare(a: Ranked, b: Ranked): number {
  return a.rank - b.rank || a.sequence - b.sequence
}

test(
  'a heap gives the items in order of rank, then age',
  () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const heap = new PriorityHeap<Ranked>()
        let model: Ranked[] = []
        let sequence = 0
        let last: Ranked | undefined
        const push = (item: Ranked) => {
          heap.push(item)
          model.push(item)
        }
        for (const step of operations) {
          if (step.is === 'push') push({ rank: step.rank, sequence: sequence++ })
          else if (step.is === 'burst') {
            for (let i = 0; i < step.count; i++) push({ rank: step.rank, sequence: sequence++ })
          } else if (step.is === 'pop') {
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
      }),
      { numRuns: RUNS },
    )
  },
  TIMEOUT_MS,
)

test('precedence is a total order', () => {
  const item = fc.record({ rank: fc.nat(3), sequence: fc.nat(3) })
  fc.assert(
    fc.property(item, item, item, (a, b, c) => {
      expect(precedes(a, a)).toBe(false)
      expect(precedes(a, b) && precedes(b, a)).toBe(false)
      if (precedes(a, b) && precedes(b, c)) expect(precedes(a, c)).toBe(true)
      if (!precedes(a, b) && !precedes(b, a)) expect(compare(a, b)).toBe(0)
    }),
  )
})
