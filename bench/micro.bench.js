// Micro: the single-thread parts of the hot path, one operation each, by tinybench. They are taken
// out of the built package by path: no user can import them.
// Usage: node bench/micro.bench.js [--quick] [--json]
// @ts-check

import { Bench } from 'tinybench'
import { randomFrom } from '../build/base/random.js'
import { NO_ROOM, RingReader, RingWriter } from '../build/memory/ring.js'
import { viewsOf } from '../build/memory/views.js'
import { stableHash } from '../build/schedule/hash.js'
import { PriorityHeap } from '../build/schedule/priority-heap.js'
import { PayloadDecoder, PayloadEncoder } from '../build/wire/ring-payload.js'
import * as payloads from './support/payloads.js'
import { microLines } from './support/terminal.js'

const RING_BYTES = 2 ** 20
/** Its two positions lie before it, on cache lines of their own. */
const RING_OFFSET = 128
const INLINE_BYTES_MAX = RING_BYTES / 8
/** Operations per measured call: a clock reading costs as much as several of them. */
const BATCH = 256
const QUICK = process.argv.includes('--quick')

const bench = new Bench({
  time: QUICK ? 2 : 300,
  warmupTime: QUICK ? 1 : 100,
  iterations: QUICK ? 2 : 64,
  warmupIterations: QUICK ? 1 : 16,
})

/** A ring with both ends in one thread. */
function openRing() {
  const views = viewsOf(new SharedArrayBuffer(RING_OFFSET + RING_BYTES))
  const place = { offset: RING_OFFSET, bytes: RING_BYTES, tailWord: 0, headWord: 16 }
  return { writer: new RingWriter(views, place), reader: new RingReader(views, place), views }
}

/** @param {number} bodyBytes */
function addRing(bodyBytes) {
  const { writer, reader } = openRing()
  let taken = 0
  const sink = { onRecord: () => void taken++ }
  let written = 0
  bench.add(`ring: claim, commit, publish, read ${bodyBytes} B`, () => {
    for (let i = 0; i < BATCH; i++) {
      const offset = writer.tryClaim(bodyBytes)
      if (offset === NO_ROOM) throw new Error('the ring is full')
      writer.commit(offset, 1)
      written++
    }
    writer.publish()
    reader.read(sink, BATCH)
    if (taken !== written) throw new Error(`${taken} records of ${written} arrived`)
  })
}

/**
 * @param {string} name
 * @param {number} depth - Items that stay in the heap.
 * @param {(random: () => number) => number} rankOf
 */
function addHeap(name, depth, rankOf) {
  const random = randomFrom(1)
  const heap = new PriorityHeap()
  const items = Array.from({ length: depth + BATCH }, () => ({ rank: rankOf(random), sequence: 0 }))
  let sequence = 0
  for (const item of items.slice(BATCH)) heap.push({ ...item, sequence: sequence++ })
  bench.add(`heap: push and pop, ${name}`, () => {
    for (let i = 0; i < BATCH; i++) {
      const item = /** @type {{ rank: number, sequence: number }} */ (items[i])
      heap.push({ rank: item.rank, sequence: sequence++ })
      heap.pop()
    }
    if (heap.size !== depth) throw new Error(`the heap holds ${heap.size} instead of ${depth}`)
  })
}

function addHash() {
  const keys = Array.from({ length: BATCH }, (_, i) => `tenant-${i}`)
  let sum = 0
  bench.add('hash: a key of 10 letters', () => {
    for (const key of keys) sum += stableHash(key)
    if (sum === 0) throw new Error('every hash was 0')
  })
}

/**
 * Prepare, write and decode, each value into the same place of a ring.
 *
 * @param {string} name
 * @param {payloads.Payloads} source
 */
function addCodec(name, { values, digest }) {
  const { writer, views } = openRing()
  const encoder = new PayloadEncoder('payload', INLINE_BYTES_MAX)
  const decoder = new PayloadDecoder()
  const offset = writer.tryClaim(INLINE_BYTES_MAX)
  const times = Math.min(BATCH, values.length)
  bench.add(`codec: prepare, write, decode ${name}`, () => {
    let wrong = 0
    for (let i = 0; i < times; i++) {
      const value = values[i]
      const length = encoder.prepare(value)
      const { kind, resets } = encoder
      encoder.write(views, offset)
      const back = decoder.decode(kind, resets, views, offset, length)
      wrong += digest(back) - digest(value)
    }
    if (wrong !== 0) throw new Error(`${name} came back as something else`)
  })
  batches.set(`codec: prepare, write, decode ${name}`, times)
}

/** Operations in a call, where they are not {@link BATCH}. @type {Map<string, number>} */
const batches = new Map()

addRing(24)
addRing(512)
addHeap('in order, 1,000 deep', 1_000, () => 0)
addHeap('6 ranks, 1,000 deep', 1_000, (random) => Math.floor(random() * 6))
addHeap('any rank, 100,000 deep', 100_000, (random) => Math.floor(random() * 2 ** 20))
addHash()
addCodec('a number', payloads.numbers())
addCodec('a string of 12', payloads.strings(12))
addCodec('a small object', payloads.smallObjects())
addCodec('a 100 B object', payloads.objectsOf100Bytes())
addCodec('a 1 KiB object', payloads.objectsOf1KiB())
addCodec('32 KiB of bytes', payloads.bytes(32 * 1024))
addCodec('a 64 KiB string', payloads.strings(64 * 1024))

await bench.run()

const results = bench.tasks.map(({ name, result }) => {
  if (result.state !== 'completed') {
    throw new Error(`${name}: ${result.state}`, { cause: 'error' in result && result.error })
  }
  const { latency } = result
  const perOperation = 1e6 / (batches.get(name) ?? BATCH)
  return {
    name,
    medianNs: latency.p50 * perOperation,
    p75Ns: latency.p75 * perOperation,
    p99Ns: latency.p99 * perOperation,
    samples: latency.samplesCount,
  }
})
console.log(
  process.argv.includes('--json') ? JSON.stringify(results) : microLines(results).join('\n'),
)
