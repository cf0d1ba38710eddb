// Abilities: what the package promises: `abilities.mjs <name> …` tries them in turn, prints the
// name of each, and ends with 0 if its runtime can do them. Without a name it prints all.

import * as corelane from 'corelane'

const {
  LocalDistributedQueue,
  PartitionLostError,
  QueueManager,
  Submitter,
  TimeoutError,
  WorkerPool,
} = corelane
const handlers = new URL('./ability-handlers.mjs', import.meta.url)

function check(holds, what) {
  if (!holds) throw new Error(what)
}

async function withManager(options, use) {
  const manager = QueueManager.create({ handlers, partitions: { count: 2 }, ...options })
  await manager.start()
  try {
    await use(manager)
  } finally {
    await manager.close()
  }
}

const failure = (promise) =>
  promise.then(
    () => undefined,
    (error) => error,
  )

const ABILITIES = {
  'payloads, errors, signals, streams': async () => {
    const { default: work } = await import('./work.cjs')
    await work(corelane, new URL('./handlers.mjs', import.meta.url))
  },
  'from CommonJS': async () => {
    const { createRequire } = await import('node:module')
    const require = createRequire(import.meta.url)
    await require('./work.cjs')(require('corelane'), new URL('./handlers.mjs', import.meta.url))
  },
  '100,000 commands': () =>
    withManager({}, async (manager) => {
      const results = await manager.submitMany('query', 'same', [...Array(100_000).keys()])
      check(
        results.every((value, index) => value === index),
        'a result is wrong',
      )
    }),
  'a time-out ends a busy loop': () =>
    withManager({ partitions: { count: 1 } }, async (manager) => {
      const error = await failure(manager.run('spin', undefined, { timeoutMs: 100 }))
      check(error instanceof TimeoutError, `it ended with ${error}`)
      check((await manager.run('same', 1)) === 1, 'nothing runs after it')
    }),
  'a signal with kill ends a busy loop': () =>
    withManager({ partitions: { count: 1 } }, async (manager) => {
      const signal = AbortSignal.timeout(100)
      const error = await failure(manager.run('spin', undefined, { signal, kill: true }))
      check(error?.code === 'CORELANE_ABORTED', `it ended with ${error}`)
      check((await manager.run('same', 1)) === 1, 'nothing runs after it')
    }),
  'a handler that exits costs one command': () =>
    withManager({ partitions: { count: 1 } }, async (manager) => {
      const [lost, ...others] = await Promise.allSettled([
        manager.run('exit'),
        manager.run('same', 1),
        manager.run('same', 2),
      ])
      check(lost.reason instanceof PartitionLostError, `it ended with ${lost.reason}`)
      check(others.map(({ value }) => value).join() === '1,2', 'others were lost')
    }),
  'a handler out of memory costs one command': () =>
    withManager({ resourceLimits: { maxOldGenerationSizeMb: 32 } }, async (manager) => {
      const error = await failure(manager.run('hoard'))
      check(error instanceof PartitionLostError, `it ended with ${error}`)
      check((await manager.run('same', 1)) === 1, 'nothing runs after it')
    }),
  'a module that cannot be loaded': async () => {
    const missing = new URL('./nowhere.mjs', import.meta.url)
    const manager = QueueManager.create({ handlers: missing, partitions: { count: 1 } })
    const error = await failure(manager.start())
    check(error?.code === 'CORELANE_HANDLERS_FAILED', `it ended with ${error}`)
  },
  'limits of lanes': () =>
    withManager({ lanes: { one: { maxConcurrency: 1 } } }, async (manager) => {
      const runs = Array.from({ length: 6 }, () => manager.submit('one', 'interval', 10))
      const intervals = (await Promise.all(runs)).sort((a, b) => a.from - b.from)
      check(
        intervals.every(({ from }, index) => index === 0 || intervals[index - 1].to <= from),
        'two ran at once',
      )
    }),
  'handlers that submit commands': () =>
    withManager({}, async (manager) =>
      check((await manager.run('nested', 2)) === 3, 'wrong result'),
    ),
  'progress, broadcast, reload': () =>
    withManager({}, async (manager) => {
      const seen = []
      await manager.run('report', 3, { onProgress: (value) => seen.push(value) })
      check(seen.join() === '0,1,2', `progress was ${seen}`)
      check((await manager.broadcast('same', 5)).join() === '5,5', 'a partition did not answer')
      await manager.reload()
      check((await manager.run('same', 1)) === 1, 'nothing runs after a reload')
    }),
  'a distributed queue in one process': () =>
    withManager({}, async (manager) => {
      const queue = new LocalDistributedQueue({ count: 2 })
      const pool = new WorkerPool(queue, manager)
      await pool.start()
      const submitter = new Submitter(queue)
      check((await submitter.submit('query', 'same', 7)) === 7, 'wrong result')
      await submitter.close()
      await pool.close()
      await queue.close()
    }),
  'an idle process ends by itself': async () => {
    const manager = QueueManager.create({ handlers, partitions: { count: 1 } })
    await manager.start()
    await manager.run('same', 1)
  },
}

const names = process.argv.slice(2)
if (names.length === 0) console.log(JSON.stringify(Object.keys(ABILITIES)))
for (const name of names) {
  console.log(name)
  await ABILITIES[name]()
}
