// Echo: the handler gives its payload back, so all that is measured is the way there and back.
// @ts-check

import { closedLoop } from '../support/closed-loop.js'
import { metered, RATE_COLUMNS } from '../support/metered.js'
import * as payloads from '../support/payloads.js'

const KIB = 1024

/**
 * @typedef {object} Shape
 * @property {string} id
 * @property {string} title
 * @property {() => payloads.Payloads} make
 * @property {number} inFlight
 * @property {number} [threads]
 * @property {number} [payloadBytes]
 */

/** @type {readonly Shape[]} */
const SHAPES = [
  { id: 'number', title: 'a number', make: payloads.numbers, inFlight: 1000 },
  { id: 'small-object', title: 'a small object', make: payloads.smallObjects, inFlight: 1000 },
  {
    id: 'number-1-thread',
    title: 'a number',
    make: payloads.numbers,
    inFlight: 1000,
    threads: 1,
  },
  {
    id: 'small-object-1-thread',
    title: 'a small object',
    make: payloads.smallObjects,
    inFlight: 1000,
    threads: 1,
  },
  { id: '100-b-object', title: 'a 100 B object', make: payloads.objectsOf100Bytes, inFlight: 1000 },
  { id: '1-kib-object', title: 'a 1 KiB object', make: payloads.objectsOf1KiB, inFlight: 1000 },
  ...sized('32-kib-bytes', '32 KiB of bytes', 32 * KIB, payloads.bytes, 100),
  ...sized('1-mib-bytes', '1 MiB of bytes', KIB * KIB, payloads.bytes, 16),
  ...sized('64-kib-string', 'a 64 KiB string', 64 * KIB, payloads.strings, 100),
  ...sized('128-kib-string', 'a 128 KiB string', 128 * KIB, payloads.strings, 100),
  ...sized('256-kib-string', 'a 256 KiB string', 256 * KIB, payloads.strings, 100),
  ...sized('1-mib-string', 'a 1 MiB string', KIB * KIB, payloads.strings, 16),
  ...[1, 10, 100, 10_000].map((inFlight) => ({
    id: `number-in-flight-${inFlight}`,
    title: 'a number',
    make: payloads.numbers,
    inFlight,
  })),
  {
    id: 'small-object-in-flight-10',
    title: 'a small object',
    make: payloads.smallObjects,
    inFlight: 10,
  },
]

/**
 * @param {string} id @param {string} title @param {number} payloadBytes
 * @param {(length: number) => payloads.Payloads} make @param {number} inFlight
 * @returns {Shape[]}
 */
function sized(id, title, payloadBytes, make, inFlight) {
  return [{ id, title, payloadBytes, make: () => make(payloadBytes), inFlight }]
}

/** @type {readonly import('../support/contract.js').PoolRow[]} */
const plain = SHAPES.map(({ id, title, make, inFlight, threads = 2, payloadBytes }) => ({
  id: `echo-${id}`,
  title: `${title}, ${inFlight.toLocaleString('en')} in flight`,
  threads,
  columns: RATE_COLUMNS,
  ...(payloadBytes === undefined ? {} : { payloadBytes }),
  measure(pool, ms, { inFlightMax }) {
    const { values, digest } = made(id, make)
    const load = { type: 'echo', values, digest, inFlight: Math.min(inFlight, inFlightMax), ms }
    return metered(() => closedLoop(pool, load))
  },
}))

/**
 * Each command has a signal of its own, which nobody aborts.
 *
 * @type {import('../support/contract.js').PoolRow}
 */
const abortable = {
  id: 'echo-number-with-signal',
  title: 'a number and a signal of its own, 1,000 in flight',
  threads: 2,
  columns: RATE_COLUMNS,
  systems: ['corelane', 'piscina', 'piscina-door', 'tinypool'],
  measure(pool, ms, { inFlightMax }) {
    const { runAbortable } = pool
    if (runAbortable === undefined) throw new Error('this system takes no signal')
    /** @type {import('../support/contract.js').Pool} */
    const signalled = {
      run: (type, payload) => runAbortable(type, payload, new AbortController().signal),
      close: pool.close,
    }
    const { values, digest } = made('number', payloads.numbers)
    const load = { type: 'echo', values, digest, inFlight: Math.min(1000, inFlightMax), ms }
    return metered(() => closedLoop(signalled, load))
  },
}

export const rows = [...plain, abortable]

/** Payloads of the row measured last; those of all rows at once would crowd the heap. */
let madeFor = ''
/** @type {payloads.Payloads} */
let last

/** @param {string} id @param {() => payloads.Payloads} make */
function made(id, make) {
  if (madeFor !== id) last = make()
  madeFor = id
  return last
}
