// Async context: requests that share a manager, each with a store of its own in AsyncLocalStorage.
// Goal: every function of a caller's runs in the context of its request, whoever else is busy, and
// the manager keeps no store of a request that has ended. Method: many requests at once; programs
// with a garbage collector at hand that do everything a request can do.

import { AsyncLocalStorage } from 'node:async_hooks'
import { PartitionConfig, QueueManager, RetryPolicy } from 'corelane'
import { expect, test } from 'vitest'
import { within } from '../support/deadline.ts'
import { create, moduleOf, open, share } from '../support/managers.ts'
import { runProgram } from '../support/programs.ts'
import { range } from '../support/range.ts'

const requests = new AsyncLocalStorage<number>()
const REQUESTS = range(12)

const text = `
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
  export const wait = sleep
  export const echo = (value) => value
  export const steps = async (count, context) => {
    for (let i = 0; i < count; i++) { context.progress(i); await sleep(1) }
    return count
  }
  export const flaky = (failures, context) => {
    if (context.attempt <= failures) throw new Error('not yet')
    return context.attempt
  }
  export const chunks = async function* (count) {
    for (let i = 0; i < count; i++) { yield i; await sleep(1) }
  }
  export const hang = () => { for (;;); }
  export const exit = () => process.exit(1)
  export const nested = (value, context) => context.submit('query', 'echo', value)`

/** Runs something in many requests at once, which give the requests that they have seen. */
async function inRequests(run: (id: number) => Promise<(number | undefined)[]>): Promise<void> {
  const seen = await within(
    Promise.all(REQUESTS.map((id) => requests.run(id, () => run(id)))),
    'all requests',
  )
  for (const [id, ids] of seen.entries()) {
    expect(ids.length).toBeGreaterThan(0)
    expect(new Set(ids)).toEqual(new Set([id]))
  }
}

const options = { partitions: 1, concurrencyPerPartition: 8, handlers: moduleOf(text) }
const shared = share('values.js', options)

test('onProgress is called in the context of its request', async () => {
  const manager = shared()
  await inRequests(async () => {
    const seen: (number | undefined)[] = []
    await manager.run('steps', 5, { onProgress: () => seen.push(requests.getStore()) })
    return [...seen, requests.getStore()]
  })
})

test("retryable is called in the context of its request, a command's own and its lane's", async () => {
  const policy = (seen: () => void) =>
    RetryPolicy.fixed(2, 2).withRetryable(() => {
      seen()
      return true
    })
  const ofLane: (number | undefined)[] = []
  const lanes = {
    query: {},
    again: { retry: policy(() => ofLane.push(requests.getStore())) },
  }
  const manager = await open('values.js', { ...options, lanes })
  await inRequests(async () => {
    const seen: (number | undefined)[] = []
    const retry = policy(() => seen.push(requests.getStore()))
    expect(await manager.run('flaky', 2, { retry })).toBe(3)
    return [...seen, requests.getStore()]
  })
  await inRequests(async (id) => {
    expect(await manager.submit('again', 'flaky', 2)).toBe(3)
    return [id, requests.getStore()]
  })
  expect(ofLane.sort((a, b) => a! - b!)).toEqual(REQUESTS.flatMap((id) => [id, id]))
})

test('a custom partitioner and the source of a map are called in the context of their request', async () => {
  const chosen: (number | undefined)[] = []
  const partitions = PartitionConfig.custom(1, ({ payload }) => {
    chosen[payload as number] = requests.getStore()
    return 0
  })
  // With bounds some of them wait for room, and go on when a command of another request ends.
  const manager = await open('values.js', { ...options, partitions, maxPending: 4 })
  await inRequests(async (id) => {
    const seen: (number | undefined)[] = []
    async function* source() {
      for (let i = 0; i < 5; i++) {
        await manager.run('wait', id)
        seen.push(requests.getStore())
        yield id
      }
    }
    for await (const result of manager.map('query', 'echo', source(), { concurrency: 2 })) {
      expect(result).toBe(id)
      seen.push(requests.getStore())
    }
    return seen
  })
  expect(chosen).toEqual(REQUESTS)
})

test('streams and events are read in the context of their request', async () => {
  const manager = shared()
  await inRequests(async () => {
    const seen: (number | undefined)[] = []
    const events = manager.subscribe({ events: ['queue.command.completed'] })
    for await (const _ of manager.stream('query', 'chunks', 5)) seen.push(requests.getStore())
    for await (const _ of events) {
      seen.push(requests.getStore())
      if (seen.length > 7) break
    }
    return seen
  })
})

test('what onProgress throws is thrown in the context of its request', async () => {
  const { stdout } = await runProgram(`
    const { AsyncLocalStorage } = require('node:async_hooks')
    const requests = new AsyncLocalStorage()
    process.on('uncaughtException', (error) => console.log(error.message, requests.getStore()))
    const manager = QueueManager.create({ handlers: ${JSON.stringify(moduleOf(text))} })
    await manager.start()
    const fail = () => { throw new Error('of request') }
    for (const id of [1, 2]) {
      await requests.run(id, () => manager.run('steps', 1, { onProgress: fail }))
    }
    await manager.close()`)
  expect(stdout).toBe('of request 1\nof request 2\n')
})

/** Every request of a program: its name, and what it does with `manager`, which the first makes. */
const EVERYTHING: Record<string, string> = {
  create: `manager = QueueManager.create({
      handlers, partitions: { count: 2 }, timeoutGraceMs: 0, maxPending: 50, maxCommandsPerThread: 300,
      lanes: { query: {}, limited: { maxConcurrency: 1, rateLimit: { limit: 100 } } },
    })
    await manager.start()
    closeOnSignals(manager)`,
  run: `await manager.run('echo', 1)`,
  wait: `await manager.run('wait', 20)`,
  progress: `await manager.run('steps', 3, { onProgress: () => {} })`,
  many: `await manager.submitMany('query', 'echo', Array.from({ length: 500 }, (_, i) => i))`,
  limited: `await manager.submitMany('limited', 'wait', [2, 2, 2, 2, 2])`,
  nested: `await manager.run('nested', 1)`,
  stream: `for await (const _ of manager.stream('query', 'chunks', 5));`,
  left: `for await (const _ of manager.stream('query', 'chunks', 5)) break`,
  map: `for await (const _ of manager.map('query', 'wait', [1, 2, 3], { concurrency: 2 }));`,
  events: `const events = manager.subscribe()
    await manager.run('echo', 1)
    for await (const _ of events) break`,
  delay: `await manager.run('echo', 1, { delayMs: 10 })`,
  retry: `await manager.run('flaky', 2, { retry: RetryPolicy.fixed(2, 5).withRetryable(() => true) })`,
  dead: `await manager.run('flaky', 2, { id: 'dead', retry: RetryPolicy.fixed(1, 5) }).catch(() => {})
    await manager.deadLetters.redrive('dead').catch(() => {})`,
  kept: `await manager.run('flaky', 9, { retry: RetryPolicy.fixed(1, 1) }).catch(() => {})`,
  late: `await manager.submit('limited', 'wait', 1, { startWithinMs: 1, delayMs: 20 }).catch(() => {})`,
  abort: `await manager.run('wait', 50, { signal: AbortSignal.timeout(5) }).catch(() => {})`,
  kill: `const controller = new AbortController()
    setTimeout(() => controller.abort(), 30)
    await manager.run('hang', 0, { signal: controller.signal, kill: true }).catch(() => {})`,
  timeout: `await manager.run('hang', 0, { timeoutMs: 30 }).catch(() => {})`,
  exit: `await manager.run('exit').catch(() => {})
    await manager.run('echo', 1)`,
  broadcast: `await manager.broadcast('echo', 1, { sticky: true })`,
  reload: `await manager.reload()`,
  room: `await manager.room('query')`,
  stats: `manager.stats()`,
  proxy: `await manager.handlers().echo(1)`,
  worker: `queue = new LocalDistributedQueue()
    pool = new WorkerPool(queue, manager)
    await pool.start()`,
  submitter: `submitter = new Submitter(queue)
    await submitter.submit('query', 'echo', 1)`,
  submitted: `await submitter.submit('query', 'wait', 5)`,
}

test('no store of a request that has ended is kept, whatever it did', async () => {
  const names = Object.keys(EVERYTHING)
  const script = `
    const { AsyncLocalStorage } = require('node:async_hooks')
    const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
    const corelane = await import('corelane')
    const { closeOnSignals, RetryPolicy, LocalDistributedQueue, WorkerPool, Submitter } = corelane
    const handlers = ${JSON.stringify(moduleOf(text))}
    const requests = new AsyncLocalStorage()
    let manager, queue, pool, submitter
    const stores = new Map()
    const request = async (name, run) => {
      const store = { name, body: new Uint8Array(1000) }
      stores.set(name, new WeakRef(store))
      await requests.run(store, run)
    }
    ${names.map((name) => `await request('${name}', async () => { ${EVERYTHING[name]} })`).join('\n')}
    // What is left is read by nobody, and a manager that goes on must not need other requests.
    const alive = () => [...stores].filter(([, ref]) => ref.deref() !== undefined).map(([name]) => name)
    for (let i = 0; i < 100 && alive().length > 0; i++) {
      await sleep(20)
      gc()
    }
    console.log(stores.size, alive().join())
    await manager.run('echo', 1)
    process.exit(0)`
  const { stdout, stderr } = await runProgram(script, 60_000, ['--expose-gc'])
  expect(stderr).toBe('')
  expect(stdout).toBe(`${names.length} \n`)
})

test('a manager that is made in a request works for all of them', async () => {
  let manager: QueueManager | undefined
  await inRequests(async () => {
    if (manager === undefined) {
      manager = create('values.js', options)
      void manager.start()
    }
    await manager.start()
    const seen: (number | undefined)[] = []
    await manager.run('steps', 3, { onProgress: () => seen.push(requests.getStore()) })
    return [...seen, requests.getStore()]
  })
  expect(manager).toBeInstanceOf(QueueManager)
})
