// Time-outs: commands run longer than they may. Goal: the caller is told in time, a handler that
// ends in its grace costs nothing, one that does not costs its thread and nothing else. Method:
// handlers of every kind that nothing but the end of their thread stops, and native code that not
// even that stops; a ledger tells what ran.

import { PartitionConfig, type QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { block, failure, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { moduleOf, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const one = PartitionConfig.single()
const timeout = { name: 'TimeoutError', code: 'CORELANE_TIMEOUT' }

function first(manager: QueueManager) {
  return manager.stats().partitions[0]!
}

function stuckManager(ledger: Ledger, options: object = {}): Promise<QueueManager> {
  return open('stuck.js', { partitions: one, workerData: ledger.workerData, ...options })
}

test('an asynchronous handler sees its signal abort, and its thread is kept if it ends then', async () => {
  const manager = await stuckManager(new Ledger(0), { timeoutGraceMs: 15_000 })
  const error = await failure(manager.run('heed', 0, { timeoutMs: 40 }), 'the late one')
  expect(error).toMatchObject(timeout)
  expect(error.details).toEqual({ type: 'heed', lane: 'query', timeoutMs: 40, attempt: 1 })
  expect(await within(manager.run('lookBack'), 'the next one')).toEqual(timeout)
  expect(first(manager)).toMatchObject({ incarnations: 1, detached: 0, terminating: 0, bound: 0 })
  expect(manager.stats()).toMatchObject({ timedOut: 1, failed: 1, completed: 1, queued: 0 })
})

test('a loop that looks whether it is aborted ends in its grace, and its thread is kept', async () => {
  const manager = await stuckManager(new Ledger(0), { timeoutGraceMs: 15_000 })
  await failure(manager.run('heedInLoop', 0, { timeoutMs: 40 }), 'the late one')
  expect(await within(manager.run('lookBack'), 'the next one')).toBe('out of the loop')
  expect(first(manager)).toMatchObject({ incarnations: 1 })
})

const balanced = { strategy: 'balanced', partitions: PartitionConfig.balanced(2), options: {} }
const hash = {
  strategy: 'hash',
  partitions: PartitionConfig.hash(2),
  options: { key: 'the same' },
}
const single = { strategy: 'single', partitions: one, options: {} }

// The coordinator does not know what holds a thread: one kind shows that no strategy does worse.
test.each([
  ...['loop', 'regexp', 'blocked'].map((kind) => ({ ...balanced, kind })),
  ...[hash, single].map((placing) => ({ ...placing, kind: 'loop' })),
])(
  'a handler that never ends ($kind) costs its thread and no neighbour ($strategy)',
  async ({ kind, strategy, partitions, options }) => {
    const ledger = new Ledger(40)
    const manager = await stuckManager(ledger, { partitions, timeoutGraceMs: 10 })
    const late = failure(manager.run(kind, 0, { ...options, timeoutMs: 40 }), 'the late one')
    const others = range(40).map((index) => manager.run('mark', index, options))
    expect(await late).toMatchObject({ ...timeout, details: { type: kind } })
    expect(await within(Promise.all(others), 'the neighbours')).toEqual(range(40))
    expect(ledger.allRuns(40)).toEqual(new Array(40).fill(1))
    if (strategy !== 'balanced') expect(ledger.order(40)).toEqual(range(40))
    // Under balanced the other partition may have run all of them before the grace was over.
    const lost = () => manager.stats().partitions.filter((partition) => partition.incarnations > 1)
    await until(() => lost().length === 1, 'its partition has another thread')
    await until(() => lost()[0]!.terminating === 0, 'the thread has ended')
    expect(lost()[0]).toMatchObject({ incarnations: 2, failures: 0 })
  },
)

const natives = [
  { kind: 'sleeping', payload: 3 },
  { kind: 'hashing', payload: 1_500_000 },
  { kind: 'native', payload: 150_000_000 },
]

test.each(natives)(
  'while native code ($kind) holds a thread that was given up its neighbours run on another',
  async ({ kind, payload }) => {
    const ledger = new Ledger(10)
    const manager = await stuckManager(ledger)
    const late = failure(manager.run(kind, payload, { timeoutMs: 40 }), 'the late one')
    const others = Promise.all(range(10).map((index) => manager.run('mark', index)))
    expect(await late).toMatchObject(timeout)
    await until(() => first(manager).terminating === 1, 'its thread is given up')
    expect(await within(others, 'the neighbours')).toEqual(range(10))
    // The others take long enough too, but how long depends on the machine.
    if (kind === 'sleeping')
      expect(first(manager)).toMatchObject({ terminating: 1, state: 'ready' })
    await until(() => first(manager).terminating === 0, 'the native code ends')
    expect(first(manager)).toMatchObject({ incarnations: 2, state: 'ready', bound: 0 })
    expect(ledger.order(10)).toEqual(range(10))
  },
)

test('with terminatingMax 0 a partition waits for the end of native code, and then goes on', async () => {
  const ledger = new Ledger(5)
  const manager = await stuckManager(ledger, { terminatingMax: 0 })
  const late = failure(manager.run('sleeping', 1, { timeoutMs: 40 }), 'the late one')
  const others = Promise.all(range(5).map((index) => manager.run('mark', index)))
  await late
  await until(() => {
    const { started } = ledger
    const { terminating, incarnations } = first(manager)
    if (terminating > 0) expect({ started, incarnations }).toEqual({ started: 0, incarnations: 1 })
    return incarnations === 2
  }, 'another thread')
  expect(await within(others, 'the neighbours')).toEqual(range(5))
})

test('the time-out of a command goes before that of its lane, and neither counts the wait', async () => {
  const manager = await stuckManager(new Ledger(0), {
    lanes: { strict: { timeoutMs: 300 }, lax: { timeoutMs: 60_000 } },
  })
  const long = manager.submit('strict', 'wait', { ms: 700 }, { timeoutMs: 60_000 })
  // These wait for longer than they may run.
  const short = range(5).map(() => manager.submit('strict', 'wait', { ms: 1 }))
  const late = failure(manager.submit('lax', 'loop', 0, { timeoutMs: 40 }), 'the late one')
  const slept = await within(Promise.all([long, ...short]), 'those in time')
  expect(slept).toEqual(new Array(6).fill('slept'))
  expect((await late).details).toMatchObject({ timeoutMs: 40 })
  const strict = await failure(manager.submit('strict', 'loop'), 'the late one of the lane')
  expect(strict.details).toMatchObject({ timeoutMs: 300, lane: 'strict' })
})

test('a main thread that looks late times out nothing that ended in time', async () => {
  const manager = await stuckManager(new Ledger(0), { ringBytes: 2 ** 14 })
  await within(manager.run('echo', 1), 'a first command')
  for (let round = 0; round < 3; round++) {
    // More than the result ring holds: the last that ended has no room until the main thread looks.
    const all = range(40).map(() => manager.run('large', 1500, { timeoutMs: 250 }))
    await new Promise((resolve) => setImmediate(resolve))
    block(500)
    const lengths = (await within(Promise.all(all), 'all of them')) as string[]
    expect(lengths.map(({ length }) => length)).toEqual(new Array(40).fill(1500))
  }
  expect(manager.stats().timedOut).toBe(0)
})

test('a command whose outcome finds no room has ended, however long its thread cannot send it', async () => {
  const handlers = moduleOf(`
    export const large = (bytes) => 'x'.repeat(bytes)
    export const blocksLater = async ({ afterMs, ms }) => {
      await new Promise((resolve) => setTimeout(resolve, afterMs))
      return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
    }`)
  const manager = await open('values.js', {
    partitions: PartitionConfig.single(),
    concurrencyPerPartition: 2,
    ringBytes: 2 ** 14,
    handlers,
  })
  await within(manager.run('large', 1), 'a first command')
  // The thread is busy when the main thread looks, so what is kept cannot use the room it gets.
  const busy = manager.run('blocksLater', { afterMs: 200, ms: 800 })
  const all = range(40).map(() => manager.run('large', 1500, { timeoutMs: 250 }))
  await new Promise((resolve) => setImmediate(resolve))
  block(500)
  const lengths = (await within(Promise.all(all), 'all of them')) as string[]
  expect(lengths.map(({ length }) => length)).toEqual(new Array(40).fill(1500))
  expect(await within(busy, 'the busy one')).toBe('timed-out')
  expect(manager.stats().timedOut).toBe(0)
})

test('those that run beside a stuck handler are lost, and run again if they may', async () => {
  const ledger = new Ledger(3)
  const manager = await stuckManager(ledger, { concurrencyPerPartition: 3, maxCrashes: 1 })
  const lost = failure(manager.run('softGate', 0), 'one that is lost')
  const again = manager.execute('query', 'softGate', 1, { retry: { retryLost: true } })
  await ledger.waitForStarts(2)
  const late = failure(manager.run('loop', 0, { timeoutMs: 40 }), 'the late one')
  const queued = manager.run('softGate', 2)
  expect(await late).toMatchObject(timeout)
  const error = await lost
  expect(error).toMatchObject({ code: 'CORELANE_PARTITION_LOST', started: true })
  expect(error.cause).toMatchObject(timeout)
  await ledger.waitForStarts(4)
  ledger.openGate()
  // It had nothing to do with it: no crash is counted.
  const outcome = await within(again, 'the one that may run again')
  expect(outcome).toMatchObject({ ok: true, value: 1, info: { attempt: 2 } })
  expect(await within(queued, 'the queued one')).toBe(2)
  expect(ledger.allRuns(3)).toEqual([1, 2, 1])
  expect(manager.stats()).toMatchObject({ retried: 1, deadLetters: 0, timedOut: 1, failed: 2 })
})

test('late results settle no other command, though slots are used again', async () => {
  const manager = await stuckManager(new Ledger(0), {
    concurrencyPerPartition: 8,
    timeoutGraceMs: 15_000,
  })
  for (let round = 0; round < 2; round++) {
    const deaf = { ms: 500, deaf: true }
    const late = range(6).map(() => failure(manager.run('wait', deaf, { timeoutMs: 20 }), 'late'))
    await within(Promise.all(late), 'the late ones')
    let value = 0
    while (first(manager).detached > 0) {
      const values = range(50).map(() => value++)
      const echoes = Promise.all(values.map((each) => manager.run('echo', each)))
      expect(await within(echoes, 'the others')).toEqual(values)
    }
  }
  expect(first(manager)).toMatchObject({ incarnations: 1, bound: 0 })
  expect(manager.stats()).toMatchObject({ queued: 0, running: 0, timedOut: 12, failed: 12 })
})

test('a late command holds its slot in the lane until its thread is gone, and no longer', async () => {
  const ledger = new Ledger(2)
  const manager = await stuckManager(ledger, {
    partitions: PartitionConfig.balanced(2),
    lanes: { limited: { maxConcurrency: 1 }, open: {} },
  })
  const payload = { index: 0, seconds: 1 }
  const late = failure(manager.submit('limited', 'sleepingAt', payload, { timeoutMs: 40 }), 'it')
  await ledger.waitForStarts(1)
  const next = manager.submit('limited', 'mark', 1)
  await late
  const terminating = () =>
    manager.stats().partitions.some((partition) => partition.terminating > 0)
  await until(terminating, 'its thread is given up')
  await until(() => {
    const runs = ledger.runs(1)
    const isHeld = terminating()
    if (isHeld) expect(runs).toBe(0)
    return !isHeld
  }, 'its thread is gone')
  expect(await within(next, 'the next one of the lane')).toBe(1)
})

test('a late command that is retried runs on the replacement, and the last time-out is final', async () => {
  const ledger = new Ledger(1)
  const manager = await stuckManager(ledger)
  const retry = { retries: 2, delayMs: 1, retryTimeouts: true }
  const options = { timeoutMs: 40, retry }
  const outcome = await within(manager.execute('query', 'forever', 0, options), 'the late one')
  expect(outcome).toMatchObject({ ok: false, error: timeout, info: { attempt: 3 } })
  expect(ledger.runs(0)).toBe(3)
  await until(() => first(manager).incarnations === 4, 'the last replacement')
  expect(manager.stats()).toMatchObject({ timedOut: 3, retried: 2, failed: 1, deadLetters: 1 })
})

test('close ends threads that are stuck, with and without a time-out that has passed', async () => {
  const manager = await stuckManager(new Ledger(1), { closeTimeoutMs: 100 })
  const late = failure(manager.run('loop', 0, { timeoutMs: 40 }), 'the late one')
  const running = failure(manager.run('forever', 0, { timeoutMs: 60_000 }), 'the running one')
  const queued = failure(manager.run('echo', 0), 'the queued one')
  expect(await late).toMatchObject(timeout)
  await until(() => manager.stats().running === 1, 'the running one')
  await within(manager.close(), 'close')
  expect(await running).toMatchObject({ code: 'CORELANE_COMMAND_DROPPED' })
  expect(await queued).toMatchObject({ code: 'CORELANE_COMMAND_DROPPED' })
})
