// Bare ring: the baseline. A ring each way, one promise per command, round-robin, nothing else.
// Thread: main.   Owns: its threads and their rings.
// Records are published once per microtask; results are looked for in setImmediate, and after four
// turns that found none the main thread sleeps in one waitAsync.
// @ts-check

import { Worker } from 'node:worker_threads'
import { Bell, createRing, loadMsgpackr, RingReader, RingWriter } from './bare-ring-memory.js'
import { loadHandlers } from './handlers-url.js'

const RING_BYTES = 2 ** 22
const QUIET_TURNS = 4
/** Longest payload, in bytes. */
export const BARE_RING_PAYLOAD_BYTES_MAX = RING_BYTES / 16

/** @type {(value: any) => void} */
let captured
/** @param {(value: any) => void} resolve */
function capture(resolve) {
  captured = resolve
}

class Partition {
  isDirty = false
  /** Commands that found no room. @type {{ id: number, type: number, payload: unknown }[]} */
  backlog = []
  backlogStart = 0

  /** @param {SharedArrayBuffer} bell */
  constructor(bell) {
    const commands = createRing(RING_BYTES)
    const results = createRing(RING_BYTES)
    this.memory = { commands, results }
    this.worker = new Worker(new URL('./bare-ring-worker.js', import.meta.url), {
      workerData: { commands, results, bell },
    })
  }

  async ready() {
    await new Promise((resolve, reject) => {
      this.worker.once('message', resolve)
      this.worker.once('error', reject)
    })
    const { packr, unpackr } = await loadMsgpackr()
    this.writer = new RingWriter(this.memory.commands, packr)
    this.reader = new RingReader(this.memory.results, unpackr)
  }

  /** @param {number} id @param {number} type @param {unknown} payload */
  send(id, type, payload) {
    const writer = /** @type {RingWriter} */ (this.writer)
    if (this.backlog.length > 0 || !writer.write(id, type, payload)) {
      this.backlog.push({ id, type, payload })
    }
    this.isDirty = true
  }

  refill() {
    const { backlog } = this
    if (backlog.length === 0) return
    const writer = /** @type {RingWriter} */ (this.writer)
    while (this.backlogStart < backlog.length) {
      const { id, type, payload } = /** @type {(typeof backlog)[0]} */ (backlog[this.backlogStart])
      if (!writer.write(id, type, payload)) break
      this.backlogStart++
    }
    if (this.backlogStart === backlog.length) {
      this.backlog = []
      this.backlogStart = 0
    }
    writer.publish()
  }
}

/**
 * Opens the baseline.
 *
 * @param {number} threads
 * @returns {Promise<import('./contract.js').Pool>}
 */
export async function openBareRing(threads) {
  const memory = new SharedArrayBuffer(64)
  const bell = new Bell(new Int32Array(memory), 0)
  const partitions = Array.from({ length: threads }, () => new Partition(memory))
  await Promise.all(partitions.map((partition) => partition.ready()))
  const types = new Map((await loadHandlers()).names.map((name, index) => [name, index]))
  /** @type {Map<number, (value: any) => void>} */
  const inFlight = new Map()
  // A pending waitAsync does not keep a process alive.
  const keepAlive = setInterval(() => {}, 2 ** 30)
  const endOfTurn = Promise.resolve()
  let isFlushQueued = false
  let isTurning = false
  let nextId = 0
  let quietTurns = 0
  let isClosed = false

  /** @param {number} id @param {number} _type @param {unknown} value */
  function settle(id, _type, value) {
    const resolve = /** @type {(value: unknown) => void} */ (inFlight.get(id))
    inFlight.delete(id)
    resolve(value)
  }

  function drain() {
    let count = 0
    for (const partition of partitions) {
      count += /** @type {RingReader} */ (partition.reader).read(settle, Number.POSITIVE_INFINITY)
      partition.refill()
    }
    return count
  }

  function turn() {
    isTurning = false
    if (isClosed) return
    bell.awake()
    quietTurns = drain() > 0 ? 0 : quietTurns + 1
    if (quietTurns <= QUIET_TURNS) queueTurn()
    else void sleep()
  }

  function queueTurn() {
    if (isTurning) return
    isTurning = true
    setImmediate(turn)
  }

  async function sleep() {
    bell.announce()
    if (partitions.every(({ reader }) => reader?.isEmpty)) await bell.sleepAsync()
    quietTurns = 0
    turn()
  }

  function flush() {
    isFlushQueued = false
    for (const partition of partitions) {
      if (!partition.isDirty) continue
      partition.isDirty = false
      partition.writer?.publish()
    }
  }

  queueTurn()
  return {
    run(type, payload) {
      const id = nextId++ | 0
      const promise = new Promise(capture)
      inFlight.set(id, captured)
      const partition = /** @type {Partition} */ (partitions[id % threads])
      partition.send(id, /** @type {number} */ (types.get(type)), payload)
      if (!isFlushQueued) {
        isFlushQueued = true
        void endOfTurn.then(flush)
      }
      return promise
    },
    close() {
      isClosed = true
      clearInterval(keepAlive)
      return Promise.all(partitions.map(({ worker }) => worker.terminate()))
    },
  }
}
