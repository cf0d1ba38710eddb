// Piscina's interface: every case runs against Piscina itself and against ours, and gives the same.
// What differs on purpose is in docs/piscina.md and in piscina-differences.test.ts.

import { createHook } from 'node:async_hooks'
import { EventEmitter, once } from 'node:events'
import { availableParallelism } from 'node:os'
import { MessageChannel } from 'node:worker_threads'
import { Piscina as Theirs } from 'piscina'
import { fixture } from '../support/managers.ts'
import {
  type Case,
  type Class,
  describeOnBoth,
  error,
  filename,
  flagOf,
  opened,
  reasonOf,
  release,
  turns,
  until,
} from '../support/piscina.ts'
import { range } from '../support/range.ts'

type Pool = InstanceType<Class>

/** Threads that `maxThreads` has to follow. */
const aboveDefault = Math.ceil(availableParallelism() * 1.5) + 1

const CASES: Readonly<Record<string, Case>> = {
  'values go there and back': async (make) => {
    const pool = make()
    const values = [
      1,
      'text',
      null,
      undefined,
      true,
      -0,
      2n ** 70n,
      new Date(5),
      /a/gi,
      Object.assign(new Array(3), { 0: 1 }),
      { a: { b: [] } },
      new Map([[1, { x: 1 }]]),
      new Set(['s']),
      new Uint8Array([1, 2]),
      new Float64Array(2),
      new Error('e'),
      Number.NaN,
      '\u{1F600}',
      Object.create(null),
      new (class Point {
        x = 1
      })(),
    ]
    return Promise.all(values.map((value) => pool.run(value)))
  },
  'hundreds of tasks give their results in place': async (make) => {
    const pool = make({ maxThreads: 2, concurrentTasksPerWorker: 10 })
    return Promise.all(range(300).map((i) => pool.run(i, { name: 'double' })))
  },
  'handlers are called with the task alone': (make) => make().run(1, { name: 'arguments' }),
  'an export may be a promise of a handler': (make) => make().run(1, { name: 'later' }),
  'a module may be its handler': (make) =>
    make().run(1, { filename: fixture('piscina/whole.cjs').pathname, name: 'default' }),
  'a filename may be a file URL, and names of options are defaults': async (make) => {
    const pool = make({ filename: fixture('piscina/tasks.cjs').href, name: 'double' })
    return [pool.options.filename, await pool.run(4), await pool.run(4, { name: 'default' })]
  },
  'errors keep name, message and cause': async (make) => {
    const pool = make()
    const kinds = ['type', 'string', 'rejects', 'other']
    return Promise.all(kinds.map((kind) => reasonOf(pool.run({ kind }, { name: 'thrown' }))))
  },
  'a missing export and a missing module reject': async (make) => {
    const pool = make()
    const missing = (await reasonOf(pool.run(1, { filename: '/no/such.mjs' }))) as Error
    return [
      await reasonOf(pool.run(1, { name: 'value' })),
      missing.name,
      missing.message.slice(0, 18),
    ]
  },
  'arguments that do not fit reject': async (make) => {
    const pool = make()
    const bad = [null, 5, { transferList: 1 }, { filename: 1 }, { name: 1 }, { signal: 1 }]
    return Promise.all(bad.map((options) => reasonOf(pool.run(1, options as never))))
  },
  'without a filename run rejects': (make) =>
    reasonOf(make({ filename: null, minThreads: 0 }).run(1)),
  'options that do not fit throw': (make) => {
    const bad = [
      { filename: 1 },
      { name: 1 },
      { minThreads: -1 },
      { minThreads: 'a' },
      { maxThreads: 0 },
      { maxThreads: 'a' },
      { minThreads: 5, maxThreads: 2 },
      { idleTimeout: -1 },
      { maxQueue: -1 },
      { maxQueue: 'b' },
      { concurrentTasksPerWorker: 0 },
      { atomics: 'x' },
      { atomics: 1 },
      { resourceLimits: 0 },
      { resourceLimits: null },
      { taskQueue: {} },
      { taskQueue: 1 },
      { niceIncrement: 'a' },
      { niceIncrement: -1 },
      { trackUnmanagedFds: 1 },
      { closeTimeout: -1 },
      { loadBalancer: 1 },
      { loadBalancer: () => null },
      { workerHistogram: 1 },
      { stricterFIFO: 1 },
    ]
    return bad.map((options) => {
      try {
        make(options as never)
        return 'made'
      } catch (reason) {
        return error(reason)
      }
    })
  },
  'options are filled in': (make) => {
    const given = [
      {},
      { minThreads: aboveDefault },
      { maxThreads: 1 },
      { maxQueue: 'auto', maxThreads: 3 } as const,
    ]
    return given.map((options) => {
      const { filename: _, taskQueue: __, ...others } = make(options).options
      return Object.fromEntries(Object.entries(others).sort())
    })
  },
  'static members': (_make, Piscina) => [
    Piscina.isWorkerThread,
    Piscina.workerData,
    Piscina.version,
    Piscina.Piscina === Piscina,
    Piscina.transferableSymbol,
    Piscina.valueSymbol,
    Piscina.queueOptionsSymbol,
    typeof Piscina.move,
    new Piscina.FixedQueue().size,
    new Piscina.ArrayTaskQueue().size,
    Object.getOwnPropertyNames(Piscina)
      .filter((name) => name !== 'LaneTaskQueue')
      .sort(),
  ],
  'inherited options have no effect': (_make, Piscina) => {
    const options = Object.create({ filename: '/evil.js', minThreads: 3, maxThreads: 3 })
    const pool = new Piscina(options)
    opened.push(pool)
    return [pool.options.filename, pool.threads.length]
  },
  'members of a polluted prototype have no effect': async (_make, Piscina) => {
    const polluted = {
      argv: ['polluted'],
      env: { NODE_OPTIONS: '--title=polluted' },
      execArgv: ['--no-such-flag'],
      loadBalancer: () => null,
      delayMs: 60_000,
      priority: -1,
    }
    const tasks = () => {
      Object.assign(Object.prototype, polluted)
      try {
        const pool = new Piscina({ filename, minThreads: 1, maxThreads: 1 })
        opened.push(pool)
        const buffer = new ArrayBuffer(8)
        return [
          pool.run(0, { name: 'argv' }),
          pool.run(buffer, { name: 'buffer', transferList: [buffer] }),
          [pool.options.env, pool.options.execArgv, pool.options.loadBalancer],
        ]
      } finally {
        for (const name of Object.keys(polluted)) Reflect.deleteProperty(Object.prototype, name)
      }
    }
    return Promise.all(tasks())
  },
  'threads come with tasks and go when they are idle': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 3, idleTimeout: 50, name: 'gate' })
    const counts = [pool.threads.length]
    const flag = flagOf()
    const runs: Promise<unknown>[] = []
    for (let i = 0; i < 4; i++) {
      runs.push(pool.run({ flag, value: i }))
      counts.push(pool.threads.length)
    }
    counts.push(pool.queueSize)
    await until(() => pool.idleThreads === 0 && pool.queueSize === 1)
    release(flag)
    const values = await Promise.all(runs)
    await until(() => pool.threads.length === 1)
    return [counts, values, pool.completed, pool.queueSize]
  },
  'a thread above minThreads takes the next task of the same caller': async (make) => {
    const pool = make({ minThreads: 0, maxThreads: 1 })
    const threads = new Set<unknown>()
    for (let i = 0; i < 50; i++) threads.add(await pool.run(0, { name: 'thread' }))
    return [threads.size, pool.threads.length]
  },
  'with minThreads 0 no thread stays': async (make) => {
    const pool = make({ minThreads: 0, maxThreads: 1 })
    const before = pool.threads.length
    const values = [await pool.run(1), await pool.run(2)]
    await until(() => pool.threads.length === 0)
    return [before, values, pool.threads.length]
  },
  'a full queue refuses': async (make) => {
    const flag = flagOf()
    const pool = make({ minThreads: 1, maxThreads: 1, maxQueue: 2, name: 'gate' })
    const runs = range(5).map((value) => reasonOf(pool.run({ flag, value })))
    const size = pool.queueSize
    release(flag)
    return [size, await Promise.all(runs)]
  },
  'options of threads reach them': async (make) => {
    // Node.js makes text of numbers in an `env`.
    const env = { X: 'y', PORT: 80 } as never
    const given = { workerData: { a: [1] }, env, argv: ['one', 'two'] }
    const pool = make({ ...given, minThreads: 1, maxThreads: 1 })
    const names = ['workerData', 'argv'] as const
    return [
      ...(await Promise.all(names.map((name) => pool.run(0, { name })))),
      await pool.run('X', { name: 'env' }),
      await pool.run('PORT', { name: 'env' }),
    ]
  },
  'a process.exit rejects its task, and the next one runs': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1 })
    return [await reasonOf(pool.run(3, { name: 'exit' })), await pool.run(5), pool.completed]
  },
  'an error outside of tasks is an event': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, atomics: 'disabled' })
    const failed = once(pool, 'error')
    await pool.run(0, { name: 'floating' })
    const [reason] = await failed
    return [error(reason), await pool.run(1)]
  },
  'an uncloneable task rejects alone': async (make) => {
    const pool = make()
    return Promise.all([
      reasonOf(pool.run({ f() {} })),
      pool.run(2),
      reasonOf(pool.run(Symbol.iterator)),
    ])
  },
  'aborts: before, while waiting, while running': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, name: 'sleep' })
    const long = { ms: 60_000, value: 0 }
    const controllers = [new AbortController(), new AbortController(), new AbortController()]
    controllers[0]!.abort('early')
    const early = reasonOf(pool.run(long, { signal: controllers[0]!.signal }))
    const running = reasonOf(pool.run(long, { signal: controllers[1]!.signal }))
    const waiting = reasonOf(pool.run(long, { signal: controllers[2]!.signal }))
    const after = pool.run({ ms: 1, value: 'after' })
    await turns(100)
    controllers[2]!.abort('waiting')
    controllers[1]!.abort('running')
    return [await early, await running, await waiting, await after, pool.threads.length]
  },
  'event emitters may abort': async (make) => {
    const pool = make({ name: 'sleep' })
    const emitter = new EventEmitter()
    const run = reasonOf(pool.run({ ms: 60_000 }, { signal: emitter }))
    await turns(50)
    emitter.emit('abort')
    return [await run, emitter.listenerCount('abort')]
  },
  'listeners are taken off a signal whose task has ended': async (make) => {
    const emitter = new EventEmitter()
    await make().run(1, { signal: emitter })
    return emitter.listenerCount('abort')
  },
  'an abort ends no task beside it': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 2, concurrentTasksPerWorker: 5, name: 'sleep' })
    const { signal } = AbortSignal.timeout(150) && { signal: AbortSignal.timeout(150) }
    const aborted = reasonOf(pool.run({ ms: 60_000 }, { signal }))
    const others = range(5).map((value) => pool.run({ ms: 200, value }))
    return [((await aborted) as Error).name, await Promise.all(others)]
  },
  'close waits, and destroy rejects': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, name: 'sleep' })
    const events: string[] = []
    pool.on('close', () => events.push('close'))
    const runs = [1, 2].map((value) => reasonOf(pool.run({ ms: 30, value })))
    const closing = pool.close().then(() => events.push('closed'))
    const late = reasonOf(pool.run(1))
    await closing
    const again = await pool.run({ ms: 1, value: 'again' })
    const doomed = [1, 2].map(() => reasonOf(pool.run({ ms: 60_000 })))
    await pool.destroy()
    return [
      await Promise.all(runs),
      await late,
      events,
      again,
      await Promise.all(doomed),
      pool.threads.length,
    ]
  },
  'a pool that is closed twice ends for both': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, closeTimeout: 5_000, name: 'sleep' })
    const events: unknown[] = []
    pool.on('error', (reason) => events.push(error(reason)))
    const run = reasonOf(pool.run({ ms: 100, value: 1 }))
    await Promise.all([pool.close(), pool.close()])
    return [await run, events]
  },
  'close by force rejects tasks that have not started': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, name: 'gate' })
    const flag = new Int32Array(new SharedArrayBuffer(8))
    const runs = [1, 2, 3].map((value) => reasonOf(pool.run({ flag, value })))
    await until(() => Atomics.load(flag, 1) === 1)
    const closing = pool.close({ force: true })
    release(flag)
    await closing
    return Promise.all(runs)
  },
  'close by force lets tasks run that have a thread, even one that still starts': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, concurrentTasksPerWorker: 2 })
    const runs = [1, 2, 3, 4].map((value) => reasonOf(pool.run(value)))
    const growing = make({ minThreads: 0, maxThreads: 1 })
    const run = reasonOf(growing.run(5))
    await Promise.all([pool.close({ force: true }), growing.close({ force: true })])
    return [await Promise.all(runs), await run]
  },
  'close gives up after closeTimeout': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, closeTimeout: 50, name: 'sleep' })
    const events: unknown[] = []
    pool.on('error', (reason) => events.push(error(reason)))
    pool.on('close', () => events.push('close'))
    const run = reasonOf(pool.run({ ms: 60_000 }))
    await pool.close()
    return [await run, events]
  },
  'arguments of close are checked': async (make) => {
    const pool = make({ minThreads: 0 })
    return [
      await reasonOf(pool.close(null as never)),
      await reasonOf(pool.close({ force: 1 } as never)),
    ]
  },
  'await using closes the pool': async (_make, Piscina) => {
    let kept: Pool
    {
      await using pool = new Piscina({ filename })
      kept = pool
      await pool.run(1)
    }
    return kept.threads.length
  },
  'messages of threads are events': async (make) => {
    const pool = make()
    const message = once(pool, 'message')
    await pool.run({ hello: 1 }, { name: 'message' })
    return message
  },
  'threads are told of as they come and go': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1 })
    const events: string[] = []
    pool.on('workerCreate', (worker) =>
      events.push(`create ${typeof worker.id} ${worker.destroyed}`),
    )
    pool.on('workerDestroy', (worker) => events.push(`destroy ${worker.destroyed}`))
    await pool.run(1)
    await pool.destroy()
    return events
  },
  'needsDrain and drain': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, name: 'gate' })
    const events: string[] = []
    pool.once('needsDrain', () => events.push(`needsDrain ${pool.needsDrain}`))
    pool.once('drain', () => events.push(`drain ${pool.needsDrain}`))
    const flag = flagOf()
    const runs = [1, 2].map((value) => pool.run({ flag, value }))
    await turns(20)
    const during = pool.needsDrain
    release(flag)
    await Promise.all(runs)
    await turns()
    return [during, events, pool.needsDrain]
  },
  'a caller may move by a Piscina of its own, and what cannot move is given as it is': async (
    make,
    Piscina,
  ) => {
    const buffer = new ArrayBuffer(2)
    const length = await make().run(Theirs.move(buffer), { name: 'buffer' })
    return [length, buffer.byteLength, Piscina.move(5)]
  },
  'a handler may move by a Piscina of its own': async (make) => {
    return make().run(4, { name: 'movedByPiscina' })
  },
  'ports, Blobs and shared memory cross as they are': async (make) => {
    const pool = make()
    const { port1, port2 } = new MessageChannel()
    const flag = flagOf()
    port1.once('message', () => {
      port1.postMessage('answer')
      release(flag)
    })
    const answer = await pool.run({ port: port2, flag }, { name: 'asks', transferList: [port2] })
    port1.close()
    const map = new Map([['a', new Blob(['text'])]])
    const view = flagOf()
    return [
      answer,
      await pool.run({ map }, { name: 'blobs' }),
      await pool.run({ view }, { name: 'adds' }),
      view[0],
    ]
  },
  'histograms and rates': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, workerHistogram: true })
    await Promise.all([1, 2, 3].map((i) => pool.run(i)))
    const { runTime, waitTime } = pool.histogram
    const names = Object.keys(runTime!).sort()
    const shown = [
      names,
      runTime!.max > 0,
      waitTime!.max > 0,
      pool.utilization > 0,
      pool.duration > 0,
    ]
    pool.histogram.resetRunTime()
    const off = make({ recordTiming: false })
    await off.run(1)
    return [shown, pool.histogram.runTime!.max, off.histogram.runTime, off.utilization]
  },
  'options and histogram have the members of Piscina': (make) => [
    Object.keys(make({ argv: ['a'], minThreads: 0 }).options).sort(),
    Object.keys(make().histogram).sort(),
    make({ filename: '', minThreads: 0 }).options.filename,
  ],
  'an aborted task counts as completed if it ran': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, name: 'gate' })
    const flag = new Int32Array(new SharedArrayBuffer(8))
    const [running, waiting] = [new AbortController(), new AbortController()]
    const runs = [running, waiting].map(({ signal }) => reasonOf(pool.run({ flag }, { signal })))
    await until(() => Atomics.load(flag, 1) === 1)
    waiting.abort()
    await runs[1]
    const counts = [pool.completed]
    running.abort()
    await runs[0]
    return [...counts, pool.completed]
  },
  'a pool that grows to its last thread needs to drain': async (make) => {
    const pool = make({ minThreads: 0, maxThreads: 1 })
    const events: string[] = []
    for (const event of ['workerCreate', 'needsDrain', 'drain', 'workerDestroy', 'close']) {
      pool.once(event, () => events.push(event))
    }
    await pool.run(1)
    await until(() => pool.threads.length === 0)
    await pool.close()
    return events
  },
  'a signal that cannot be listened to throws, and nothing stays open': async (make) => {
    const pool = make({})
    let name: unknown
    try {
      await pool.run(1, { signal: {} })
    } catch (reason) {
      name = (reason as Error).name
    }
    await pool.close()
    return name
  },
  'a queue of the user sees live tasks': async (make, Piscina) => {
    const seen: unknown[] = []
    class Last extends Piscina.ArrayTaskQueue {
      override push(task: never): void {
        const {
          task: payload,
          name,
          filename: file,
          [Piscina.queueOptionsSymbol]: own,
        } = task as Record<symbol | string, unknown>
        seen.push([payload, name, file === filename, own])
        super.push(task)
      }
      override shift(): never {
        return (this.tasks.pop() ?? null) as never
      }
    }
    const pool = make({
      minThreads: 1,
      maxThreads: 1,
      taskQueue: new Last() as never,
      name: 'gate',
    })
    const flag = flagOf()
    const order: unknown[] = []
    const runs = [1, 2, 3, 4].map((value) =>
      pool
        .run({ flag, value, [Piscina.queueOptionsSymbol]: value === 3 ? { three: 3 } : null })
        .then((result) => order.push(result)),
    )
    const size = pool.queueSize
    await turns(50)
    release(flag)
    await Promise.all(runs)
    return [size, order, seen.map((one) => (one as unknown[]).slice(1))]
  },
  'a balancer of the user chooses threads': async (make) => {
    const asked: unknown[] = []
    const pool = make({
      minThreads: 2,
      maxThreads: 2,
      loadBalancer: (task, workers) => {
        asked.push([task.name, task.isAbortable, typeof workers[0]?.id])
        return workers.find(({ currentUsage }) => currentUsage === 0) ?? null
      },
    })
    // A thread that has run a task is ready.
    await Promise.all([1, 2].map((i) => pool.run(i)))
    asked.length = 0
    const values = await Promise.all([1, 2, 3, 4, 5].map((i) => pool.run(i)))
    return [values, asked[0]]
  },
  'a balancer may give a copy of a thread': (make) =>
    make({ loadBalancer: (_task, [worker]) => (worker ? { ...worker } : null) }).run(1),
  'a task is an async resource, which its pool triggers': async (make) => {
    const pool = make()
    const ids = new Set<number>()
    const seen: unknown[] = []
    const note = (event: string) => (id: number) => ids.has(id) && seen.push(event)
    const hook = createHook({
      init(id, type, triggerId) {
        if (type !== 'Piscina.Task') return
        ids.add(id)
        seen.push(triggerId === pool.asyncResource.asyncId())
      },
      before: note('before'),
      after: note('after'),
      destroy: note('destroy'),
    })
    hook.enable()
    await pool.run(1)
    await until(() => seen.length >= 4)
    hook.disable()
    return seen
  },
  subclasses: async (_make, Piscina) => {
    class Own extends Piscina {
      own = 1
    }
    const pool = new Own({ filename })
    opened.push(pool)
    return [pool.own, await pool.run(3), pool instanceof Piscina]
  },
  'destroy from a rejection while others run': async (make) => {
    const pool = make({ minThreads: 2, maxThreads: 2 })
    const others = [1, 2, 3].map(() => reasonOf(pool.run({ ms: 60_000 }, { name: 'sleep' })))
    const first = reasonOf(
      pool.run({ kind: 'type' }, { name: 'thrown' }).catch(async (reason) => {
        await pool.destroy()
        throw reason
      }),
    )
    void turns(300).then(() => pool.destroy())
    return [((await first) as Error).name, await Promise.all(others)]
  },
}

describeOnBoth('cases that give the same on Piscina and on ours', CASES)
