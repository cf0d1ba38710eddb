// Settlement: a batch settles once, whatever the order in which its commands end.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Batch } from '../../../src/coordinator/settlement.ts'

test('a batch gives its results by place, or its first failure, whenever it is asked', async () => {
  const endings = fc.array(fc.record({ isOk: fc.boolean(), value: fc.integer() }), {
    maxLength: 20,
  })
  await fc.assert(
    fc.asyncProperty(
      endings,
      fc.infiniteStream(fc.nat()),
      fc.nat(20),
      async (ends, picks, early) => {
        const batch = new Batch()
        const open = ends.map((end) => ({ ...end, place: batch.add() }))
        let promise: Promise<unknown[]> | undefined
        let failure: { readonly error: unknown } | undefined
        for (let i = 0; open.length > 0; i++) {
          if (i === early) promise = batch.results()
          const [pick] = picks.take(1)
          const [end] = open.splice(pick! % open.length, 1)
          if (!end!.isOk) failure ??= { error: end!.value }
          batch.settled(end!.place, end!.isOk, end!.value)
        }
        promise ??= batch.results()
        const told = await promise.then(
          (results) => ({ results }),
          (error) => ({ error }),
        )
        expect(told).toEqual(failure ?? { results: ends.map(({ value }) => value) })
      },
    ),
  )
})

test('a batch that is given up half-way leaves no rejection behind', async () => {
  const seen: unknown[] = []
  const listener = (reason: unknown) => seen.push(reason)
  process.on('unhandledRejection', listener)
  try {
    const batch = new Batch()
    batch.settled(batch.add(), false, new Error('nobody asks'))
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(seen).toEqual([])
  } finally {
    process.off('unhandledRejection', listener)
  }
})
