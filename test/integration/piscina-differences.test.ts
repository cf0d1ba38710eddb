// What differs from Piscina on purpose, with both answers.

import { getPriority } from 'node:os'
import { Piscina as Ours } from 'corelane/piscina'
import { Piscina as Theirs } from 'piscina'
import { describe, expect, test } from 'vitest'
import { fixture } from '../support/managers.ts'
import {
  type Case,
  type Class,
  controllerOf,
  error,
  filename,
  flagOf,
  opened,
  reasonOf,
  release,
  runOn,
  turns,
  until,
} from '../support/piscina.ts'
import { range } from '../support/range.ts'
import { uncaughtBy } from '../support/uncaught.ts'

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
  'a listener that throws as a thread comes is uncaught, and the thread serves': [
    async (make, Piscina) => {
      const pool = make({ minThreads: 0, maxThreads: 1 })
      let count = 0
      pool.on('workerCreate', () => {
        if (++count === 1) throw new Error('mine')
      })
      let result: unknown
      const thrown = await uncaughtBy(async () => {
        const served = pool.run(1).then(() => 'serves')
        await until(() => count > 0)
        result = await Promise.race([served, turns(patienceMs(Piscina)).then(() => 'hangs')])
      })
      return [result, count, thrown.map((each) => (each as Error).message)]
    },
    ['hangs', 1, ['mine']],
    ['serves', 1, ['mine']],
  ],
  'tasks behind one that ended the last thread run in the next, however slowly that loads': [
    async (make, Piscina) => {
      const slow = fixture('piscina/slow.mjs').pathname
      const pool = make({ filename: slow, minThreads: 0, maxThreads: 1, idleTimeout: 5 })
      const [death, ...others] = ['die', 1, 2].map((task) => reasonOf(pool.run(task)))
      await death
      return Promise.race([Promise.all(others), turns(patienceMs(Piscina)).then(() => 'hangs')])
    },
    'hangs',
    [{ resolved: 1 }, { resolved: 2 }],
  ],
  'tasks in a queue of the user are rejected once no thread can start': [
    async (make, Piscina) => {
      const execArgv = ['--require', fixture('piscina/dies.cjs').pathname]
      const given = [
        { taskQueue: new Piscina.ArrayTaskQueue() },
        { loadBalancer: (_task: unknown, _all: unknown) => null },
      ]
      const pools = given.map((one) => make({ execArgv, minThreads: 1, maxThreads: 1, ...one }))
      const reasons = pools.flatMap((pool) => {
        pool.on('error', () => {})
        return [1, 2].map(() => reasonOf(pool.run(0)))
      })
      return Promise.race([Promise.all(reasons), turns(patienceMs(Piscina)).then(() => 'hangs')])
    },
    'hangs',
    range(4).map(() => expect.objectContaining({ name: 'ConfigError' })),
  ],
  'a Buffer stays a Buffer, in tasks and results': [
    async (make) => Buffer.isBuffer(await make().run(Buffer.from('b'))),
    false,
    true,
  ],
  'tasks of a key run one at a time, in order': [
    async (make) => {
      const pool = make({ minThreads: 2, maxThreads: 2, name: 'sleep' })
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
  'a task may be copied before its thread is free': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1, name: 'gate' })
      const flag = flagOf()
      const first = pool.run({ flag })
      const task = { n: 1 }
      const run = pool.run(task, { name: 'default' })
      task.n = 2
      release(flag)
      await first
      return run
    },
    { n: 2 },
    { n: 1 },
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
      const { min, mean, stddev } = make({ minThreads: 0 }).histogram.runTime!
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
  'an option that is undefined, and a name that is null, are the default': [
    async (make) => [
      make({ minThreads: 0, maxThreads: undefined }).maxThreads !== undefined,
      ((await reasonOf(make({ name: null as never }).run(1))) as Error).name,
    ],
    [false, 'Error'],
    [true, undefined],
  ],
  'an error keeps members of its own': [
    async (make) => {
      const reason = await make()
        .run({ kind: 'other' }, { name: 'thrown' })
        .catch((thrown) => thrown)
      return (reason as { code?: string }).code
    },
    undefined,
    'E_CODE',
  ],
  'the module of the pool is loaded by its first task': [
    async (make) => {
      const loads = new Int32Array(new SharedArrayBuffer(4))
      const counting = fixture('piscina/loads.cjs').pathname
      const pool = make({ minThreads: 1, maxThreads: 1, filename: counting, workerData: { loads } })
      await pool.run(1, { filename })
      const before = loads[0]
      return [before, await pool.run(2), loads[0]]
    },
    [1, 2, 1],
    [0, 2, 1],
  ],
  'threads that are NaN are refused': [
    (make) => {
      try {
        return make({ minThreads: Number.NaN, maxThreads: Number.NaN }).threads.length
      } catch (thrown) {
        return (thrown as Error).name
      }
    },
    0,
    'ConfigError',
  ],
  'run does not throw, if it starts a thread that new Worker refuses': [
    async (make) => {
      const pool = make({ minThreads: 0, maxThreads: 1, workerData: { f() {} } })
      try {
        const run = reasonOf(pool.run(1))
        await pool.destroy()
        return ((await run) as Error).message
      } catch {
        // The promise that it has not given would reject.
        opened.pop()
        return 'thrown'
      }
    },
    'thrown',
    'Terminating worker thread',
  ],
  'a task queue removes a task that it does not hold': [
    (_make, Piscina) => {
      try {
        return new Piscina.ArrayTaskQueue().remove({} as never)
      } catch {
        return 'thrown'
      }
    },
    'thrown',
    undefined,
  ],
  'a thread and a task have few members of the interface as their own': [
    async (make) => {
      let keys: string[] = []
      const pool = make({
        loadBalancer: (task, [worker]) => {
          keys = [...Object.keys(task), ...Object.keys(worker!)]
          return worker!
        },
      })
      await pool.run(1)
      return [keys.includes('currentUsage'), keys.includes('command')]
    },
    [true, false],
    [false, true],
  ],
  'a task that a queue holds has no state': [
    async (make, Piscina) => {
      const taskQueue = new Piscina.ArrayTaskQueue()
      const pool = make({ minThreads: 0, maxThreads: 1, taskQueue: taskQueue as never })
      const run = pool.run(1)
      const [task] = taskQueue.tasks
      const has = ['started', 'aborted', 'workerInfo'].map((name) => name in task!)
      await run
      return has
    },
    [true, true, true],
    [false, false, false],
  ],
  'a thread that a handler starts is told that it is one of a pool': [
    (make) => make().run(0, { name: 'inner' }),
    false,
    true,
  ],
  'a long closeTimeout is not cut to 1 ms': [
    async (make, Piscina) => {
      const pool = make({ minThreads: 1, maxThreads: 1, closeTimeout: 2 ** 40, name: 'gate' })
      const events: unknown[] = []
      pool.on('error', (reason) => events.push(error(reason)))
      const flag = new Int32Array(new SharedArrayBuffer(8))
      const run = reasonOf(pool.run({ flag }))
      await until(() => Atomics.load(flag, 1) === 1)
      const closed = pool.close()
      await (Piscina === Ours ? turns(20) : closed)
      release(flag)
      await Promise.all([run, closed])
      return events.length
    },
    1,
    0,
  ],
  'needsDrain is emitted once in a turn': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1, name: 'gate' })
      const flag = flagOf()
      let count = 0
      pool.on('needsDrain', () => count++)
      const runs = [1, 2, 3].map((value) => pool.run({ flag, value }))
      for (let i = 0; i < 20; i++) await undefined
      const inTurn = count
      release(flag)
      await Promise.all(runs)
      return inTurn > 1
    },
    true,
    false,
  ],
  'needsDrain counts tasks that have a signal': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1, name: 'gate' })
      const flag = flagOf()
      const { signal } = controllerOf()
      const run = pool.run({ flag }, { signal })
      for (let i = 0; i < 20; i++) await undefined
      const { needsDrain } = pool
      release(flag)
      await run
      return needsDrain
    },
    false,
    true,
  ],
  'as many threads come as have something to do': [
    async (make) => {
      const pool = make({ minThreads: 0, maxThreads: 4, concurrentTasksPerWorker: 10 })
      const runs = range(4).map((value) => pool.run(value))
      const { length } = pool.threads
      await Promise.all(runs)
      return length
    },
    4,
    1,
  ],
  'after destroy the next task starts minThreads': [
    async (make) => {
      const pool = make({ minThreads: 2, maxThreads: 2 })
      await pool.destroy()
      const run = pool.run(1)
      const { length } = pool.threads
      await run
      return length
    },
    1,
    2,
  ],
  'timers of handlers go on in a thread without a task': [
    async (make, Piscina) => {
      const flag = flagOf()
      await make({ minThreads: 1, maxThreads: 1 }).run({ flag }, { name: 'ticks' })
      if (Piscina === Ours) await until(() => Atomics.load(flag, 0) === 1)
      else await turns(50)
      return flag[0]
    },
    0,
    1,
  ],
  'niceIncrement has no effect': [
    async (make) => {
      const niceness = await make({ niceIncrement: 3 }).run(0, { name: 'niceness' })
      return (niceness as number) > getPriority()
    },
    // Elsewhere threads have no priority of their own.
    process.platform === 'linux',
    false,
  ],
  'tasks that found no thread keep their order without stricterFIFO': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1 })
      const order: unknown[] = []
      const runs = range(8).map((value) => pool.run(value).then((result) => order.push(result)))
      await Promise.all(runs)
      return order.join() === range(8).join()
    },
    false,
    true,
  ],
  'a run lasts until its handler ends, not until the main thread hears of that': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1, name: 'notifies' })
      const flag = flagOf()
      const run = pool.run({ flag })
      const begun = performance.now()
      Atomics.wait(flag, 0, 0, 30_000)
      Atomics.wait(flagOf(), 0, 0, 100)
      await run
      return pool.histogram.runTime!.max < performance.now() - begun - 100
    },
    false,
    true,
  ],
  'the abort of a task that its thread has not begun lets the thread live': [
    async (make) => {
      const pool = make({ minThreads: 1, maxThreads: 1 })
      let count = 0
      pool.on('workerDestroy', () => count++)
      const { signal, abort } = controllerOf()
      const aborted = reasonOf(pool.run(1, { signal }))
      abort()
      const { name } = (await aborted) as Error
      return [name, await pool.run(2), count]
    },
    ['AbortError', 2, 1],
    ['AbortError', 2, 0],
  ],
  'a thread runs 1,024 tasks at once': [
    async (make, Piscina) => {
      const most = Piscina === Ours ? 1_024 : 1_030
      const pool = make({ minThreads: 1, maxThreads: 1, concurrentTasksPerWorker: 1_030 })
      const runs = new Int32Array(new SharedArrayBuffer(4))
      const free = new Int32Array(new SharedArrayBuffer(4))
      const tasks = range(1_030).map(() => pool.run({ runs, free }, { name: 'counts' }))
      await until(() => Atomics.load(runs, 0) >= most)
      await turns(20)
      const count = Atomics.load(runs, 0)
      free[0] = 1
      await Promise.all(tasks)
      return count
    },
    1_030,
    1_024,
  ],
}

/** How long a test waits for what ours does and Piscina does not. */
const patienceMs = (Piscina: Class): number => (Piscina === Ours ? 15_000 : 300)

describe('cases that differ on purpose', () => {
  for (const [name, [run, theirs, ours]] of Object.entries(DIFFERENCES)) {
    test(name, async () => {
      expect(await runOn(Theirs as unknown as Class, run)).toEqual(theirs)
      expect(await runOn(Ours, run)).toEqual(ours)
    })
  }
})
