// Placement: which partition a command goes to under each strategy, and that none idles while
// another holds commands that could move.

import { PartitionConfig, stableHash } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { openLedger } from '../support/managers.ts'
import { range } from '../support/range.ts'

interface Place {
  readonly index: number
  readonly partition: number
}

function tally(partitions: readonly number[], count: number): number[] {
  const tallies = new Array<number>(count).fill(0)
  for (const partition of partitions) tallies[partition]!++
  return tallies
}

const places = [0, 1, 2, 0, 1, 2]

test.each([
  ['in turn', PartitionConfig.roundRobin(3), places],
  ['by the hash of its key', PartitionConfig.hash(3), places.map((i) => stableHash(`k${i}`) % 3)],
  ['as the caller says', PartitionConfig.custom(3, ({ payload }) => payload as number), places],
])('a command runs on the partition that it is placed on %s', async (_, partitions, expected) => {
  const { manager } = await openLedger(3, { partitions })
  for (const [i, place] of places.entries()) {
    const options = partitions.strategy === 'hash' ? { key: `k${place}` } : {}
    const { partition } = (await within(manager.run('where', place, options), 'where')) as Place
    expect([i, partition]).toEqual([i, expected[i]])
  }
})

test('a key is refused where the strategy takes none, naming one that does', async () => {
  const { manager } = await openLedger(1, { partitions: PartitionConfig.roundRobin(2) })
  const error = await failure(manager.run('where', 0, { key: 'k' }), 'a key')
  expect(error).toMatchObject({ name: 'ConfigError', code: 'CORELANE_INVALID_COMMAND' })
  expect(error.message).toMatch(/"roundRobin".*"hash"/s)
})

test('a custom partitioner that throws or answers badly rejects that one command', async () => {
  let answer: () => unknown = () => 0
  const { manager } = await openLedger(1, {
    partitions: PartitionConfig.custom(2, () => answer() as number),
  })
  for (const value of [2, null, {}, 1n, Promise.resolve(0)]) {
    answer = () => value
    const error = await refused(manager.run('where', 0), 'CORELANE_INVALID_PARTITION')
    expect(error.message).toContain('an integer from 0 to 1')
  }
  answer = () => {
    throw new RangeError('the partitioner is broken')
  }
  const thrown = await failure(manager.run('where', 0), 'a partitioner that throws')
  expect(thrown).toBeInstanceOf(RangeError)
  expect(thrown.message).toBe('the partitioner is broken')
  answer = () => 1
  expect(((await within(manager.run('where', 0), 'a good answer')) as Place).partition).toBe(1)
  expect(manager.stats().submitted).toBe(1)
})

test('balanced uses all partitions', async () => {
  const count = 400
  const { ledger, manager } = await openLedger(count, { partitions: PartitionConfig.balanced(4) })
  const payloads = range(count).map((index) => ({ index, ms: 1 }))
  await within(manager.submitMany('query', 'burn', payloads), 'all commands')
  const ran = payloads.map(({ index }) => ledger.partition(index))
  expect(Math.min(...tally(ran, 4))).toBeGreaterThan(count / 40)
})

test('a long command does not hold up short ones bound behind it while another partition is idle', async () => {
  const short = 40
  const { ledger, manager } = await openLedger(short + 1, {
    partitions: PartitionConfig.balanced(2),
  })
  const held = manager.run('gate', short)
  const all = range(short).map((index) => manager.run('mark', index))
  await within(Promise.all(all), 'the short commands, with one partition held')
  expect(ledger.allRuns(short)).toEqual(new Array(short).fill(1))
  ledger.openGate()
  await within(held, 'the held command')
})

test('short commands behind an asynchronous one that never ends move to an idle partition', async () => {
  const { ledger, manager } = await openLedger(60, {
    partitions: PartitionConfig.balanced(2),
    closeTimeoutMs: 50,
  })
  const stuck = manager.run('never', 59)
  stuck.catch(() => {})
  const all = range(59).map((index) => manager.run('mark', index))
  // On a loaded machine the others may all run before the first thread has woken.
  await until(() => ledger.runs(59) === 1, 'the start of the one that never ends')
  await within(Promise.all(all), 'the short commands, with one partition held')
  expect(ledger.allRuns(60)).toEqual(new Array(60).fill(1))
})

test('what is bound behind a long command of a limited lane moves to a partition that is idle', async () => {
  const { ledger, manager } = await openLedger(200, {
    partitions: PartitionConfig.balanced(2),
    lanes: { narrow: { priority: 0, maxConcurrency: 1 }, wide: { priority: 5 } },
  })
  // The gate holds one partition; the other has a command of the lane that waits for its slot.
  const narrow = range(50).map((i) => manager.submit('narrow', 'gate', i))
  await ledger.waitForStarts(1)
  for (let i = 50; i < 60; i++) {
    expect(await within(manager.submit('wide', 'mark', i), `wide ${i}`)).toBe(i)
  }
  ledger.openGate()
  await within(Promise.all(narrow), 'the narrow lane')
})
