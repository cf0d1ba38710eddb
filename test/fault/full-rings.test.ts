// Full rings: small rings, a main thread that looks away, and both at once. Goal: nothing is lost,
// nothing comes twice, order holds, and everything can be closed in any such state.

import { PartitionConfig } from 'corelane'
import { expect, test } from 'vitest'
import { block, within } from '../support/deadline.ts'
import { open, openLedger } from '../support/managers.ts'
import { range } from '../support/range.ts'

const SMALL = 2 ** 14
const BLOCK_MS = 500

test.each([
  ['single', PartitionConfig.single()],
  ['balanced', PartitionConfig.balanced(2)],
  ['hash', PartitionConfig.hash(2)],
] as const)('many results through rings of 16 KiB arrive once: %s', async (name, partitions) => {
  const count = 1_200
  const { ledger, manager } = await openLedger(count, { partitions, ringBytes: SMALL })
  const seen: number[] = []
  const all = range(count).map(async (index) => {
    // Sizes up to the longest that goes into a record, and some beyond it.
    const text = 't'.repeat(index % 211 === 0 ? 3_000 : (index * 37) % 1_900)
    const options = name === 'hash' ? { key: `key ${index % 7}` } : {}
    const result = await manager.run('carry', { index, text }, options)
    seen.push(index)
    return (result as { text: string }).text === text
  })
  expect((await within(Promise.all(all), 'all results')).every(Boolean)).toBe(true)
  expect(ledger.allRuns(count)).toEqual(new Array(count).fill(1))
  expect(seen.length).toBe(count)
  if (name === 'single') expect(seen).toEqual([...Array(count).keys()])
})

const payload = (index: number) => ({ index, text: 'full '.repeat(100) })

/** Blocks the main thread while more commands run than their rings hold results of. */
async function blockWith(count: number) {
  const partitions = PartitionConfig.roundRobin(2)
  const { ledger, manager } = await openLedger(count, { partitions, ringBytes: SMALL })
  const all = range(count).map((index) => manager.run('carry', payload(index)))
  await ledger.waitForStarts(10)
  block(BLOCK_MS)
  return { ledger, manager, all }
}

test('a main thread that is blocked with both rings full finds everything done afterwards', async () => {
  const count = 1_000
  const { ledger, all } = await blockWith(count)
  const results = (await within(Promise.all(all), 'all commands')) as { index: number }[]
  expect(results.map(({ index }) => index)).toEqual([...Array(count).keys()])
  expect(ledger.allRuns(count)).toEqual(new Array(count).fill(1))
  for (const partition of [0, 1]) {
    const order = ledger.order(count, partition)
    expect(order).toEqual(order.toSorted((a, b) => a - b))
  }
})

test('a main thread that is blocked with both rings full can close right afterwards', async () => {
  const { ledger, manager, all } = await blockWith(1_000)
  const settled = Promise.allSettled(all)
  await within(manager.close(), 'close')
  const outcomes = await within(settled, 'all commands settle')
  for (const [index, outcome] of outcomes.entries()) {
    expect(ledger.runs(index)).toBeLessThanOrEqual(1)
    if (outcome.status === 'fulfilled') expect(outcome.value).toEqual(payload(index))
    else expect(outcome.reason).toMatchObject({ code: 'CORELANE_COMMAND_DROPPED' })
  }
})

test('a partition that stalled on a full ring goes on as soon as there is room', async () => {
  const count = 200
  const partitions = PartitionConfig.single()
  const { ledger, manager } = await openLedger(count, { partitions, ringBytes: SMALL })
  const text = 'r'.repeat(1_500)
  for (let round = 0; round < 10; round++) {
    const all = range(count).map((index) => manager.run('carry', { index, text }))
    await Promise.resolve()
    block(20)
    await within(Promise.all(all), `round ${round}`)
    expect(ledger.allRuns(count)).toEqual(new Array(count).fill(round + 1))
  }
})

test('asynchronous handlers get their results through a full ring too', async () => {
  const count = 500
  const manager = await open('values.js', {
    partitions: PartitionConfig.single(),
    ringBytes: SMALL,
  })
  const payloads = range(count).map((index) => `${index} ${'a'.repeat(1_500)}`)
  const all = manager.submitMany('query', 'later', payloads)
  await Promise.resolve()
  block(300)
  expect(await within(all, 'all commands')).toEqual(payloads)
})

test('a broadcast gets through while rings are full', async () => {
  const count = 1_000
  const partitions = PartitionConfig.balanced(2)
  const { ledger, manager } = await openLedger(count + 1, { partitions, ringBytes: SMALL })
  const text = 'b'.repeat(1_000)
  const all = range(count).map((index) => manager.run('carry', { index, text }))
  await ledger.waitForStarts(10)
  block(100)
  expect(await within(manager.broadcast('mark', count), 'broadcast')).toEqual([count, count])
  await within(Promise.all(all), 'all commands')
  expect(ledger.allRuns(count + 1)).toEqual([...new Array(count).fill(1), 2])
})
