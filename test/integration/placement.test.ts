// Placement: which partition a command goes to under each strategy, and that none idles while
// another holds commands that could move.

import { PartitionConfig, type PartitionQuestion, stableHash } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { create, openLedger } from '../support/managers.ts'
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

test('round robin gives the partitions commands in turn', async () => {
  const { manager } = await openLedger(900, { partitions: PartitionConfig.roundRobin(3) })
  const payloads = range(900)
  const places = await within(manager.submitMany('query', 'where', payloads), 'all commands')
  expect((places as Place[]).map(({ partition }) => partition)).toEqual(
    payloads.map((index) => index % 3),
  )
})

test('hash places a command by the stable hash of its key, or of its type without one', async () => {
  const { manager } = await openLedger(201, { partitions: PartitionConfig.hash(5) })
  const keys = ['a', '', 'ключ', '🔑', '\ud800', 'x'.repeat(1024), 'user:1', 'user:2']
  for (const [index, key] of keys.entries()) {
    if (key === '') continue
    const place = (await within(manager.run('where', index, { key }), `key ${index}`)) as Place
    expect(place.partition).toBe(stableHash(key) % 5)
  }
  const place = (await within(manager.run('where', 200), 'no key')) as Place
  expect(place.partition).toBe(stableHash('where') % 5)
})

test('a custom partitioner is asked once for each command and learns what it may need', async () => {
  const questions: PartitionQuestion[] = []
  const { manager } = await openLedger(10, {
    partitions: PartitionConfig.custom(3, (question) => {
      questions.push(question)
      return (question.payload as number) % question.partitions
    }),
  })
  for (let index = 0; index < 6; index++) {
    const options = index % 2 === 0 ? { key: `key ${index}` } : {}
    const place = manager.submit('skill', 'where', index, options)
    expect(((await within(place, `command ${index}`)) as Place).partition).toBe(index % 3)
  }
  expect(questions.length).toBe(6)
  expect(questions[2]).toEqual({
    lane: 'skill',
    type: 'where',
    key: 'key 2',
    payload: 2,
    partitions: 3,
  })
  expect(questions[3]?.key).toBe(undefined)
})

test('a custom partitioner that throws or answers badly rejects that one command', async () => {
  let answer: () => unknown = () => 0
  const { manager } = await openLedger(1, {
    partitions: PartitionConfig.custom(2, () => answer() as number),
  })
  const bad = [-1, 2, 0.5, Number.NaN, '0', null, undefined, {}, 1n]
  for (const value of bad) {
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
  answer = async () => 0
  await refused(manager.run('where', 0), 'CORELANE_INVALID_PARTITION')
  answer = () => 1
  expect(((await within(manager.run('where', 0), 'a good answer')) as Place).partition).toBe(1)
  expect(manager.stats().submitted).toBe(1)
})

test('an asynchronous partitioner that rejects causes no unhandled rejection', async () => {
  const refuse = async () => {
    throw new Error('rejected later')
  }
  const { manager } = await openLedger(1, {
    partitions: PartitionConfig.custom(2, refuse as never),
  })
  await refused(manager.run('where', 0), 'CORELANE_INVALID_PARTITION')
  // The check after each test fails if it was reported.
})

test.each(['balanced', 'roundRobin'] as const)('a key under %s is refused', async (strategy) => {
  const { manager } = await openLedger(1, { partitions: { strategy, count: 2 } })
  const error = await failure(manager.run('where', 0, { key: 'k' }), 'a key')
  expect(error).toMatchObject({ name: 'ConfigError', code: 'CORELANE_INVALID_COMMAND' })
  expect(error.message).toContain(`"${strategy}"`)
  expect(error.message).toContain('"hash"')
})

test('none has a single partition', async () => {
  const { manager } = await openLedger(1, { partitions: PartitionConfig.single() })
  expect(manager.stats().partitions.length).toBe(1)
  const place = (await within(manager.run('where', 0, { key: 'k' }), 'where')) as Place
  expect(place.partition).toBe(0)
})

test('auto is balanced with at least one partition, and CORELANE_CORES overrides how many', () => {
  expect(PartitionConfig.auto()).toMatchObject({ strategy: 'balanced', count: undefined })
  const before = process.env.CORELANE_CORES
  try {
    process.env.CORELANE_CORES = '3'
    const manager = create('ledger.js', { partitions: PartitionConfig.auto() })
    expect(manager.stats()).toMatchObject({ strategy: 'balanced' })
    expect(manager.stats().partitions.length).toBe(3)
    delete process.env.CORELANE_CORES
    expect(create('ledger.js').stats().partitions.length).toBeGreaterThanOrEqual(1)
  } finally {
    if (before === undefined) delete process.env.CORELANE_CORES
    else process.env.CORELANE_CORES = before
  }
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

test('stats add up while commands run and once all have ended', async () => {
  const { ledger, manager } = await openLedger(4, { partitions: PartitionConfig.balanced(2) })
  const running = [manager.submit('skill', 'gate', 0), manager.submit('skill', 'gate', 1)]
  await ledger.waitForStarts(2)
  const waiting = [manager.submit('prompt', 'mark', 2), manager.submit('prompt', 'fail', 3)]
  waiting[1]!.catch(() => {})
  await until(() => manager.stats().running === 2, 'two active')
  expect(manager.stats()).toMatchObject({ queued: 2, submitted: 4, completed: 0, failed: 0 })
  ledger.openGate()
  await within(Promise.allSettled([...running, ...waiting]), 'all commands')
  const { lanes, partitions, ...sum } = manager.stats()
  expect(sum).toMatchObject({ queued: 0, running: 0, submitted: 4, completed: 3, failed: 1 })
  expect(lanes.skill).toMatchObject({ submitted: 2, completed: 2, failed: 0 })
  expect(lanes.prompt).toMatchObject({ submitted: 2, completed: 1, failed: 1 })
  expect(partitions.map(({ bound, boundWorkUs }) => [bound, boundWorkUs])).toEqual([
    [0, 0],
    [0, 0],
  ])
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
