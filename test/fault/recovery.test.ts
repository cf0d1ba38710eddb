// Recovery: threads die, and their commands run again if they may. Goal: what was running is lost
// or runs again as its policy says; whoever kills threads is found out and buried, and those that
// ran beside it succeed; a module that cannot live is given up, said so, and revived by a reload.
// Method: deaths of every kind; handlers write down in shared memory who ran beside them.

import { type LaneEvent, type LaneEventName, PartitionConfig, type QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { moduleOf, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const one = PartitionConfig.single()
const lost = { name: 'PartitionLostError', code: 'CORELANE_PARTITION_LOST', started: true }
const retryLost = { retry: { retryLost: true } }
const RUNS = 4

/** A manager of suspects.js, and what its handlers write down. */
async function suspectManager(options: object = {}) {
  const words = new Int32Array(new SharedArrayBuffer(4 * (4 + RUNS * 100)))
  const manager = await open('suspects.js', {
    partitions: one,
    workerData: { words: words.buffer },
    floatingRejections: 'end',
    resourceLimits: { maxOldGenerationSizeMb: 24 },
    ...options,
  })
  return {
    manager,
    openGate: () => {
      Atomics.store(words, 0, 1)
      Atomics.notify(words, 0)
    },
    started: () => Atomics.load(words, 1),
    /** How many ran in its thread at most, in each run of a command; 0 if there was none. */
    company: (index: number) => [...words.subarray(4 + RUNS * index, 4 + RUNS * (index + 1))],
  }
}

async function read(manager: QueueManager, names: LaneEventName[], count: number) {
  const subscription = manager.subscribe({ events: names })
  const seen: LaneEvent[] = []
  const all = async () => {
    for await (const event of subscription) if (seen.push(event) === count) break
    return seen
  }
  return { seen, all: within(all(), `${count} of ${names.join(', ')}`) }
}

const deaths = ['exit', 'throw in a timer', 'floating rejection', 'heap']

test.each(deaths)('after a death by %s a command runs again if it may', async (how) => {
  const { manager } = await suspectManager()
  const again = manager.execute('query', 'killTimes', { times: 1, how }, retryLost)
  const outcome = await within(again, 'the one that runs again')
  expect(outcome).toMatchObject({ ok: true, value: 2, info: { attempt: 2, partition: 0 } })
  expect(manager.stats()).toMatchObject({ failed: 0, retried: 1, deadLetters: 0 })
})

test.each([
  { maxCrashes: 1, how: 'exit' },
  { maxCrashes: 2, how: 'throw in a timer' },
  { maxCrashes: 3, how: 'floating rejection' },
])('one that killed $maxCrashes threads is a dead letter ($how)', async ({ maxCrashes, how }) => {
  const { manager } = await suspectManager({ maxCrashes })
  const payload = { times: 9, how }
  // Deaths take none of the retries.
  const retry = { retries: 1, delayMs: 1, retryLost: true }
  const killer = failure(manager.run('killTimes', payload, { retry }), 'the killer')
  const others = Promise.all(range(20).map((index) => manager.run('echo', index)))
  const error = await killer
  expect(error).toMatchObject(lost)
  expect(await within(others, 'the others')).toEqual(range(20))
  const [letter] = manager.deadLetters.list()
  expect(letter).toMatchObject({ crashes: maxCrashes, attempts: maxCrashes, payload, error })
  expect(manager.stats()).toMatchObject({ retried: maxCrashes - 1, failed: 1, completed: 20 })
  const partition = () => manager.stats().partitions[0]!
  await until(() => partition().incarnations === maxCrashes + 1, 'the last replacement')
})

test('a stack overflow in a handler is an error like any other', async () => {
  const { manager } = await suspectManager()
  const retry = { retries: 2, delayMs: 1, retryLost: true }
  const outcome = await within(manager.execute('query', 'overflow', 0, { retry }), 'overflow')
  expect(outcome).toMatchObject({ ok: false, info: { attempt: 3 } })
  expect(outcome.ok || outcome.error).toBeInstanceOf(RangeError)
  expect(manager.stats().partitions[0]).toMatchObject({ incarnations: 1 })
  expect(manager.deadLetters.list()[0]).toMatchObject({ attempts: 3, crashes: 0 })
})

test('of several that ran at a death each runs alone next, so that the killer is found', async () => {
  const { manager, openGate, started, company } = await suspectManager({
    concurrencyPerPartition: 4,
  })
  const innocents = [0, 2, 3].map((index) => manager.run('innocent', index, retryLost))
  const killer = failure(manager.run('killer', 1, retryLost), 'the killer')
  await until(() => started() === 4, 'all four run')
  const later = range(30).map((index) => manager.run('innocent', index + 4))
  openGate()
  expect(await killer).toMatchObject(lost)
  expect(await within(Promise.all(innocents), 'the innocents')).toEqual([0, 2, 3])
  expect(await within(Promise.all(later), 'those that waited')).toHaveLength(30)
  for (const index of [0, 2, 3]) expect(company(index)).toEqual([4, 1, 0, 0])
  // Alone it kills a second thread and a third: the first may have been another's doing.
  expect(company(1)).toEqual([4, 1, 1, 0])
  expect(manager.deadLetters.list()).toMatchObject([{ type: 'killer', crashes: 3, attempts: 3 }])
  expect(manager.stats().partitions[0]).toMatchObject({ incarnations: 4 })
})

test('on several partitions innocents succeed and each killer is buried, whoever ran beside', async () => {
  const { manager, openGate, started, company } = await suspectManager({
    partitions: PartitionConfig.balanced(2),
    concurrencyPerPartition: 3,
    maxCrashes: 1,
  })
  const killers = new Set([1, 4])
  const all = range(6).map((index) =>
    manager.run(killers.has(index) ? 'killer' : 'innocent', index, retryLost),
  )
  await until(() => started() === 6, 'all six run')
  const later = range(20).map((index) => manager.run('echo', index))
  openGate()
  const ends = await within(Promise.allSettled(all), 'all six')
  for (const [index, { status }] of ends.entries()) {
    expect(status).toBe(killers.has(index) ? 'rejected' : 'fulfilled')
    // Whoever ran again ran alone.
    for (const count of company(index).slice(1)) expect(count).toBeLessThanOrEqual(1)
  }
  expect(await within(Promise.all(later), 'the others')).toEqual(range(20))
  expect(manager.deadLetters.list().map(({ type }) => type)).toEqual(['killer', 'killer'])
  expect(manager.stats()).toMatchObject({ queued: 0, running: 0, failed: 2, completed: 24 })
})

test('the order of each key holds over deaths for all that were not hit', async () => {
  const count = 300
  const ledger = new Ledger(count)
  const { workerData } = ledger
  const manager = await open('stuck.js', { partitions: PartitionConfig.hash(3), workerData })
  const isDeadly = (index: number) => index % 75 === 40
  const all = range(count).map((index) => {
    const options = { key: `key ${index % 5}`, ...retryLost }
    return isDeadly(index)
      ? manager.run('die', { index, how: 'exit' }, options)
      : manager.run('mark', index, options)
  })
  const ends = await within(Promise.allSettled(all), 'all commands')
  const rejected = ends.flatMap(({ status }, index) => (status === 'rejected' ? [index] : []))
  expect(rejected).toEqual(range(count).filter(isDeadly))
  expect(ledger.allRuns(count)).toEqual(range(count).map((index) => (isDeadly(index) ? 2 : 1)))
  for (const key of range(5)) {
    const indices = ledger.order(count).filter((index) => index % 5 === key && !isDeadly(index))
    expect(indices).toEqual(indices.toSorted((a, b) => a - b))
  }
})

/** Loads as long as the flag is down; then it fails in a way of its own. */
const frail = (how: string) =>
  moduleOf(`
    import { workerData } from 'node:worker_threads'
    const words = new Int32Array(workerData.words)
    Atomics.add(words, 1, 1)
    if (Atomics.load(words, 0) === 1) { ${how} }
    export const die = () => process.exit(7)
    export const echo = (payload) => payload`)

const unfit = [
  { how: 'process.exit(3)', says: 'exited with code 3', more: {} },
  {
    how: "throw new TypeError('bad')",
    says: 'TypeError: bad',
    more: { cause: { message: 'bad' } },
  },
]

test('a module that cannot load any more is given up, unless for want of files, and a reload revives it', async () => {
  // Side by side, since the waits between the attempts add up.
  await Promise.all([...unfit.map(giveUpAndRevive), outlastShortage()])
})

async function outlastShortage() {
  const words = new Int32Array(new SharedArrayBuffer(8))
  const handlers = frail("throw Object.assign(new Error('no more files'), { code: 'EMFILE' })")
  const options = { partitions: PartitionConfig.single(), workerData: { words: words.buffer } }
  const manager = await open('values.js', { handlers, ...options })
  Atomics.store(words, 0, 1)
  const killer = failure(manager.run('die'), 'the deadly one')
  const queued = manager.run('echo', 1)
  await killer
  await until(() => Atomics.load(words, 1) > 1 + 6, 'more attempts than others get')
  Atomics.store(words, 0, 0)
  expect(await within(queued, 'the queued one')).toBe(1)
}

async function giveUpAndRevive({ how, says, more }: (typeof unfit)[number]) {
  const code = 'CORELANE_HANDLERS_FAILED'

  const words = new Int32Array(new SharedArrayBuffer(16))
  const options = { partitions: one, workerData: { words: words.buffer } }
  const manager = await open('values.js', { handlers: frail(how), ...options })
  const { seen, all } = await read(manager, ['queue.partition.lost', 'queue.partition.failed'], 2)
  Atomics.store(words, 0, 1)
  const killer = failure(manager.run('die', 0, retryLost), 'the deadly one')
  const queued = range(5).map((index) => failure(manager.run('echo', index), 'a queued one'))
  for (const error of await within(Promise.all([killer, ...queued]), 'what waited')) {
    expect(error).toMatchObject({ code, ...more })
    expect(error.message).toContain(says)
  }
  // The first replacement and five more: the waits between them grow.
  expect(Atomics.load(words, 1)).toBe(1 + 6)
  await refused(manager.run('echo', 1), code)
  const { failing, partitions } = manager.stats()
  expect(failing?.message).toContain(says)
  expect(partitions[0]).toMatchObject({ state: 'failed', failures: 6 })
  await all
  expect(seen.map(({ event, partition }) => [event, partition])).toEqual([
    ['queue.partition.lost', 0],
    ['queue.partition.failed', 0],
  ])
  await refused(manager.reload(), code)
  expect(manager.stats().partitions[0]).toMatchObject({ state: 'failed' })
  await within(manager.reload(moduleOf('export const fresh = () => 1')), 'a reload')
  expect(await within(manager.run('fresh'), 'the new handler')).toBe(1)
  expect(manager.stats().failing).toBeUndefined()
  expect(manager.stats().partitions[0]).toMatchObject({ state: 'ready', failures: 0 })
}

test('a reload while a partition backs off revives it at once, with what waits', async () => {
  const words = new Int32Array(new SharedArrayBuffer(16))
  const options = { partitions: one, workerData: { words: words.buffer } }
  const handlers = frail("throw new TypeError('bad')")
  const manager = await open('values.js', { handlers, ...options })
  Atomics.store(words, 0, 1)
  const killer = failure(manager.run('die'), 'the deadly one')
  const queued = range(5).map((index) => manager.run('echo', index))
  await killer
  await until(() => Atomics.load(words, 1) >= 4, 'some failed loads')
  const good = 'export const echo = (payload) => -payload; export const more = () => 1'
  await within(manager.reload(moduleOf(good)), 'reload')
  expect(await within(Promise.all(queued), 'the queued ones')).toEqual([-0, -1, -2, -3, -4])
  expect(await within(manager.run('more'), 'the new handler')).toBe(1)
  expect(manager.stats()).toMatchObject({ failing: undefined, queued: 0 })
})
