// What differs from Piscina on purpose, with both answers, and the task queue for Piscina itself.

import { Piscina as Ours } from 'corelane/piscina'
import { Piscina as Theirs } from 'piscina'
import { describe, expect, test } from 'vitest'
import { collectGarbage } from '../support/garbage.ts'
import { fixture } from '../support/managers.ts'
import {
  type Case,
  type Class,
  flagOf,
  reasonOf,
  release,
  runOn,
  turns,
  until,
} from '../support/piscina.ts'
import { range } from '../support/range.ts'

const DIFFERENCES: Readonly<Record<string, readonly [Case, unknown, unknown]>> = {
  'a result that cannot be cloned ends its task alone, by a clear error': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1, concurrentTasksPerWorker: 2 })
      const beside = reasonOf(pool.run({ ms: 100, value: 1 }, { name: 'sleep' }))
      const reason = (await reasonOf(pool.run(0, { name: 'uncloneable' }))) as Error
      const other = (await beside) as { resolved?: unknown }
      return [typeof reason.message === 'string' && reason.message !== '', other.resolved]
    },
    expect.not.arrayContaining([1]),
    [true, 1],
  ],
  'a module that throws at load rejects its task, and the next one runs': [
    async (make, Piscina) => {
      const pool = make({
        minThreads: 1,
        maxThreads: 1,
        filename: fixture('piscina/broken.mjs').pathname,
      })
      pool.on('error', () => {})
      const [first, second] = [1, 2].map(() => reasonOf(pool.run(1)))
      const reasons = [
        await first,
        await Promise.race([second, turns(patienceMs(Piscina)).then(() => 'hangs')]),
      ]
      return reasons.map((one) => (one as Error).message ?? one)
    },
    ['at load', 'hangs'],
    ['at load', 'at load'],
  ],
  'a Buffer stays a Buffer, in tasks and results': [
    async (make) => Buffer.isBuffer(await make().run(Buffer.from('b'))),
    false,
    true,
  ],
  'tasks of a key run one at a time, in order': [
    async (make) => {
      const pool = make({ minThreads: 3, maxThreads: 3, name: 'sleep' })
      const order: unknown[] = []
      const runs = [30, 20, 1].map((ms) =>
        pool.run({ ms, value: ms }, { key: 'k' }).then((value) => order.push(value)),
      )
      await Promise.all(runs)
      return order
    },
    expect.any(Array),
    [30, 20, 1],
  ],
  'run options and queue options name lanes': [
    async (make, Piscina) => {
      const lanes = { urgent: { priority: 0 }, query: { priority: 1 } }
      const pool = make({ minThreads: 1, maxThreads: 1, name: 'gate', lanes })
      await pool.run(1, { name: 'default' })
      const flag = flagOf()
      const order: unknown[] = []
      const run = (value: number, lane?: string, own?: object) =>
        pool
          .run({ flag, value, [Piscina.queueOptionsSymbol]: own ?? null }, { lane })
          .then((result) => order.push(result))
      const runs = [run(0), run(1), run(2, 'urgent'), run(3, undefined, { lane: 'urgent' })]
      await turns(50)
      release(flag)
      await Promise.all(runs)
      return order.at(-1)
    },
    expect.any(Number),
    1,
  ],
  'timeoutMs ends a task that runs too long': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1, name: 'sleep' })
      const run = reasonOf(pool.run({ ms: 1500, value: 1 }, { timeoutMs: 50 }))
      return ((await run) as { name?: string }).name
    },
    undefined,
    'TimeoutError',
  ],
  'a task with a signal shares its thread, and its abort lets the others end': [
    async (make, Piscina) => {
      const pool = make({ minThreads: 1, maxThreads: 1, concurrentTasksPerWorker: 3 })
      const runs = new Int32Array(new SharedArrayBuffer(4))
      const { signal, abort } = controllerOf()
      const aborted = reasonOf(pool.run({ runs, ms: 60_000 }, { name: 'counts', signal }))
      const beside = pool.run({ runs, ms: 400 }, { name: 'counts' })
      await until(() => Atomics.load(runs, 0) === (Piscina === Ours ? 2 : 1))
      const isShared = pool.queueSize === 0
      const [thread] = pool.threads
      abort()
      const { name } = (await aborted) as Error
      const ended = await beside
      await until(() => !pool.threads.includes(thread!))
      return [isShared, name, ended]
    },
    [false, 'AbortError', 'counted'],
    [true, 'AbortError', 'counted'],
  ],
  'a task beside an aborted one that holds their thread up runs again': [
    async (make, Piscina) => {
      const pool = make({ minThreads: 1, maxThreads: 1, concurrentTasksPerWorker: 2 })
      const runs = new Int32Array(new SharedArrayBuffer(4))
      const { signal, abort } = controllerOf()
      const free = new Int32Array(new SharedArrayBuffer(4))
      const beside = pool.run({ runs, free }, { name: 'counts' })
      await until(() => Atomics.load(runs, 0) === 1)
      const flag = new Int32Array(new SharedArrayBuffer(8))
      const aborted = reasonOf(pool.run({ flag }, { name: 'gate', signal }))
      // Piscina lets it wait for a thread of its own.
      if (Piscina === Ours) await until(() => Atomics.load(flag, 1) === 1)
      abort()
      const { name } = (await aborted) as Error
      free[0] = 1
      return [name, await beside, runs[0]]
    },
    ['AbortError', 'counted', 1],
    ['AbortError', 'counted', 2],
  ],
  'a task beside one whose timeoutMs ends their thread runs again': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1, concurrentTasksPerWorker: 2 })
      const runs = new Int32Array(new SharedArrayBuffer(4))
      const flag = new Int32Array(new SharedArrayBuffer(8))
      const free = new Int32Array(new SharedArrayBuffer(4))
      const beside = pool.run({ runs, free }, { name: 'counts' })
      await until(() => Atomics.load(runs, 0) === 1)
      const late = reasonOf(pool.run({ flag }, { name: 'gate', timeoutMs: 20 }))
      await until(() => Atomics.load(flag, 1) === 1)
      // Piscina knows no time-out.
      void turns(1_000).then(() => release(flag))
      const { name } = (await late) as Error
      free[0] = 1
      return [name, await beside, runs[0]]
    },
    [undefined, 'counted', 1],
    ['TimeoutError', 'counted', 2],
  ],
  'a handler that throws null rejects': [
    (make) => reasonOf(make().run('null', { name: 'throws' })),
    { resolved: null },
    null,
  ],
  'a thrown value that cannot be cloned ends its task alone, by a clear error': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1 })
      pool.on('error', () => {})
      const reason = (await reasonOf(pool.run('function', { name: 'throws' }))) as Error
      return [reason.name, reason.message?.startsWith('The handler threw a function')]
    },
    expect.not.arrayContaining([true]),
    ['Error', true],
  ],
  'a task is copied as its thread takes it, not before that has started': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1 })
      const task = { n: 1 }
      const run = pool.run(task)
      task.n = 2
      return run
    },
    { n: 1 },
    { n: 2 },
  ],
  'a view arrives with its own bytes alone': [
    (make) => make().run(new Uint8Array(new ArrayBuffer(1000), 10, 5), { name: 'views' }),
    [10, 1000],
    [0, 5],
  ],
  'a balancer or a queue that throws rejects the task': [
    async (make, Piscina) => {
      const fails = () => {
        throw new RangeError('fails')
      }
      const taskQueue = Object.assign(new Piscina.ArrayTaskQueue(), { push: fails })
      const pools = [
        make({ minThreads: 0, loadBalancer: (_task) => fails() }),
        make({ minThreads: 0, taskQueue }),
      ]
      const ends: string[] = []
      for (const pool of pools) {
        try {
          await pool.run(1).catch(({ message }) => ends.push(`rejects: ${message}`))
        } catch (thrown) {
          ends.push(`throws: ${(thrown as Error).message}`)
        }
        await pool.close()
      }
      return ends
    },
    ['throws: fails', 'throws: fails'],
    ['rejects: fails', 'rejects: fails'],
  ],
  'a task with a signal waits in the queue of the user': [
    async (make, Piscina) => {
      const taskQueue = new Piscina.ArrayTaskQueue()
      const pool = make({ minThreads: 0, maxThreads: 1, taskQueue: taskQueue as never })
      const run = pool.run(1, { signal: new AbortController().signal })
      const { size } = taskQueue
      return [size, await run]
    },
    [0, 1],
    [1, 1],
  ],
  'workerDestroy is emitted once the thread has ended': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1 })
      let count = 0
      pool.on('workerDestroy', () => count++)
      await pool.run(1)
      const destroyed = pool.destroy()
      const atOnce = count
      await destroyed
      return [atOnce, count]
    },
    [1, 1],
    [0, 1],
  ],
  'a histogram without times reads 0': [
    (make) => {
      const { min, mean, stddev } = make().histogram.runTime!
      return [min === 0, mean, stddev]
    },
    [false, Number.NaN, Number.NaN],
    [true, 0, 0],
  ],
  'a member of a default export is a handler': [
    (make) =>
      reasonOf(
        make().run(1, { filename: fixture('piscina/members.cjs').pathname, name: 'member' }),
      ),
    expect.objectContaining({ message: expect.stringContaining('No handler function exported') }),
    { resolved: ['member', 1] },
  ],
  'runTask is still there': [
    async (make) => [
      await make().runTask?.(1, [], fixture('piscina/whole.cjs').pathname),
      await make().runTask?.(2, { name: 'double' }),
    ],
    [undefined, undefined],
    [['whole', 1], 4],
  ],
  'maxThreads: undefined is the default': [
    (make) => make({ maxThreads: undefined }).maxThreads !== undefined,
    false,
    true,
  ],
}

/** How long a test waits for what ours does and Piscina does not. */
const patienceMs = (Piscina: Class): number => (Piscina === Ours ? 15_000 : 300)

function controllerOf() {
  const controller = new AbortController()
  return { signal: controller.signal, abort: () => controller.abort() }
}

describe('cases that differ on purpose', () => {
  for (const [name, [run, theirs, ours]] of Object.entries(DIFFERENCES)) {
    test(name, async () => {
      expect(await runOn(Theirs as unknown as Class, run)).toEqual(theirs)
      expect(await runOn(Ours, run)).toEqual(ours)
    })
  }
})

const GROUPS = [undefined, 'in a group']

describe('LaneTaskQueue', () => {
  test('orders the tasks of Piscina itself by lane and priority', async () => {
    const order = await runOn(Theirs as unknown as Class, async (make, Piscina) => {
      const taskQueue = new Ours.LaneTaskQueue({
        lanes: { urgent: { priority: 0 }, query: { priority: 1 } },
      })
      const pool = make({ minThreads: 1, maxThreads: 1, taskQueue, name: 'gate' })
      const flag = flagOf()
      const controller = new AbortController()
      const seen: unknown[] = []
      const run = (value: number, own: object | null, signal?: AbortSignal) =>
        pool
          .run({ flag, value, [Piscina.queueOptionsSymbol]: own }, { signal })
          .then((result) => seen.push(result))
      const runs = [
        run(0, null),
        run(1, null),
        run(2, { priority: 200 }),
        run(3, { lane: 'urgent' }),
        run(4, { priority: 5 }),
        run(5, { lane: 'urgent', priority: 0 }),
      ]
      const gone = reasonOf(run(6, { lane: 'urgent' }, controller.signal))
      controller.abort()
      const size = taskQueue.size
      release(flag)
      await Promise.all([...runs, gone])
      return [size, seen]
    })
    expect(order).toEqual([5, [0, 5, 3, 4, 1, 2]])
  })

  test('gives groups their turns in Piscina itself, which gives back what finds no thread', async () => {
    const order = await runOn(Theirs as unknown as Class, async (make, Piscina) => {
      const taskQueue = new Ours.LaneTaskQueue({
        lanes: { query: { groupWeights: { gold: 2 }, groupConcurrency: 1 } },
      })
      const pool = make({ minThreads: 1, maxThreads: 1, taskQueue, name: 'gate' })
      const flag = flagOf()
      const controller = new AbortController()
      const seen: unknown[] = []
      const run = (value: string, group?: string, signal?: AbortSignal) =>
        pool
          .run({ flag, value, [Piscina.queueOptionsSymbol]: { group } }, { signal })
          .then((result) => seen.push(result))
      const runs = [run('first')]
      for (const value of ['a1', 'a2', 'a3', 'a4', 'a5', 'a6']) runs.push(run(value, 'a'))
      for (const value of ['b1', 'b2', 'b3']) runs.push(run(value, 'b'))
      const gone = reasonOf(run('gone', 'b', controller.signal))
      for (const value of ['g1', 'g2', 'g3', 'g4']) runs.push(run(value, 'gold'))
      controller.abort()
      const size = taskQueue.size
      release(flag)
      await Promise.all([...runs, gone])
      return [size, taskQueue.size, seen.join(' ')]
    })
    expect(order).toEqual([13, 0, 'first a1 b1 g1 g2 a2 b2 g3 g4 a3 b3 a4 a5 a6'])
  })

  test('gives the groups of a lane their turns, whatever comes, goes and comes back', () => {
    const queue = new Ours.LaneTaskQueue({
      lanes: { urgent: { priority: 0 }, query: { priority: 1, groupWeights: { gold: 2 } } },
    })
    const names = new Map<unknown, string>()
    const add = (name: string, own: object, how: 'push' | 'unshift' = 'push') => {
      const task = { [Ours.queueOptionsSymbol]: own } as never
      names.set(task, name)
      queue[how](task)
      return task
    }
    const take = (count: number) => {
      return range(count).map(() => names.get(queue.shift()))
    }
    const [, a2] = ['a1', 'a2', 'a3', 'a4'].map((name) => add(name, { group: 'a' }))
    for (const name of ['g1', 'g2', 'g3', 'g4']) add(name, { group: 'gold' })
    add('plain', {})
    add('urgent', { lane: 'urgent', group: 'a' })
    queue.remove(a2!)
    expect(queue.size).toBe(9)
    expect(take(3)).toEqual(['urgent', 'a1', 'g1'])
    add('back', { group: 'gold' }, 'unshift')
    add('first', { group: 'gold', priority: 1 })
    expect(take(2)).toEqual(['back', 'first'])
    // What comes back has had its turn, and no other comes before it.
    const a3 = queue.shift()!
    queue.push(a3)
    expect([names.get(a3), queue.size]).toEqual(['a3', 6])
    expect(take(6)).toEqual(['a3', 'g2', 'g3', 'a4', 'plain', 'g4'])
    expect([queue.size, queue.shift()]).toEqual([0, null])
  })

  test.each([
    [{ lane: 'none' }, 'none'],
    [{ priority: 'high' }, '"high"'],
    [{ priority: 256 }, '256'],
    [{ deadlineMs: '5' }, '"5"'],
    [{ group: 7 }, 'a string of 1 to 1024 characters'],
  ])('refuses a lane that there is not, and options that are none (%o)', (options, said) => {
    const queue = new Ours.LaneTaskQueue()
    const task = { [Ours.queueOptionsSymbol]: options } as never
    expect(() => queue.push(task)).toThrow(said)
    expect(queue.size).toBe(0)
    expect(() => new Ours.LaneTaskQueue({ defaultLane: 'none' })).toThrow('none')
    expect(() => new Ours.LaneTaskQueue({ lanes: {} })).toThrow('1 to 256 lanes')
  })

  test.each(GROUPS)('a task that is removed is there no more, wherever it was: %s', (group) => {
    const queue = new Ours.LaneTaskQueue()
    const make = (lane: string) => ({ [Ours.queueOptionsSymbol]: { lane, group } }) as never
    const [one, other] = [make('query'), make('query')]
    queue.remove(one)
    queue.push(one)
    queue.push(other)
    queue.remove(one)
    queue.push(one)
    expect([queue.size, queue.shift(), queue.shift(), queue.shift()]).toEqual([2, other, one, null])
  })

  test.each(GROUPS)('removed tasks are let go of in a lane that starves, too: %s', (group) => {
    const queue = new Ours.LaneTaskQueue({
      lanes: { low: { priority: 9 }, query: { priority: 0 } },
    })
    const make = (lane: string) => ({ [Ours.queueOptionsSymbol]: { lane, group } }) as never
    const removed: WeakRef<object>[] = []
    for (let i = 0; i < 10_000; i++) {
      const task = make('low')
      queue.push(task)
      queue.push(make('query'))
      queue.remove(task)
      queue.shift()
      removed.push(new WeakRef(task))
    }
    expect(queue.size).toBe(0)
    return new Promise((resolve) => setImmediate(resolve)).then(() => {
      collectGarbage()
      expect(removed.filter((one) => one.deref() !== undefined).length).toBeLessThan(2_000)
    })
  })
})
