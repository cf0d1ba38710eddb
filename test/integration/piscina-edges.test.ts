// Piscina's interface at its edges: everything that may cross, errors, queues and balancers that
// fail, pools within pools. Every case gives the same on Piscina itself and on ours.

import { EventEmitter, once } from 'node:events'
import { createRequire } from 'node:module'
import { MessageChannel } from 'node:worker_threads'
import { expect } from 'vitest'
import { fixture } from '../support/managers.ts'
import {
  type Case,
  controllerOf,
  describeOnBoth,
  error,
  flagOf,
  reasonOf,
  release,
  turns,
} from '../support/piscina.ts'
import { range } from '../support/range.ts'

interface Kinds {
  readonly MOVED: readonly string[]
  readonly COPIED: readonly string[]
  make(kind: string): Promise<object>
  read(kind: string, value: unknown): unknown
}

const kindsFile = fixture('piscina/kinds.cjs').pathname
const kinds: Kinds = createRequire(import.meta.url)(kindsFile)

/** What a thread, or this one, makes of a value of each kind. */
async function each(all: readonly string[], cross: (kind: string) => Promise<unknown>) {
  const found: Record<string, unknown> = {}
  for (const kind of all) found[kind] = await cross(kind).catch(error)
  return found
}

const CASES: Readonly<Record<string, Case>> = {
  'an event emitter that has ended tasks ends one that gets it in the same turn': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, name: 'gate' })
    const signal = new EventEmitter()
    const flag = flagOf()
    const run = () => reasonOf(pool.run({ flag, value: 1 }, { signal }))
    const old = [run(), run()]
    await turns()
    signal.emit('abort')
    const next = run()
    const ended = await Promise.all(old)
    signal.emit('abort')
    return [...ended, await next, signal.listenerCount('abort')]
  },
  'move moves objects of every kind, as tasks': async (make, Piscina) => {
    const pool = make({ filename: kindsFile, name: 'takeAlone' })
    const found = await each(kinds.MOVED, async (kind) => {
      const value = await kinds.make(kind)
      const seen = await pool.run(Piscina.move(value))
      return [seen, (value as ArrayBuffer).byteLength]
    })
    expect(Object.keys(found).length).toBeGreaterThan(10)
    return found
  },
  'transfer lists move objects of every kind out of a payload': async (make) => {
    const pool = make({ filename: kindsFile, name: 'take' })
    return each(kinds.MOVED, async (kind) => {
      const value = await kinds.make(kind)
      const moved = ArrayBuffer.isView(value) ? value.buffer : value
      return pool.run({ kind, value }, { transferList: [moved] })
    })
  },
  'handlers move objects of every kind': async (make) => {
    // A thread of Piscina's that waits by atomics cannot serve a stream.
    const pool = make({ filename: kindsFile, name: 'giveMoved', atomics: 'disabled' })
    return each(kinds.MOVED, async (kind) => kinds.read(kind, await pool.run(kind)))
  },
  'objects that Node can clone cross in payloads and results': async (make) => {
    const pool = make({ filename: kindsFile, name: 'take' })
    const there = await each(kinds.COPIED, async (kind) =>
      pool.run({ kind, value: await kinds.make(kind) }),
    )
    const back = await each(kinds.COPIED, async (kind) => {
      const { value } = (await pool.run(kind, { name: 'giveCopied' })) as { value: unknown }
      return kinds.read(kind, value)
    })
    return [there, back]
  },
  'a transferable may name several objects': async (make, Piscina) => {
    const buffers = [new ArrayBuffer(2), new ArrayBuffer(3)]
    const own = {
      get [Piscina.transferableSymbol]() {
        return buffers
      },
      get [Piscina.valueSymbol]() {
        return buffers
      },
    }
    const given = (await make().run(Piscina.move(own))) as ArrayBuffer[]
    const result = await make().run([4, 5], { name: 'movesSeveral' })
    given.push(...(result as { all: ArrayBuffer[] }).all)
    return [given.map(({ byteLength }) => byteLength), buffers.map(({ byteLength }) => byteLength)]
  },
  'what cannot be transferred rejects with the error of the port': async (make) => {
    const pool = make()
    const { port1 } = new MessageChannel()
    const twice = new ArrayBuffer(1)
    const reasons = [
      reasonOf(pool.run({}, { transferList: [{}] })),
      reasonOf(pool.run({ port1 })),
      reasonOf(pool.run(twice, { transferList: [twice, twice] })),
    ]
    const all = await Promise.all(reasons)
    port1.close()
    return [all, await pool.run('next')]
  },
  'options that new Worker refuses throw its errors': (make) =>
    [{ workerData: { f() {} } }, { execArgv: ['--no-such-flag'] }].map((options) => {
      try {
        return make({ minThreads: 1, ...options }).threads.length
      } catch (thrown) {
        return error(thrown)
      }
    }),
  'tasks run while the main thread blocks, in threads that start and in others': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 2, name: 'notifies' })
    const flags = range(3).map(() => flagOf())
    const [first, second, third] = flags as [Int32Array, Int32Array, Int32Array]
    const { signal, abort } = controllerOf()
    const wait = (flag: Int32Array) => Atomics.wait(flag, 0, 0, 30_000) !== 'timed-out'
    const runs = [pool.run({ flag: first })]
    const ended = [wait(first)]
    await runs[0]
    runs.push(pool.run({ flag: second }))
    ended.push(wait(second))
    await runs[1]
    const aborted = reasonOf(pool.run({ flag: third, ms: 60_000 }, { name: 'lasts', signal }))
    ended.push(wait(third))
    abort()
    return [ended, await Promise.all(runs), await aborted]
  },
  'a task is copied as run is called, if a thread is free': async (make) => {
    const task = { n: 1 }
    const run = make({ minThreads: 1, maxThreads: 1 }).run(task)
    task.n = 2
    return run
  },
  'using closes the pool': async (_make, Piscina) => {
    let closed: Promise<unknown>
    {
      using pool = new Piscina({ filename: kindsFile })
      closed = once(pool, 'close')
    }
    return closed
  },
  'a close that times out rejects where no listener takes its error': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1, closeTimeout: 20, name: 'sleep' })
    const run = reasonOf(pool.run({ ms: 60_000 }))
    const reason = await reasonOf(pool.close())
    return [reason, await run, pool.threads.length, await pool.run({ ms: 1, value: 'again' })]
  },
  'options of an event emitter reach it': async (make) => {
    const pool = make({ captureRejections: true } as object)
    const failed = once(pool, 'error')
    pool.on('message', async () => {
      throw new Error('of a listener')
    })
    await pool.run(1, { name: 'message' })
    return (await failed).map(error)
  },
  'a thread that runs out of memory rejects its task, and the next one runs': async (make) => {
    const resourceLimits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 }
    const pool = make({ minThreads: 1, maxThreads: 1, resourceLimits })
    const reason = (await pool.run(0, { name: 'fills' }).catch((thrown) => thrown)) as object
    return [error(reason), (reason as { code?: string }).code, await pool.run(1)]
  },
  'an error outside of its handler rejects a task that runs': async (make) => {
    const pool = make({ minThreads: 1, maxThreads: 1 })
    const events: unknown[] = []
    pool.on('error', (reason) => events.push(error(reason)))
    return [await reasonOf(pool.run(0, { name: 'throwsLater' })), await pool.run(1), events]
  },
  'threads are busy from the call of run on': async (make) => {
    const pool = make({ minThreads: 2, maxThreads: 2, name: 'gate' })
    const flag = flagOf()
    const idle = [pool.idleThreads]
    const runs = [1, 2, 3].map((value) => {
      const run = pool.run({ flag, value })
      idle.push(pool.idleThreads)
      return run
    })
    release(flag)
    await Promise.all(runs)
    return [idle, pool.idleThreads]
  },
  'a part of a task counts as a whole one': async (make) => {
    const pool = make({
      minThreads: 1,
      maxThreads: 1,
      concurrentTasksPerWorker: 1.5,
      name: 'meets',
    })
    const count = new Int32Array(new SharedArrayBuffer(4))
    return Promise.all([pool.run({ count, all: 2 }), pool.run({ count, all: 2 })])
  },
  'queue options of a queue of the user are the business of that queue': async (make, Piscina) => {
    class Urgent extends Piscina.ArrayTaskQueue {
      override shift(): never {
        const rank = (task: object) =>
          (task as Record<symbol, { priority?: number } | null>)[Piscina.queueOptionsSymbol]
            ?.priority ?? 0
        this.tasks.sort((a, b) => rank(b) - rank(a))
        return (this.tasks.shift() ?? null) as never
      }
    }
    const taskQueue = new Urgent() as never
    const pool = make({ minThreads: 1, maxThreads: 1, taskQueue, name: 'gate' })
    const flag = flagOf()
    const order: unknown[] = []
    const runs = [0, 1, 2, 3].map((value) => {
      const own = { priority: [0, -1000, 1000, 2.5][value], lane: 'none of ours' }
      return pool
        .run({ flag, value, [Piscina.queueOptionsSymbol]: own })
        .then((result) => order.push(result))
    })
    release(flag)
    await Promise.all(runs)
    return order
  },
  'a queue of the user feeds several threads with several tasks each': async (make, Piscina) => {
    const taskQueue = new Piscina.FixedQueue()
    const pool = make({
      minThreads: 2,
      maxThreads: 2,
      concurrentTasksPerWorker: 3,
      taskQueue: taskQueue as never,
      name: 'meets',
    })
    const count = new Int32Array(new SharedArrayBuffer(4))
    // Each waits until six run at once.
    const runs = range(12).map(() => pool.run({ count, all: 6 }))
    const ended = await Promise.all(runs)
    return [ended, taskQueue.size, pool.completed]
  },
  'a handler may have a pool of its own': (make) => make().run(3, { name: 'pools' }),
  'tasks in a queue of the user wait while threads end': async (make, Piscina) => {
    const taskQueue = new Piscina.ArrayTaskQueue() as never
    const pool = make({ minThreads: 1, maxThreads: 1, taskQueue })
    const ends = [
      reasonOf(pool.run(3, { name: 'exit' })),
      reasonOf(pool.run(1)),
      reasonOf(pool.run(2)),
    ]
    const results = await Promise.all(ends)
    return [results, pool.queueSize, pool.completed]
  },
  'unhandled rejections of tasks stay unhandled through close': async (make) => {
    const seen: unknown[] = []
    const note = (reason: unknown) => seen.push(error(reason))
    const others = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection')
    process.on('unhandledRejection', note)
    try {
      const pool = make({ minThreads: 1, maxThreads: 1 })
      void pool.run({ kind: 'other' }, { name: 'thrown' })
      await pool.close()
      await turns()
    } finally {
      process.off('unhandledRejection', note)
      for (const other of others) process.on('unhandledRejection', other)
    }
    return seen
  },
}

describeOnBoth('cases at the edges that give the same on Piscina and on ours', CASES)
