// Renewal, runs: commands that go on in a thread which another has taken over from. Goal: they keep
// their key and their slot until they end or their grace is over, and hold up nothing else. Method:
// handlers and teardowns that end once a word in shared memory says so.

import { PartitionConfig, type QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { moduleOf, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

function openModule(text: string, options: object = {}): Promise<QueueManager> {
  return open('values.js', {
    partitions: PartitionConfig.single(),
    handlers: moduleOf(text),
    ...options,
  })
}

test('a run that outlives its time-out ends with its thread, though a broadcast waits for it there', async () => {
  const manager = await openModule(
    `export const rest = () => new Promise(() => {})
     export const echo = (payload) => payload`,
    {
      lanes: { narrow: { maxConcurrency: 1 } },
      concurrencyPerPartition: 2,
      timeoutGraceMs: 2000,
      broadcastTimeoutMs: 60_000,
    },
  )
  const late = await failure(manager.run('rest', 0, { timeoutMs: 50 }), 'the late one')
  expect(late).toMatchObject({ code: 'CORELANE_TIMEOUT' })
  const broadcast = failure(manager.broadcast('echo', 1), 'the broadcast')
  // It takes over at once: nothing else runs.
  await within(manager.reload(), 'the reload')
  expect(await broadcast).toMatchObject({ code: 'CORELANE_PARTITION_LOST' })
  expect(await within(manager.run('echo', 2), 'the next')).toBe(2)
})

/**
 * A manager whose handlers and first thread end once the test says so: word 0 lets `hold` end, word
 * 1 the teardown of the first thread; word 2 counts how often `hold` has begun.
 */
async function openSlow(options: object) {
  const words = new Int32Array(new SharedArrayBuffer(12))
  const text = `
    import { workerData } from 'node:worker_threads'
    import { setTimeout as sleep } from 'node:timers/promises'
    const words = new Int32Array(workerData)
    const isSet = async (word) => { while (Atomics.load(words, word) === 0) await sleep(2) }
    export const echo = (payload) => payload
    export const hold = () => {
      Atomics.add(words, 2, 1)
      return isSet(0)
    }
    export const teardown = ({ incarnation }) => incarnation === 1 ? isSet(1) : undefined`
  const manager = await openModule(text, {
    workerData: words.buffer,
    concurrencyPerPartition: 2,
    closeTimeoutMs: 60_000,
    ...options,
  })
  return { words, manager }
}

/** Gives up a run of `hold` and reloads; resolves once the next thread has taken over. */
async function reloadBehindARun(manager: QueueManager, words: Int32Array, key?: string) {
  const controller = new AbortController()
  const { signal } = controller
  const left = failure(manager.run('hold', 0, { key, signal }), 'the run that is given up')
  await until(() => Atomics.load(words, 2) === 1, 'it runs')
  const waiting = manager.run('echo', 1)
  controller.abort()
  await left
  expect(manager.stats().partitions[0]).toMatchObject({ detached: 1 })
  const reload = manager.reload()
  await until(() => manager.stats().partitions[0]!.detached === 0, 'the next thread takes over')
  return { waiting, reload }
}

test('a sticky broadcast is answered by a thread that has just taken over and is busy', async () => {
  const { words, manager } = await openSlow({ broadcastTimeoutMs: 60_000 })
  const { reload } = await reloadBehindARun(manager, words)
  const run = manager.run('hold', 0)
  await until(() => Atomics.load(words, 2) === 2, 'it runs in the thread that has taken over')
  const sticky = manager.broadcast('echo', 1, { sticky: true })
  // The thread has its message before the run ends.
  await manager.profilePartition(0, { durationMs: 10 })
  Atomics.store(words, 0, 1)
  expect(await within(sticky, 'the broadcast')).toEqual([1])
  Atomics.store(words, 1, 1)
  await within(Promise.all([run, reload]), 'the run and the reload')
})

test('the next thread gets a token for which the one before waited, too, and is not gone', async () => {
  const rated = { rateLimit: { limit: 1, windowMs: 1000 } }
  const { words, manager } = await openSlow({ lanes: { rated }, maxCommandsPerThread: 1 })
  // The second waits for its token in the first thread, and is moved to the next one.
  const all = [1, 2].map((value) => manager.run('echo', value))
  expect(await within(Promise.all(all), 'both')).toEqual([1, 2])
  Atomics.store(words, 1, 1)
})

test('the next thread gets the slot of a run that goes on in the one before', async () => {
  const { words, manager } = await openSlow({ lanes: { narrow: { maxConcurrency: 1 } } })
  // A command waits for the slot in the first thread, and then in the next one.
  const { waiting, reload } = await reloadBehindARun(manager, words)
  Atomics.store(words, 0, 1)
  expect(await within(waiting, 'the one that waited')).toBe(1)
  Atomics.store(words, 1, 1)
  await within(reload, 'the reload')
})

test('what a run of the thread before keeps from starting is not bound to the next one', async () => {
  const { words, manager } = await openSlow({ lanes: { wide: { maxConcurrency: 2 } } })
  const { reload } = await reloadBehindARun(manager, words)
  const all = range(5).map(() => manager.run('hold', 0))
  await until(() => Atomics.load(words, 2) === 2, 'one runs in the thread that has taken over')
  expect(manager.stats().partitions[0]).toMatchObject({ bound: 1 })
  Atomics.store(words, 0, 1)
  Atomics.store(words, 1, 1)
  await within(Promise.all([...all, reload]), 'all and the reload')
})

test('a key is busy while a run of it goes on in the thread before', async () => {
  const { words, manager } = await openSlow({})
  const { waiting, reload } = await reloadBehindARun(manager, words, 'k')
  await within(waiting, 'one without a key')
  const same = manager.run('hold', 0, { key: 'k' })
  // Another key's would start behind it, if it could start.
  expect(await within(manager.run('echo', 2, { key: 'l' }), 'another key')).toBe(2)
  expect(Atomics.load(words, 2)).toBe(1)
  Atomics.store(words, 0, 1)
  Atomics.store(words, 1, 1)
  await within(same, 'the same key')
  expect(Atomics.load(words, 2)).toBe(2)
  await within(reload, 'the reload')
})

test('a reload goes on though a handler elsewhere has the slot of a command that was moved here', async () => {
  const words = new Int32Array(new SharedArrayBuffer(8))
  const manager = await openModule(
    `import { workerData } from 'node:worker_threads'
     import { setTimeout as sleep } from 'node:timers/promises'
     const words = new Int32Array(workerData)
     export const hold = async () => {
       Atomics.store(words, 0, 1)
       while (Atomics.load(words, 1) === 0) await sleep(2)
     }
     export const take = (buffer) => buffer.byteLength
     export const ask = (_, context) => context.submit('wide', 'end')
     export const end = () => 'end'`,
    {
      workerData: words.buffer,
      partitions: PartitionConfig.custom(2, ({ type }) => (type === 'ask' ? 0 : 1)),
      lanes: { narrow: { maxConcurrency: 1 }, wide: {} },
    },
  )
  const boundTo = (partition: number) => manager.stats().partitions[partition]!.bound
  const run = manager.submit('wide', 'hold')
  await until(() => Atomics.load(words, 0) === 1, 'it runs')
  const buffer = new ArrayBuffer(8)
  const moved = manager.submit('narrow', 'take', buffer, { transferList: [buffer] })
  const back = manager.submit('wide', 'end')
  await until(() => boundTo(1) === 3, 'all are bound')
  const reload = manager.reload()
  await until(() => boundTo(1) === 2, 'the one that was not moved goes back')
  const asked = manager.submit('narrow', 'ask')
  await until(() => manager.stats().lanes.wide!.queued === 2, 'its handler waits')
  Atomics.store(words, 1, 1)
  expect(await within(asked, 'the handler')).toBe('end')
  expect(await within(moved, 'the one that was moved')).toBe(8)
  await within(Promise.all([run, back, reload]), 'the reload')
})
