// Goal: what comes out of the codec is what went in, whatever the value and what came before it.
// Method: arbitrary graphs through a real ring memory, or through real structured clone where
// they spill; streams of operations in which encodings fail, are discarded, spilled or ignored.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PayloadDecoder, PayloadEncoder, SPILL } from '../../src/wire/ring-payload.ts'
import { fromSideValue, toParcel } from '../../src/wire/side-payload.ts'
import { findDifference } from '../support/difference.ts'
import { graph, record } from '../support/graphs.ts'
import { ringMemory } from '../unit/wire/support/ring-memory.ts'

const RUNS = Number(process.env.CORELANE_PROPERTY_RUNS ?? 500)
const TIMEOUT_MS = 30_000 + RUNS * 30

const ring = ringMemory(1 << 17)

function travel(encoder: PayloadEncoder, decoder: PayloadDecoder, value: unknown): unknown {
  const length = encoder.prepare(value)
  if (length === SPILL) {
    const side = structuredClone(toParcel(value, 'payload').side)
    return fromSideValue(side)
  }
  const { kind, resets } = encoder
  ring.bytes.fill(0xaa)
  encoder.write(ring, 64)
  expect(ring.bytes.subarray(0, 64).every((byte) => byte === 0xaa)).toBe(true)
  expect(ring.bytes.subarray(64 + length, 128 + length).every((byte) => byte === 0xaa)).toBe(true)
  const arrived = decoder.decode(kind, resets, ring, 64, length)
  ring.bytes.fill(0x55)
  return arrived
}

test(
  'any graph arrives exactly as it was sent, and no part of it lies in the ring',
  () => {
    const encoder = new PayloadEncoder('payload', 60_000)
    const decoder = new PayloadDecoder()
    fc.assert(
      fc.property(graph, (value) => {
        expect(findDifference(value, travel(encoder, decoder, value))).toBeUndefined()
      }),
      { numRuns: RUNS },
    )
  },
  TIMEOUT_MS,
)

test(
  'any graph arrives exactly when it takes the side port',
  () => {
    fc.assert(
      fc.property(graph, (value) => {
        const side = structuredClone(toParcel(value, 'payload').side)
        expect(findDifference(value, fromSideValue(side))).toBeUndefined()
      }),
      { numRuns: RUNS },
    )
  },
  TIMEOUT_MS,
)

type Operation =
  | { readonly do: 'send' | 'ignore' | 'discard' | 'forget'; readonly value: unknown }
  | { readonly do: 'throw' | 'spill' | 'reenter'; readonly value: unknown }

const shape = fc
  .tuple(fc.nat(90), fc.nat(3), fc.integer())
  .map(([which, extra, value]) =>
    record([
      [`k${which}`, value],
      ['same', { [`n${which % 7}`]: extra }],
      ...Array.from({ length: extra }, (_, i) => [`x${i}`, i] as const),
    ]),
  )

const operation: fc.Arbitrary<Operation> = fc.record({
  do: fc.constantFrom(
    'send',
    'send',
    'send',
    'ignore',
    'discard',
    'forget',
    'throw',
    'spill',
    'reenter',
  ),
  value: fc.oneof({ weight: 4, arbitrary: shape }, { weight: 1, arbitrary: graph }),
})

/** Throws the n-th time its member is read: the roads read it up to three times. */
function throwing(value: unknown, reads: number): object {
  return {
    first: { unseenShape: value },
    value,
    get member(): unknown {
      reads--
      if (reads <= 0) throw new Error('no')
      return 1
    },
  }
}

test(
  'a stream stays right whatever was skipped, failed, discarded or spilled between its records',
  () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200, size: 'max' }), (operations) => {
        const encoder = new PayloadEncoder('payload', 2_000)
        const decoder = new PayloadDecoder()
        let reads = 0
        for (const { do: what, value } of operations) {
          if (what === 'send' || what === 'ignore') {
            expect(findDifference(value, travel(encoder, decoder, value))).toBeUndefined()
          } else if (what === 'discard') {
            encoder.prepare(value)
            encoder.discard()
          } else if (what === 'forget') encoder.prepare(value)
          else if (what === 'throw') {
            const sooner = (reads++ % 3) + 1
            const bad = throwing(value, sooner)
            let thrown: unknown
            try {
              if (encoder.prepare(bad) === SPILL) toParcel(bad, 'payload')
              else encoder.discard()
            } catch (error) {
              thrown = error
            }
            // A tree is read once, and what throws then is read again to say where.
            if (sooner === 1 || thrown !== undefined) {
              expect(thrown).toMatchObject({ message: expect.stringMatching(/cannot cross/) })
            }
          } else if (what === 'spill') {
            expect(encoder.prepare({ fresh: value, numbers: new Array(2_000).fill(1) })).toBe(SPILL)
          } else {
            let inner: unknown
            const outer = {
              before: { unseen: 1 },
              get nested(): number {
                inner = travel(encoder, decoder, value)
                return 1
              },
            }
            const arrived = travel(encoder, decoder, outer)
            expect(findDifference({ before: { unseen: 1 }, nested: 1 }, arrived)).toBeUndefined()
            expect(findDifference(value, inner)).toBeUndefined()
          }
        }
      }),
      { numRuns: Math.ceil(RUNS / 5) },
    )
  },
  TIMEOUT_MS,
)

test(
  'two encoders on a thread do not disturb each other when their records alternate',
  () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), shape), { maxLength: 100 }), (records) => {
        const pairs = [0, 1].map(() => ({
          encoder: new PayloadEncoder('payload', 2_000),
          decoder: new PayloadDecoder(),
        }))
        for (const [which, value] of records) {
          const { encoder, decoder } = pairs[Number(which)]!
          expect(findDifference(value, travel(encoder, decoder, value))).toBeUndefined()
        }
      }),
      { numRuns: Math.ceil(RUNS / 5) },
    )
  },
  TIMEOUT_MS,
)
