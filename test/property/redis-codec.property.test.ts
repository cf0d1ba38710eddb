// Goal: envelopes and results come out of Redis as they went in, and bytes from anybody do no harm.
// Method: arbitrary envelopes and results there and back; real encodings cut short, with bits
// turned or bytes put in, and bytes of no origin at all: each ends soon, in a value or an error.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  decodeEnvelope,
  decodeResult,
  encodeEnvelope,
  encodeResult,
  idOf,
} from '../../src/distributed/redis/envelope-codec.ts'
import { lawOf } from '../support/law.ts'

const RUNS = Number(process.env.CORELANE_PROPERTY_RUNS ?? 500)
const law = lawOf(500)
const MAX_BYTES = 65_536
/** Far more than it takes, and far less than a loop over what a length claims. */
const SOON_MS = 250

const name = fc.stringMatching(/^[A-Za-z0-9._-]{1,128}$/)
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
const time = fc.double({ min: 0, max: Number.MAX_SAFE_INTEGER, noNaN: true }).map(Math.abs)

const payload = fc.oneof(
  fc.anything({
    withDate: true,
    withMap: true,
    withSet: true,
    withTypedArray: true,
    withBigInt: true,
  }),
  fc.uint8Array(),
  fc.constant(undefined),
  fc.string({ unit: 'grapheme' }),
  fc.dictionary(fc.constantFrom('__proto__', 'constructor', 'a', 'toString'), fc.integer()),
)

const envelope = fc.record({
  id: name,
  commandType: name,
  laneId: name,
  partitionId: fc.nat(255),
  payload,
  retryCount: fc.nat(),
  createdAt: time,
  key: maybe(
    fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 50 })
      .filter((key) => key.length > 0 && key.isWellFormed()),
  ),
  priority: maybe(fc.nat(255)),
  deadline: maybe(time),
  submitter: maybe(name),
  options: maybe(
    fc.record(
      {
        timeoutMs: fc.integer({ min: 1, max: 1e6 }),
        trace: fc.dictionary(name, fc.string({ maxLength: 200 }), { maxKeys: 5 }),
      },
      { requiredKeys: [] },
    ),
  ),
  version: fc.constant(1),
})

const result = fc.record({
  commandId: name,
  partitionId: fc.nat(255),
  workerId: name,
  success: fc.boolean(),
  value: payload,
  error: maybe(
    fc.record({
      name: fc.string(),
      message: fc.string(),
      code: fc.string(),
      errors: fc.constant([{ name: 'Error', message: 'one of them' }]),
    }),
  ),
  retryCount: fc.nat(),
  durationMs: time,
  completedAt: time,
})

/** What the codec is said not to keep: -0 and lone surrogates. Prototypes of null become plain. */
function settled(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed()
  if (value === 0) return 0
  if (Array.isArray(value)) return Array.from(value, settled)
  if (value instanceof Map) return new Map([...value].map(([k, v]) => [settled(k), settled(v)]))
  if (value instanceof Set) return new Set([...value].map(settled))
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  if (value instanceof Date) return value
  const entries = Object.entries(value).filter(([key]) => key !== '__proto__')
  return Object.fromEntries(entries.map(([key, member]) => [key.toWellFormed(), settled(member)]))
}

/** Encodes, or tells that the value is one that cannot leave the process. */
function encoded<T>(encode: () => T): T | undefined {
  try {
    return encode()
  } catch (error) {
    const { code } = error as { code?: string }
    expect(['CORELANE_UNSERIALIZABLE', 'CORELANE_ENVELOPE_TOO_LARGE']).toContain(code)
    return undefined
  }
}

function plainPayload(value: unknown): boolean {
  try {
    expect(settled(structuredClone(value))).toEqual(settled(value))
    return JSON.stringify(value)?.includes('__proto__') !== true
  } catch {
    return false
  }
}

test('what is bound to this process is refused', () => {
  const given = { id: 'a', commandType: 'b', laneId: 'c', partitionId: 0, version: 1 }
  for (const bound of [new SharedArrayBuffer(8), new MessageChannel().port1]) {
    const payload = [1, { bound }]
    const encode = () =>
      encodeEnvelope({ ...given, payload, retryCount: 0, createdAt: 0 }, MAX_BYTES)
    expect(encode).toThrow(/payload is bound to this process$/)
  }
})

test('an envelope comes out as it went in', () => {
  let compared = 0
  fc.assert(
    fc.property(envelope, (given) => {
      const bytes = encoded(() => encodeEnvelope(given, MAX_BYTES))
      if (bytes === undefined) return
      const { laneId, partitionId } = given
      const { envelope: read, ...others } = decodeEnvelope(bytes, laneId, partitionId, MAX_BYTES)
      const { spent, sinceMs } = others
      const { payload: before, ...members } = given
      const { payload: after, ...readMembers } = read
      expect(readMembers).toEqual(members)
      expect([spent, sinceMs]).toEqual([0, 0])
      expect(idOf(bytes)).toBe(given.id)
      if (!plainPayload(before)) return
      compared++
      expect(settled(after)).toEqual(settled(before))
    }),
    { numRuns: RUNS },
  )
  expect(compared).toBeGreaterThan(RUNS / 4)
})

law('a result comes out, its value if it is kept', [result, fc.boolean()], (given, isKept) => {
  const bytes = encoded(() => encodeResult(given, isKept, MAX_BYTES))
  if (bytes === undefined) return
  const { value, error, ...members } = decodeResult(bytes, MAX_BYTES)
  const { value: before, error: failed, ...others } = given
  expect(members).toEqual(others)
  if (failed !== undefined) {
    for (const member of ['name', 'message', 'code'] as const) {
      expect(error?.[member]).toBe(failed[member].toWellFormed())
    }
    expect(error?.errors).toEqual(failed.errors)
  }
  if (!isKept) expect(value).toBe(undefined)
  else if (plainPayload(before)) expect(settled(value)).toEqual(settled(before))
})

const spoil = fc.record({
  kind: fc.constantFrom('cut', 'flip', 'insert'),
  at: fc.nat(),
  by: fc.nat(255),
})
type Spoil = typeof spoil extends fc.Arbitrary<infer S> ? S : never

function spoilt(bytes: Buffer, spoils: readonly Spoil[]): Buffer {
  let copy = Buffer.from(bytes)
  for (const { kind, at, by } of spoils) {
    const place = copy.length === 0 ? 0 : at % copy.length
    if (kind === 'cut') copy = copy.subarray(0, place)
    else if (kind === 'flip' && copy.length > 0) copy[place]! ^= 1 << (by & 7)
    else {
      const more = Buffer.from([by])
      copy = Buffer.concat([copy.subarray(0, place), more, copy.subarray(place)])
    }
  }
  return copy
}

/** Decodes what makes no sense: any error will do, soon, and nothing else may come of it. */
function survives(decode: () => unknown): void {
  const startMs = performance.now()
  try {
    decode()
  } catch (error) {
    expect(error).toBeInstanceOf(Error)
  }
  expect(performance.now() - startMs).toBeLessThan(SOON_MS)
  expect(({} as { polluted?: unknown }).polluted).toBe(undefined)
}

const spoils = fc.array(spoil, { minLength: 1, maxLength: 6 })

law(
  'spoilt bytes and bytes of no origin end soon, in a value or an error',
  [envelope, result, spoils, fc.uint8Array({ maxLength: 400 })],
  (one, two, how, any) => {
    const bytes = encoded(() => encodeEnvelope(one, MAX_BYTES))
    if (bytes !== undefined) {
      survives(() => decodeEnvelope(spoilt(bytes, how), one.laneId, one.partitionId, MAX_BYTES))
    }
    const ended = encoded(() => encodeResult(two, true, MAX_BYTES))
    if (ended !== undefined) survives(() => decodeResult(spoilt(ended, how), MAX_BYTES))
    const head = Buffer.from('id:0:0:0:')
    survives(() => decodeEnvelope(Buffer.concat([head, any]), 'lane', 0, MAX_BYTES))
    survives(() => decodeResult(Buffer.from(any), MAX_BYTES))
  },
)

test('a payload that claims to be larger than it is ends soon', () => {
  const [given] = fc.sample(envelope, { numRuns: 1, seed: 1 })
  const head = encodeEnvelope({ ...given!, payload: undefined }, 9)
  const body = (...bytes: number[]) =>
    Buffer.concat([head.subarray(0, -1), Buffer.from([3, ...bytes])])
  for (const claim of [
    // Arrays, maps, texts and bytes of 2^32 - 1 members, and arrays within arrays to the end.
    body(0xdd, 255, 255, 255, 255),
    body(0xdf, 255, 255, 255, 255),
    body(0xdb, 255, 255, 255, 255),
    body(0xc6, 255, 255, 255, 255),
    body(0xc9, 255, 255, 255, 255, 1),
    body(...Array<number>(60_000).fill(0x91)),
    body(...Array<number>(60_000).fill(0xdd)),
    body(0xd4, 0x72, 0x40, ...Array<number>(3000).fill(0x91)),
  ]) {
    survives(() => decodeEnvelope(claim, 'lane', 255, MAX_BYTES))
  }
})
