// Goal: what a submitter asks for one command holds on every engine, from its call to the handler's
// thread and back. Method: real workers on the engine of this process and on a real Redis.

import { setTimeout as sleep } from 'node:timers/promises'
import {
  type FoundCommand,
  type LeasedQueue,
  LocalDistributedQueue,
  PartitionConfig,
} from 'corelane'
import { describe, expect, test } from 'vitest'
import { failure, refused, rejection, until, within } from '../support/deadline.ts'
import { openQueue, openSubmitter, openWorker, shareWorkers, withFaults } from '../support/pools.ts'
import { describeWithRedis } from '../support/redis-server.ts'
import { RedisQueues } from './support/redis-moves.ts'

/** The same queue for a worker that hears of no cancel. */
function deaf(queue: LeasedQueue): LeasedQueue {
  return withFaults(queue, { commands: withFaults(queue.commands!, { onCancel: () => () => {} }) })
}

/** The same queue for a worker that hears of a pause when the test says so. */
function withEar(queue: LeasedQueue): { readonly queue: LeasedQueue; pause(): Promise<void> } {
  let hear = (_laneId: string): void => {}
  const lanes = withFaults(queue.lanes!, {
    onPause: (listener) => {
      hear = listener
      return () => {}
    },
  })
  return {
    queue: withFaults(queue, { lanes }),
    pause: async () => {
      await queue.lanes!.pause('prompt')
      hear('prompt')
    },
  }
}

/** The same queue for another worker, where several share one object. */
function sibling(queue: LeasedQueue): LeasedQueue {
  return queue instanceof LocalDistributedQueue ? queue.asWorker('sibling') : queue
}

/** Waits until a command is in one of some states. */
async function found(
  queue: LeasedQueue,
  id: string,
  states: readonly (FoundCommand['state'] | undefined)[],
): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (states.includes((await queue.commands!.find(id))?.state)) return
    await sleep(10)
  }
  throw new Error(`${id} comes to none of ${states.join(', ')}`)
}

const openShared = shareWorkers({
  partitions: PartitionConfig.roundRobin(2),
  timeoutGraceMs: 500,
  lanes: { prompt: {}, once: { retry: { retries: 5, delayMs: 1 } } },
})

function commandsOn(open: (leaseMs?: number) => Promise<LeasedQueue>): void {
  async function openAll() {
    const queue = await open()
    return { queue, submitter: openSubmitter(queue), ...(await openShared(queue)) }
  }

  test('a command brings its own time-out, retries and delay', async () => {
    const { submitter, ledger } = await openAll()
    const startedMs = performance.now()
    const late = submitter.submit('prompt', 'mark', 1, { delayMs: 300 })
    const retry = { retries: 2, backoff: 'fixed', delayMs: 5 } as const
    const failing = submitter.execute('prompt', 'unlucky', { index: 2, failures: 2 }, { retry })
    const retried = await within(failing, 'a command that is retried')
    expect(retried).toMatchObject({ ok: true, value: 2, info: { attempt: 3 } })
    const once = submitter.submit('once', 'unlucky', { index: 3, failures: 1 }, { retry: {} })
    expect((await failure(once, 'one try')).message).toContain('fails in run 1')
    const hung = submitter.submit('prompt', 'unlucky', { index: 4, hangs: 1 }, { timeoutMs: 100 })
    await refused(hung, 'CORELANE_TIMEOUT')
    expect(await within(late, 'the delayed command')).toBe(1)
    expect(performance.now() - startedMs).toBeGreaterThan(295)
    expect(ledger.allRuns(5)).toEqual([0, 1, 3, 1, 1])
  })

  test('a command that is cancelled waits or runs no more, and rejects as aborted', async () => {
    const { submitter, ledger, pool, queue } = await openAll()
    const running = rejection(
      submitter.submit('prompt', 'untilAborted', { index: 1, noticed: 2 }, { id: 'running' }),
      'the running one',
    )
    const blocker = submitter.submit('prompt', 'gate', 3, { key: 'a' })
    await ledger.waitForStarts(2)
    const waiting = rejection(submitter.submit('once', 'mark', 4, { id: 'waiting' }), 'the waiting')
    const behind = rejection(
      submitter.submit('prompt', 'mark', 5, { id: 'behind', key: 'a' }),
      'the one behind',
    )
    const last = submitter.submit('prompt', 'mark', 6, { key: 'a' })
    await found(queue, 'behind', ['waiting', 'leased'])
    await found(queue, 'waiting', ['waiting', 'leased'])
    const other = openSubmitter(queue)
    expect(await within(other.cancel('behind'), 'the cancel')).toMatch(/cancelled|stopping/)
    expect(await within(other.cancel('waiting'), 'the cancel')).toMatch(/cancelled|stopping/)
    ledger.openGate()
    expect(await within(blocker, 'the blocker')).toBe(3)
    expect(await within(submitter.cancel('running'), 'the cancel')).toBe('stopping')
    for (const end of [running, waiting, behind]) {
      expect(await end).toMatchObject({ code: 'CORELANE_ABORTED', name: 'AbortError' })
    }
    expect(await within(last, 'what follows in the key')).toBe(6)
    await until(() => ledger.runs(2) === 1, 'the handler notices')
    expect(ledger.allRuns(7)).toEqual([0, 1, 1, 1, 0, 0, 1])
    await until(() => pool.stats().held === 0, 'the worker lets go of all')
    expect(pool.stats()).toMatchObject({ stale: 0, lost: 0, deadLettered: 0 })
    expect(await within(submitter.cancel('running'), 'the second')).toBe('ended')
    expect(await within(submitter.cancel('nobody'), 'the third')).toBe('unknown')
  })

  test('a handler that does not heed its signal is ended with its thread', async () => {
    const { submitter, ledger, pool } = await openAll()
    const hog = rejection(
      submitter.submit('prompt', 'unlucky', { index: 1, hangs: 99 }, { id: 'hog', key: 'a' }),
      'the hog',
    )
    const next = submitter.submit('prompt', 'mark', 2, { key: 'a' })
    await ledger.waitForStarts(1)
    expect(await within(submitter.cancel('hog'), 'the cancel')).toBe('stopping')
    expect(await hog).toMatchObject({ code: 'CORELANE_ABORTED' })
    expect(await within(next, 'the next of its key, on a new thread')).toBe(2)
    expect(ledger.allRuns(3)).toEqual([0, 1, 1])
    await until(() => pool.stats().held === 0, 'the worker lets go of all')
  })

  test('a signal cancels in the queue what no other submit waits for', async () => {
    const { submitter, ledger, queue } = await openAll()
    const controllers = [1, 2, 3, 4].map(() => new AbortController())
    const signals = controllers.map(({ signal }) => signal)
    const options = (id: string, which: number) => ({ id, signal: signals[which] })
    const payload = { index: 1, noticed: 2 }
    const running = rejection(
      submitter.submit('prompt', 'untilAborted', payload, options('running', 0)),
      'the running one',
    )
    await ledger.waitForStarts(1)
    controllers[0]!.abort(new Error('enough'))
    expect(await running).toMatchObject({ code: 'CORELANE_ABORTED', cause: new Error('enough') })
    await until(() => ledger.runs(2) === 1, 'its handler notices')

    const shared = [1, 2].map((which) =>
      submitter.submit('prompt', 'softGate', 3, options('shared', which)),
    )
    const leader = rejection(shared[0]!, 'the leader')
    await ledger.waitForStarts(3)
    controllers[1]!.abort()
    expect(await leader).toMatchObject({ code: 'CORELANE_ABORTED' })

    // Aborted on its way: it is cancelled once the queue may have it.
    const early = rejection(
      submitter.submit('prompt', 'untilAborted', { index: 4, noticed: 5 }, options('early', 3)),
      'the early one',
    )
    await new Promise((resolve) => setImmediate(resolve))
    controllers[3]!.abort()
    expect(await early).toMatchObject({ code: 'CORELANE_ABORTED' })
    await found(queue, 'early', [undefined, 'ended'])
    await until(() => ledger.runs(4) === ledger.runs(5), 'its handler notices, if it ran')

    ledger.openGate()
    expect(await within(shared[1]!, 'the follower')).toBe(3)
  })

  test('a cancel that its worker does not hear of reaches it when it extends its lease', async () => {
    const queue = await open(1000)
    const { ledger, pool } = await openWorker(deaf(queue))
    const submitter = openSubmitter(queue)
    const hog = rejection(
      submitter.submit('prompt', 'unlucky', { index: 1, hangs: 99 }, { id: 'hog' }),
      'the hog',
    )
    await ledger.waitForStarts(1)
    expect(await within(submitter.cancel('hog'), 'the cancel')).toBe('stopping')
    expect(await hog).toMatchObject({ code: 'CORELANE_ABORTED' })
    expect(await within(submitter.submit('prompt', 'mark', 2), 'a new thread')).toBe(2)
    // On a busy machine that of the new thread's command may be lost as well.
    await until(() => pool.stats().lost > 0, 'the lease is lost')
    expect(ledger.runs(1)).toBe(1)
  })

  test('the next of a key starts once a run has stopped whose cancel was not heard', async () => {
    const queue = await open(5000)
    const partitions = PartitionConfig.roundRobin(2)
    const { ledger } = await openWorker(deaf(queue), { partitions, concurrencyPerPartition: 2 })
    const submitter = openSubmitter(queue)
    // A thread that is killed has a second for what else it runs.
    const neighbours = [0, 1].map((index) => submitter.submit('prompt', 'softGate', index))
    await ledger.waitForStarts(2)
    const stubborn = rejection(
      submitter.submit('prompt', 'beats', 2, { id: 'stubborn', key: 'a' }),
      'the stubborn one',
    )
    const next = submitter.submit('prompt', 'listen', 3, { key: 'a' })
    await ledger.waitForStarts(3)
    expect(await within(submitter.cancel('stubborn'), 'the cancel')).toBe('stopping')
    expect(await stubborn).toMatchObject({ code: 'CORELANE_ABORTED' })
    expect(await within(next, 'the next of its key')).toBe(0)
    ledger.openGate()
    expect(await within(Promise.all(neighbours), 'the neighbours')).toEqual([0, 1])
  })

  test('a command that had not started is given back though its cancel was not heard', async () => {
    const queue = await open(3000)
    const returned: string[] = []
    const watched = withFaults(deaf(queue), {
      release: (deliveries, options) => {
        returned.push(...deliveries.map(({ envelope }) => envelope.id))
        return queue.release(deliveries, options)
      },
    })
    const rateLimit = { limit: 1, windowMs: 3_600_000 }
    const { pool } = await openWorker(watched, { lanes: { prompt: {}, paced: { rateLimit } } })
    const submitter = openSubmitter(queue)
    // Each delivery is this worker's as long as it extends it, and none of them gets a token.
    await queue.limits.takeTokens('paced', rateLimit, 1)
    const waiting = rejection(
      submitter.submit('paced', 'mark', 1, { id: 'waiting', key: 'a' }),
      'the one that waits',
    )
    await until(() => pool.stats().held === 1, 'the worker has it')
    await within(submitter.cancel('waiting'), 'the cancel')
    expect(await waiting).toMatchObject({ code: 'CORELANE_ABORTED' })
    await until(() => returned.includes('waiting'), 'it is given back')
    expect(await within(submitter.submit('prompt', 'mark', 2, { key: 'a' }), 'the next')).toBe(2)
  })

  test('progress comes as it goes on, the latest of it, and to each that wants it', async () => {
    const { submitter, ledger } = await openAll()
    const heard: { done: number; to: number }[] = []
    const followed: unknown[] = []
    const payload = { index: 1, to: 5000 }
    const onProgress = (value: unknown) => heard.push(value as { done: number; to: number })
    const first = submitter.submit('prompt', 'counting', payload, { id: 'a', onProgress })
    const second = submitter.submit('prompt', 'counting', payload, {
      id: 'a',
      onProgress: (value) => followed.push(value),
    })
    await until(() => heard.at(-1)?.done === 5000, 'the last report')
    expect(heard.length).toBeGreaterThan(1)
    expect(heard.length).toBeLessThan(500)
    expect(heard.map(({ done }) => done)).toEqual(
      heard.map(({ done }) => done).toSorted((a, b) => a - b),
    )
    expect(followed.at(-1)).toEqual({ done: 5000, to: 5000 })
    ledger.openGate()
    expect(await within(Promise.all([first, second]), 'both results')).toEqual([1, 1])
    const wrong = submitter.enqueue('prompt', 'counting', payload, { onProgress })
    expect((await failure(wrong, 'a refusal')).message).toContain('enqueue.onProgress')
  })

  test('a result that is not to be kept is forgotten once it has come, or at once', async () => {
    const { submitter, queue } = await openAll()
    const state = async (id: string) => (await queue.commands!.find(id))?.state
    const submit = (id: string, keepResult?: boolean) =>
      within(submitter.submit('prompt', 'mark', 1, { id, keepResult }), 'a result')
    expect(await Promise.all([submit('kept'), submit('gone', false)])).toEqual([1, 1])
    await submitter.enqueue('prompt', 'mark', 2, { id: 'silent', keepResult: false })
    await found(queue, 'gone', [undefined])
    await found(queue, 'silent', [undefined])
    expect(await state('kept')).toBe('ended')
    const frugal = openSubmitter(queue, { keepResults: 'named' })
    const { id } = await frugal.enqueue('prompt', 'mark', 3)
    await frugal.enqueue('prompt', 'mark', 3, { id: 'named' })
    const kept = await frugal.enqueue('prompt', 'mark', 3, { keepResult: true })
    await found(queue, id, [undefined])
    await found(queue, 'named', ['ended'])
    await found(queue, kept.id, ['ended'])
  })

  test('a paused lane starts nothing on any worker, and goes on when it is resumed', async () => {
    const { submitter, queue, ledger, pool } = await openAll()
    const { pool: other } = await openWorker(sibling(queue), { ledger })
    const gates = [1, 2, 3].map((index) => submitter.submit('prompt', 'gate', index))
    const behind = [4, 5, 6, 7].map((index) => submitter.submit('prompt', 'mark', index))
    await ledger.waitForStarts(1)
    await queue.lanes!.pause('prompt')
    // Those that workers had and had not started come back.
    const held = () => pool.stats().held + other.stats().held
    const running = () => [1, 2, 3].filter((index) => ledger.runs(index) > 0).length
    await until(() => held() === running(), 'workers have what runs, and nothing else')
    await sleep(150)
    const { started } = ledger
    ledger.openGate()
    await until(() => held() === 0, 'what ran ends')
    await sleep(150)
    expect(ledger.started).toBe(started)
    expect(await within(submitter.submit('once', 'mark', 8), 'another lane')).toBe(8)
    await queue.lanes!.resume('prompt')
    expect(await within(Promise.all([...gates, ...behind]), 'all of them')).toEqual([
      1, 2, 3, 4, 5, 6, 7,
    ])
    expect(ledger.allRuns(9)).toEqual([0, 1, 1, 1, 1, 1, 1, 1, 1])
  })

  test('a pause that no announcement told of reaches a worker all the same', async () => {
    const queue = await open(3000)
    const lanes = withFaults(queue.lanes!, { onPause: () => () => {} })
    const { ledger, pool } = await openWorker(withFaults(queue, { lanes }))
    const submitter = openSubmitter(queue)
    const runs = [submitter.submit('prompt', 'gate', 0)]
    await ledger.waitForStarts(1)
    for (const index of [1, 2, 3]) runs.push(submitter.submit('prompt', 'mark', index))
    await until(() => pool.stats().held > 1, 'the worker has more than what runs')
    await queue.lanes!.pause('prompt')
    await until(() => pool.stats().held <= 1, 'the worker gives back the others')
    ledger.openGate()
    await until(() => pool.stats().held === 0, 'what ran ends')
    expect(ledger.allRuns(4).slice(1)).toEqual([0, 0, 0])
    await queue.lanes!.resume('prompt')
    expect(await within(Promise.all(runs), 'all of them')).toEqual([0, 1, 2, 3])
  })

  test('a command on its way to a worker does not start once its lane is paused', async () => {
    const queue = await open()
    const ear = withEar(queue)
    let leases = 0
    const late = withFaults(ear.queue, {
      lease: async (request) => {
        const deliveries = await queue.lease(request)
        if (deliveries.length > 0 && ++leases === 1) await ear.pause()
        return deliveries
      },
    })
    const { ledger, pool } = await openShared(late)
    const run = openSubmitter(queue).submit('prompt', 'mark', 0)
    await until(() => pool.stats().returned === 1, 'it is given back')
    await until(() => pool.stats().held === 0, 'the queue has it')
    expect(ledger.started).toBe(0)
    await queue.lanes!.resume('prompt')
    expect(await within(run, 'its run')).toBe(0)
  })

  test('an option that cannot travel is refused before anything is sent', async () => {
    const submitter = openSubmitter(await open())
    const bad: readonly object[] = [
      { delayMs: -1 },
      { timeoutMs: 0 },
      { retry: { retries: -1 } },
      { retry: { retryable: () => true } },
      { retry: { retryLost: true } },
      { attempts: 3 },
    ]
    const submit = (options: object | undefined) => submitter.submit('prompt', 'mark', 1, options)
    for (const options of bad) await refused(submit(options), 'CORELANE_INVALID_OPTION')
    const { message } = await failure(submit(bad[3]), 'it')
    expect(message).toMatch(/retryable .*a function cannot travel/)
  })
}

describe('the engine of this process', () => {
  commandsOn(async (leaseMs) => openQueue(PartitionConfig.hash(2), { leaseMs }))
})

describeWithRedis('the engine on Redis', () => {
  const queues = new RedisQueues()
  queues.setUp()
  const open = (leaseMs?: number) => queues.start({ partitions: PartitionConfig.hash(2), leaseMs })
  commandsOn(open)

  test('a command that waits for another of its key does not start once its lane is paused', async () => {
    const queue = await open()
    const ear = withEar(queue)
    const { ledger, pool } = await openShared(ear.queue)
    const submitter = openSubmitter(queue)
    const runs = [submitter.submit('prompt', 'gate', 0, { key: 'a' })]
    await ledger.waitForStarts(1)
    for (const index of [1, 2]) runs.push(submitter.submit('prompt', 'mark', index, { key: 'a' }))
    await until(() => pool.stats().chained > 0, 'the next of the key is at the worker')
    await ear.pause()
    ledger.openGate()
    await until(() => pool.stats().held === 0, 'what ran ends')
    expect(ledger.started).toBe(1)
    await queue.lanes!.resume('prompt')
    expect(await within(Promise.all(runs), 'all of them')).toEqual([0, 1, 2])
    expect(ledger.order(3)).toEqual([0, 1, 2])
  })
})
