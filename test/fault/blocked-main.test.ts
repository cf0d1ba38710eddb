// Goal: no command starts later than it may, even while the main thread can see to nothing, and
// what has been done by then counts as done.
// Method: the main thread blocks, and a thread comes to what was bound to it before.

import { PartitionConfig } from 'corelane'
import { expect, test } from 'vitest'
import { block, failure, refused, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { create, open, openLedger } from '../support/managers.ts'
import { range } from '../support/range.ts'

const lanes = {
  strict: { onDeadline: 'reject' },
  mild: {},
  limited: { onDeadline: 'reject', maxConcurrency: 1 },
} as const

async function start(ledger: Ledger) {
  return open('ledger.js', {
    partitions: PartitionConfig.single(),
    workerData: ledger.workerData,
    lanes,
  })
}

test.each([
  ['a deadline of a lane that rejects', 'strict', { deadlineMs: 150 }],
  ['a deadline of a limited lane', 'limited', { deadlineMs: 150 }],
  ['a bound of its own', 'mild', { startWithinMs: 150 }],
  ['a bound that is tighter than its deadline', 'strict', { startWithinMs: 150, deadlineMs: 9000 }],
] as const)('%s holds while the main thread is blocked', async (_, lane, options) => {
  const ledger = new Ledger(3)
  const manager = await start(ledger)
  const first = manager.submit('mild', 'burn', { index: 0, ms: 300 })
  const second = failure(manager.submit(lane, 'mark', 1, options), 'the second')
  const third = manager.submit('mild', 'mark', 2)
  await ledger.waitForStarts(1)
  block(600)
  // Nobody could take it back, and the thread has been free for long.
  expect(ledger.runs(1)).toBe(0)
  expect(await within(first, 'the first')).toBe(0)
  expect(await second).toMatchObject({
    code: 'CORELANE_DEADLINE_EXCEEDED',
    details: { lane, deadlineMs: 150 },
  })
  expect(await within(third, 'the third')).toBe(2)
  expect(ledger.allRuns(3)).toEqual([1, 0, 1])
  expect(manager.stats()).toMatchObject({ submitted: 3, completed: 2, failed: 1, running: 0 })
  // Its slot and its place at the gate are free again.
  const more = range(2000).map(() => manager.submit('limited', 'mark', 2))
  await within(Promise.all(more), 'more of them')
})

test('what may still start in time does, and is not late afterwards', async () => {
  const ledger = new Ledger(2)
  const manager = await start(ledger)
  const first = manager.submit('mild', 'burn', { index: 0, ms: 100 })
  const second = manager.submit('mild', 'mark', 1, { startWithinMs: 5000 })
  await ledger.waitForStarts(1)
  block(300)
  expect(await within(Promise.all([first, second]), 'both')).toEqual([0, 1])
})

test('a bound makes nothing more urgent, and counts from the submit', async () => {
  const ledger = new Ledger(4)
  const manager = await start(ledger)
  const gate = manager.submit('mild', 'gate', 0)
  await ledger.waitForStarts(1)
  const plain = manager.submit('mild', 'mark', 1)
  const bounded = manager.submit('mild', 'mark', 2, { startWithinMs: 8000 })
  const brief = failure(manager.submit('mild', 'mark', 3, { startWithinMs: 20 }), 'the brief one')
  expect((await brief).code).toBe('CORELANE_DEADLINE_EXCEEDED')
  ledger.openGate()
  await within(Promise.all([gate, plain, bounded]), 'all')
  expect(ledger.place(1)).toBeLessThan(ledger.place(2))
  expect(ledger.runs(3)).toBe(0)
})

test('a bound that is over before its delay rejects it then', async () => {
  const manager = await start(new Ledger(1))
  const options = { delayMs: 5000, startWithinMs: 30 }
  await refused(manager.submit('mild', 'mark', 0, options), 'CORELANE_DEADLINE_EXCEEDED')
  await until(() => manager.stats().queued === 0, 'nothing is left')
})

/** Blocks past a time-out of so long, where timers come before messages: as an immediate. */
async function blockPast(timeoutMs: number): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
  block(timeoutMs + 300)
}

test('a thread that has loaded in time is ready', async () => {
  const ledger = new Ledger(1)
  const { workerData } = ledger
  const manager = create('ledger.js', { partitions: 1, workerData, startTimeoutMs: 2000 })
  const started = manager.start()
  await new Promise((resolve) => setTimeout(resolve, 20))
  await blockPast(2000)
  while (ledger.loads === 0) block(300)
  await within(started, 'the start')
})

test('a broadcast that was answered in time succeeds', async () => {
  const options = { partitions: 1, broadcastTimeoutMs: 2000 }
  const { ledger, manager } = await openLedger(2, options)
  await within(manager.broadcast('mark', 0), 'the first')
  const second = manager.broadcast('burn', { index: 1, ms: 100 })
  await ledger.waitForStarts(2)
  await blockPast(2000)
  expect(await within(second, 'the second')).toEqual([1])
})

test('commands that have ended in time are drained', async () => {
  const { ledger, manager } = await openLedger(1, { partitions: 1 })
  const all = manager.run('burn', { index: 0, ms: 100 })
  const drained = manager.drain(1000)
  await ledger.waitForStarts(1)
  await blockPast(1000)
  await within(drained, 'drain')
  expect(await all).toBe(0)
})
