// Payload roads: what may carry a payload that is large or more than a tree of plain data, on one
// thread.
// Processor time of a value there and back: corelane's records, msgpackr, v8.Serializer, and a
// MessagePort whose other end is read at once. And whose realm the values belong to that arrive in a
// `node:vm` context.
// Usage: node bench/payload-roads.bench.js
// @ts-check

import { Deserializer, deserialize, Serializer, serialize } from 'node:v8'
import { createContext, runInContext } from 'node:vm'
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import { Packr, Unpackr } from 'msgpackr'
import { viewsOf } from '../build/memory/views.js'
import { PayloadDecoder, PayloadEncoder, SPILL } from '../build/wire/ring-payload.js'
import { fromSideValue, toParcel } from '../build/wire/side-payload.js'

const RING_BYTES = 2 ** 20
const ROUNDS = 15
/** Times of a value of 1 KiB; a larger one is sent less often. */
const TIMES = 2_000

const kib = Object.fromEntries(
  Array.from({ length: 10 }, (_, i) => [`part${i}`, { text: 'x'.repeat(70), n: i, list: [1, 2] }]),
)
const shared = { id: 1, name: 'one' }
const PAYLOADS = {
  'a small object': { id: 1, name: 'one', tags: ['a', 'b', 'c'] },
  'with a Date': { id: 1, name: 'one', at: new Date(5) },
  '1 KiB': kib,
  '1 KiB with a Date': { ...kib, at: new Date(7) },
  'a Map of 10': new Map(Array.from({ length: 10 }, (_, i) => [`key${i}`, i])),
  'a Set of 10': new Set(Array.from({ length: 10 }, (_, i) => `key${i}`)),
  'an object met twice': { one: shared, other: shared },
  'a typed array': { values: new Float64Array(16) },
  '4 KiB of bytes': new Uint8Array(4_096),
  '32 KiB of bytes': new Uint8Array(32_768),
  'and a name': { name: 'one', bytes: new Uint8Array(32_768) },
  '1 MiB of bytes': new Uint8Array(2 ** 20),
  '128 KiB string': Buffer.alloc(131_072, 'a').toString('latin1'),
}

const views = viewsOf(new SharedArrayBuffer(RING_BYTES))
const encoder = new PayloadEncoder('payload', RING_BYTES / 8)
const decoder = new PayloadDecoder()
const { port1, port2 } = new MessageChannel()
const options = { sequential: true, structuredClone: true, moreTypes: true, useToJSON: false }
const packr = new Packr({ ...options, maxOwnStructures: 64 })
const unpackr = new Unpackr({ ...options, mapsAsObjects: false, copyBuffers: true })

/** @type {Record<string, (value: unknown) => unknown>} */
const ROADS = {
  records: (value) => {
    const length = encoder.prepare(value)
    if (length === SPILL) {
      const { side, transferList } = toParcel(value, 'payload')
      port1.postMessage(side, /** @type {ArrayBuffer[]} */ (transferList))
      return fromSideValue(receiveMessageOnPort(port2)?.message)
    }
    const { kind, resets } = encoder
    encoder.write(views, 64)
    return decoder.decode(kind, resets, views, 64, length)
  },
  msgpackr: (value) => unpackr.unpack(packr.pack(value)),
  'v8.Serializer': (value) => {
    const serializer = new Serializer()
    serializer.writeHeader()
    serializer.writeValue(value)
    const deserializer = new Deserializer(serializer.releaseBuffer())
    deserializer.readHeader()
    return deserializer.readValue()
  },
  'v8.serialize': (value) => deserialize(serialize(value)),
  'a port': (value) => {
    port1.postMessage(value)
    return receiveMessageOnPort(port2)?.message
  },
}

/** @param {readonly number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN

/**
 * Microseconds of processor time of one value.
 *
 * @param {(value: unknown) => unknown} road
 * @param {unknown} value
 */
function measure(road, value) {
  const times = Math.min(TIMES, Math.ceil((TIMES * 4_096) / serialize(value).length))
  const before = process.cpuUsage()
  for (let i = 0; i < times; i++) road(value)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / times
}

const names = Object.keys(ROADS)
console.log(`Node ${process.version}, µs there and back, median of ${ROUNDS} rounds`)
console.log(['', ...names].map((name) => name.padEnd(20)).join(''))
for (const [payload, value] of Object.entries(PAYLOADS)) {
  /** @type {number[][]} */
  const samples = names.map(() => [])
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, road] of Object.values(ROADS).entries()) samples[i]?.push(measure(road, value))
  }
  const figures = samples.map((of) => median(of).toFixed(2).padEnd(20))
  console.log(payload.padEnd(20) + figures.join(''))
}

const context = createContext({ bytes: serialize(new Date(0)), deserialize })
const isOwn = runInContext('deserialize(bytes) instanceof Date', context)
console.log(`a Date of v8.deserialize in a context is one of the context: ${isOwn}`)
port1.close()
