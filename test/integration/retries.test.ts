// Retries and dead letters. Goal: a command that failed runs again as its policy says and no other
// way, it holds nothing meanwhile, and what fails for good is kept to be looked at and run again.
// Method: handlers that fail a given number of times; delays so long that they never end, or so
// short that they always do; the clock is only asked for what must at least have passed.

import {
  commandInfo,
  type LaneEvent,
  type LaneEventName,
  PartitionConfig,
  type QueueManager,
  RetryPolicy,
} from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, rejection, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { moduleOf, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const one = PartitionConfig.single()
const soon = RetryPolicy.fixed(3, 1)
const never = RetryPolicy.fixed(3, 60_000)

function retryManager(options: object = {}): Promise<QueueManager> {
  const { workerData } = new Ledger(10)
  return open('stuck.js', { partitions: one, workerData, ...options })
}

/** Reads events until so many have come. */
async function events(manager: QueueManager, names: LaneEventName[], count: number) {
  const subscription = manager.subscribe({ events: names })
  const read = async () => {
    const seen: LaneEvent[] = []
    for await (const event of subscription) if (seen.push(event) === count) break
    return seen
  }
  return { seen: within(read(), `${count} of ${names.join(', ')}`) }
}

test('delays before retries grow as the policy says', async () => {
  const policy = { retries: 4, delayMs: 10, backoff: 'exponential' as const }
  const manager = await retryManager()
  const { seen } = await events(manager, ['queue.command.started'], 4)
  const options = { retry: policy }
  const outcome = await within(
    manager.execute('query', 'flaky', { name: 'a', times: 3 }, options),
    'the fourth run',
  )
  expect(outcome).toMatchObject({ ok: true, value: 4, info: { attempt: 4, type: 'flaky' } })
  const starts = await seen
  expect(starts.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4])
  const gaps = starts.slice(1).map(({ startedAtMs }, i) => startedAtMs! - starts[i]!.startedAtMs!)
  for (const [i, gap] of gaps.entries()) expect(gap).toBeGreaterThanOrEqual(10 * 2 ** i)
  expect(manager.stats()).toMatchObject({ retried: 3, completed: 1, failed: 0, deadLetters: 0 })
})

test('when retries are used up the last error arrives, with the number of attempts', async () => {
  const manager = await retryManager()
  const names: LaneEventName[] = ['queue.command.retry', 'queue.command.dead_lettered']
  const { seen } = await events(manager, names, 4)
  const error = await failure(manager.run('flaky', { name: 'b', times: 9 }, { retry: soon }), 'it')
  expect(error).toBeInstanceOf(RangeError)
  expect(error.message).toBe('failure 4, attempt 4')
  expect((error as unknown as Record<symbol, object>)[commandInfo]).toMatchObject({ attempt: 4 })
  const told = (await seen).map(({ event, attempt, error: why }) => [event, attempt, String(why)])
  expect(told).toEqual([
    ...[1, 2, 3].map((n) => [names[0], n, `RangeError: failure ${n}, attempt ${n}`]),
    [names[1], 4, 'RangeError: failure 4, attempt 4'],
  ])
})

test('a predicate that aborts its command ends it once', async () => {
  const manager = await retryManager()
  const controller = new AbortController()
  const retry = soon.withRetryable(() => {
    controller.abort()
    return true
  })
  const { signal } = controller
  await refused(manager.run('alwaysFails', 'x', { retry, signal }), 'CORELANE_ABORTED')
  expect(await within(manager.run('flaky', { name: 'd', times: 1 }, { retry: soon }), 'next')).toBe(
    2,
  )
  expect(manager.stats()).toMatchObject({ submitted: 2, failed: 1, completed: 1, queued: 0 })
})

test('whatever is thrown is retried, and what cannot cross threads is described in the end', async () => {
  const text = `let runs = 0
    export const count = () => runs
    const thrown = {
      plain: () => ({ code: 'ECONNRESET' }),
      response: () => ({ status: 503, json: async () => ({}) }),
      symbol: () => Symbol('why'),
      function: () => function why() {},
      promise: () => Promise.resolve(),
      host: () => new MessageChannel().port1,
      proxy: () => new Proxy({}, { ownKeys() { throw new Error('no') }, has() { throw new Error('no') } }),
    }
    export const now = (what) => { runs++; throw thrown[what]() }
    export const later = async (what) => { await null; runs++; throw thrown[what]() }`
  const manager = await open('stuck.js', { partitions: one, handlers: moduleOf(text) })
  const says: Record<string, RegExp | object> = {
    plain: { code: 'ECONNRESET' },
    response: {
      status: 503,
      message: expect.stringMatching(/threw \{ status: 503, json: .*error\.json/),
    },
    symbol: { message: expect.stringMatching(/threw Symbol\(why\)/) },
    function: { message: expect.stringMatching(/threw a function \(why\)/) },
    promise: { message: expect.stringMatching(/threw Promise/) },
    host: { message: expect.stringMatching(/threw MessagePort/) },
    proxy: { message: expect.stringMatching(/threw a Proxy/) },
  }
  for (const [what, expected] of Object.entries(says)) {
    for (const type of ['now', 'later'] as const) {
      const before = (await within(manager.run('count'), 'count')) as number
      const retry = RetryPolicy.fixed(2, 1)
      const error = await rejection(manager.run(type, what, { retry }), `${type} ${what}`)
      expect(error, what).toMatchObject(expected)
      expect(await within(manager.run('count'), 'count'), what).toBe(before + 3)
    }
  }
})

test('one that waits for its retry holds no slot, and drain waits for it', async () => {
  const manager = await retryManager({
    partitions: PartitionConfig.balanced(2),
    lanes: { limited: { maxConcurrency: 1 } },
  })
  const controller = new AbortController()
  const options = { retry: never, signal: controller.signal }
  const waiting = failure(manager.run('alwaysFails', 'x', options), 'the one that waits')
  await until(() => manager.stats().retried === 1, 'it waits for its retry')
  const others = range(20).map((index) => manager.run('echo', index))
  await within(Promise.all(others), 'the others of the lane')
  expect(manager.stats()).toMatchObject({ queued: 1, running: 0 })
  const short = manager.run('flaky', { name: 'e', times: 3 }, { retry: RetryPolicy.fixed(3, 30) })
  await refused(manager.drain(1), 'CORELANE_DRAIN_TIMEOUT')
  const drained = manager.drain()
  expect(await within(short, 'the short one')).toBe(4)
  controller.abort()
  await waiting
  await within(drained, 'drain')
})

test('close rejects what waits for its retry, and what fails while it closes is final', async () => {
  const ledger = new Ledger(1)
  const manager = await retryManager({ workerData: ledger.workerData })
  const options = { retry: never }
  const waiting = failure(manager.run('alwaysFails', 'x', options), 'the one that waits')
  await until(() => manager.stats().retried === 1, 'it waits for its retry')
  const failing = failure(manager.run('failOnAbort', 0, options), 'the one that runs')
  await until(() => manager.stats().running === 1, 'one runs')
  await within(manager.close(), 'close')
  expect(await waiting).toMatchObject({ name: 'ClosedError', code: 'CORELANE_COMMAND_DROPPED' })
  expect((await failing).message).toBe('failed on abort')
  expect(manager.stats()).toMatchObject({ failed: 2, queued: 0, retried: 1 })
})

test('what cannot be sent twice, or ever, is not retried', async () => {
  const manager = await retryManager({ lanes: { query: {}, tough: { retry: soon } } })
  const { buffer } = new Uint8Array(8)
  for (const [lane, options] of [
    ['tough', { transferList: [buffer] }],
    ['query', { transferList: [buffer], retry: { retryLost: true } }],
  ] as const) {
    const error = await failure(manager.submit(lane, 'echo', buffer, options), 'a transfer list')
    expect(error).toMatchObject({ name: 'ConfigError', code: 'CORELANE_INVALID_COMMAND' })
    expect(error.message).toContain('transferList')
  }
  expect(buffer.byteLength).toBe(8)
  const given = { transferList: [buffer], retry: RetryPolicy.none() }
  await within(manager.submit('tough', 'echo', buffer, given), 'with RetryPolicy.none()')
  await refused(manager.submit('tough', 'echo', (() => {}) as unknown), 'CORELANE_UNSERIALIZABLE')
  await refused(manager.submit('tough', 'giveFunction'), 'CORELANE_UNSERIALIZABLE')
  expect(manager.stats().lanes.tough).toMatchObject({ submitted: 3, retried: 0, failed: 2 })
})

test('a dead letter tells what failed, and runs again with what it was submitted with', async () => {
  const ledger = new Ledger(1)
  const manager = await retryManager({ workerData: ledger.workerData })
  const payload = { name: 'j', times: 5 }
  const error = await rejection(
    manager.run('flaky', payload, { retry: soon, priority: 7, timeoutMs: 60_000, key: 'k' }),
    'the failure',
  )
  const letters = manager.deadLetters
  expect(letters.size).toBe(1)
  const [letter] = letters.list()
  expect(letter).toMatchObject({ id: '0', lane: 'query', type: 'flaky', attempts: 4, crashes: 0 })
  expect(letter!.error).toBe(error)
  expect(letter!.payload).toBe(payload)
  expect(letter!.options).toMatchObject({ priority: 7, timeoutMs: 60_000, key: 'k' })
  expect(letter!.failedAtMs).toBeGreaterThan(letter!.firstFailedAtMs)
  expect(letters.get('0')).toBe(letter)
  expect(letters.get('1')).toBeUndefined()
  // It fails once more, and succeeds in its second run.
  expect(await within(letters.redrive('0'), 'redrive')).toBe(2)
  expect(letters.size).toBe(0)
  const unknown = await failure(letters.redrive('0'), 'redrive again')
  expect(unknown).toMatchObject({ name: 'ConfigError', code: 'CORELANE_UNKNOWN_DEAD_LETTER' })
  expect(manager.stats()).toMatchObject({ submitted: 2, completed: 1, failed: 1, deadLetters: 0 })
})

test('a dead letter has the id that events, outcomes and handlers have', async () => {
  const manager = await retryManager()
  const { seen } = await events(manager, ['queue.command.dead_lettered'], 2)
  const submit = (payload: number, id?: string) =>
    manager.execute('query', 'alwaysFails', payload, { retry: RetryPolicy.fixed(1, 1), id })
  const outcomes = [await submit(1, 'order-17'), await submit(2)]
  const ids = (await seen).map(({ id }) => id)
  expect(ids).toEqual(outcomes.map(({ info }) => info.id))
  expect(ids[0]).toBe('order-17')
  for (const [index, id] of ids.entries()) {
    expect(manager.deadLetters.get(id!)?.payload).toBe(index + 1)
    await failure(manager.deadLetters.redrive(id!), 'a redrive')
  }
  // A name stays with its command.
  expect(manager.deadLetters.list().map(({ id }) => id)[0]).toBe('order-17')
})

test('past the capacity the oldest letters are dropped, which is an event', async () => {
  const manager = await retryManager({ deadLetterCapacity: 3 })
  const { seen } = await events(manager, ['queue.dead_letter.dropped'], 2)
  const letters = manager.deadLetters
  for (let i = 0; i < 5; i++) {
    await failure(manager.run('alwaysFails', i, { retry: RetryPolicy.fixed(1, 1) }), `failure ${i}`)
  }
  const dropped = (await seen).map(({ id, type, attempt }) => [id, type, attempt])
  expect(dropped).toEqual([
    ['0', 'alwaysFails', 2],
    ['1', 'alwaysFails', 2],
  ])
  expect(letters.list().map(({ payload }) => payload)).toEqual([2, 3, 4])
  expect(manager.stats().deadLetters).toBe(3)
})

test('a letter stays if it is not accepted: after close, in a full lane, and while it waits', async () => {
  const manager = await retryManager({
    lanes: { open: {}, full: { maxPending: 1 }, strict: { maxPending: 1, overflow: 'reject' } },
  })
  const retry = RetryPolicy.fixed(1, 1)
  for (const lane of ['full', 'strict']) {
    await failure(manager.submit(lane, 'alwaysFails', lane, { retry }), 'a failure')
  }
  const [full, strict] = manager.deadLetters.list()
  const controller = new AbortController()
  const { signal } = controller
  const held = ['full', 'strict'].map((lane) =>
    failure(manager.submit(lane, 'heed', 0, { signal }), 'one that fills its lane'),
  )
  await refused(manager.deadLetters.redrive(strict!.id), 'CORELANE_QUEUE_FULL')
  const waits = failure(manager.deadLetters.redrive(full!.id), 'waits for room')
  manager.shutdown()
  expect((await waits).code).toBe('CORELANE_CLOSED')
  await refused(manager.deadLetters.redrive(full!.id), 'CORELANE_CLOSED')
  expect(manager.deadLetters.list()).toHaveLength(2)
  controller.abort()
  await within(Promise.all(held), 'those that filled the lanes')
})

test('a predicate of retries may abort commands whose time-outs are over, too', async () => {
  const manager = await retryManager({ concurrencyPerPartition: 4 })
  const controllers = range(4).map(() => new AbortController())
  const codes = controllers.map(async (own) => {
    const retryable = () => {
      for (const other of controllers) if (other !== own) other.abort()
      return false
    }
    const retry = { retries: 1, retryTimeouts: true, retryable }
    const options = { timeoutMs: 50, retry, signal: own.signal }
    return (await failure(manager.submit('query', 'heed', 0, options), 'an end')).code
  })
  expect((await Promise.all(codes)).sort()).toEqual([
    'CORELANE_ABORTED',
    'CORELANE_ABORTED',
    'CORELANE_ABORTED',
    'CORELANE_TIMEOUT',
  ])
  expect(manager.stats()).toMatchObject({ unsettled: 0, failed: 4 })
})
