// Distributed, local: what a command costs that goes through a submitter, the queue of this process
// and a worker pool, beside one that goes straight to the manager.
// Thread: main.   Owns: the manager, the queue and both ends.
// @ts-check
//
// No-op commands with a number, 1,000 in flight, two partitions. Everything but the handlers is on
// the main thread here: on machines of their own, each side has its part of it.

import {
  LocalDistributedQueue,
  PartitionConfig,
  QueueManager,
  Submitter,
  WorkerPool,
} from 'corelane'
import { cpuSince, readCpu } from './support/cpu-clock.js'
import { describeMachine, headerLines } from './support/machine.js'
import { summarize } from './support/statistics.js'

const isQuick = process.argv.includes('--quick')
const ROUNDS = isQuick ? 1 : 9
const COMMANDS = isQuick ? 2_000 : 50_000

/**
 * Commands per second with 1,000 in flight, and the main thread's time for each.
 *
 * @param {(payload: number) => Promise<unknown>} submit - Submits one.
 */
async function measure(submit) {
  let left = COMMANDS
  const since = readCpu()
  const startedMs = performance.now()
  const loop = async () => {
    while (left-- > 0) await submit(left)
  }
  await Promise.all(Array.from({ length: 1000 }, loop))
  const perSecond = (COMMANDS / (performance.now() - startedMs)) * 1000
  return { perSecond, mainUs: cpuSince(since).mainUs / COMMANDS }
}

const manager = QueueManager.create({
  handlers: new URL('./support/handlers.js', import.meta.url),
  partitions: PartitionConfig.balanced(2),
  lanes: { bare: {} },
})
const queue = new LocalDistributedQueue(PartitionConfig.roundRobin(4))
const pool = new WorkerPool(queue, manager)
const submitter = new Submitter(queue)
console.log(headerLines(await describeMachine()).join('\n'))
await pool.start()

/** @type {Record<string, (payload: number) => Promise<unknown>>} */
const ways = {
  'manager alone': (payload) => manager.submit('bare', 'echo', payload),
  'submitter, queue, worker pool': (payload) => submitter.submit('bare', 'echo', payload),
}
/** @type {Record<string, { perSecond: number, mainUs: number }[]>} */
const measured = Object.fromEntries(Object.keys(ways).map((way) => [way, []]))
// The first two rounds warm up.
for (let round = -2; round < ROUNDS; round++) {
  for (const [way, submit] of Object.entries(ways)) {
    const figures = await measure(submit)
    if (round >= 0) measured[way]?.push(figures)
  }
}
for (const [way, all] of Object.entries(measured)) {
  const perSecond = summarize(all.map((each) => each.perSecond)).median
  const mainUs = summarize(all.map((each) => each.mainUs)).median
  const rate = Math.round(perSecond).toLocaleString('en-US').padStart(10)
  console.log(`${way.padEnd(30)} ${rate}/s  ${mainUs.toFixed(2)} µs of the main thread each`)
}
await submitter.close()
await pool.drain()
await pool.close()
await manager.close()
await queue.close()
