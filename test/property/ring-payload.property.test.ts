// Goal: what comes out of the codec is what went in, whatever the value and what came before it.
// Method: arbitrary graphs through a real ring memory, or through real structured clone where
// they spill; streams of operations in which encodings fail, are discarded, spilled or ignored.

import fc from 'fast-check'
import { expect } from 'vitest'
import { PayloadDecoder, PayloadEncoder, SPILL } from '../../src/wire/ring-payload.ts'
import { fromSideValue, toParcel } from '../../src/wire/side-payload.ts'
import { findDifference } from '../support/difference.ts'
import { graph, record } from '../support/graphs.ts'
import { lawOf } from '../support/law.ts'
import { range } from '../support/range.ts'
import { ringMemory } from '../unit/wire/support/ring-memory.ts'

const law = lawOf(500)
const streamLaw = lawOf(100)

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

const graphs = { encoder: new PayloadEncoder('payload', 60_000), decoder: new PayloadDecoder() }

law('any graph arrives exactly, and no part of it lies in the ring', [graph], (value) => {
  expect(findDifference(value, travel(graphs.encoder, graphs.decoder, value))).toBeUndefined()
})

law('any graph arrives exactly when it takes the side port', [graph], (value) => {
  const side = structuredClone(toParcel(value, 'payload').side)
  expect(findDifference(value, fromSideValue(side))).toBeUndefined()
})

const DEEDS = ['send', 'ignore', 'discard', 'forget', 'throw', 'spill', 'reenter'] as const

const shape = fc
  .tuple(fc.nat(90), fc.nat(3), fc.integer())
  .map(([which, extra, value]) =>
    record([
      [`k${which}`, value],
      ['same', { [`n${which % 7}`]: extra }],
      ...range(extra).map((i) => [`x${i}`, i] as const),
    ]),
  )

const operation = fc.record({
  do: fc.constantFrom(...DEEDS, 'send' as const, 'send' as const),
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

const operations = fc.array(operation, { maxLength: 200, size: 'max' })

streamLaw('a stream stays right whatever was between its records', [operations], (operations) => {
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
})

const records = fc.array(fc.tuple(fc.boolean(), shape), { maxLength: 100 })

streamLaw('two encoders on a thread do not disturb each other', [records], (records) => {
  const pairs = [0, 1].map(() => ({
    encoder: new PayloadEncoder('payload', 2_000),
    decoder: new PayloadDecoder(),
  }))
  for (const [which, value] of records) {
    const { encoder, decoder } = pairs[Number(which)]!
    expect(findDifference(value, travel(encoder, decoder, value))).toBeUndefined()
  }
})
