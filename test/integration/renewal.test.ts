// Renewal: threads are replaced that did nothing wrong. Goal: no command is lost, run twice or
// overtaken by another of its key; what a reload promises of modules, handlers, broadcasts and
// teardown holds; and whatever dies, closes or never ends meanwhile, nothing hangs. Method: load
// from start to end of each renewal; a ledger; modules written to files and as data URLs.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PartitionConfig, type QueueManager } from 'corelane'
import { afterAll, expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { moduleOf, open, openLedger } from '../support/managers.ts'
import { range } from '../support/range.ts'

const one = PartitionConfig.single()
const folder = mkdtempSync(join(tmpdir(), 'corelane-renewal-'))
afterAll(() => rmSync(folder, { recursive: true }))

function incarnations(manager: QueueManager): number[] {
  return manager.stats().partitions.map((partition) => partition.incarnations)
}

function openModule(text: string, options: object = {}): Promise<QueueManager> {
  return open('values.js', { partitions: one, handlers: moduleOf(text), ...options })
}

/** The same of a module with the gates of a ledger. */
async function openGated(text: string, options: object = {}) {
  const ledger = new Ledger(0)
  const { workerData } = ledger
  return { ledger, manager: await openModule(text, { workerData, ...options }) }
}

/** Submits commands until it is told to stop; gives how many there were. */
function underLoad(manager: QueueManager, run: (index: number) => Promise<unknown>) {
  let isOver = false
  const all: Promise<unknown>[] = []
  const load = async () => {
    while (!isOver) {
      for (let i = 0; i < 20; i++) all.push(run(all.length))
      await all.at(-20)
      // Some load, not as much as can be: the ledger has an entry for each.
      await sleep(2)
    }
    await Promise.all(all)
    expect(manager.stats()).toMatchObject({ failed: 0, queued: 0, completed: all.length })
    return all.length
  }
  const done = load()
  done.catch(() => {})
  return {
    count: () => all.length,
    stop: () => {
      isOver = true
      return within(done, 'the load')
    },
  }
}

test.each([
  ['hash', PartitionConfig.hash(2), (index: number) => ({ key: `key ${index % 7}` })],
  ['balanced', PartitionConfig.balanced(2), () => ({})],
  ['single', one, () => ({})],
])('replaced threads lose nothing (%s)', async (strategy, partitions, options) => {
  const count = 1500
  const { ledger, manager } = await openLedger(count, { partitions, maxCommandsPerThread: 150 })
  const all = range(count).map((index) => manager.run('mark', index, options(index)))
  expect(await within(Promise.all(all), 'all commands')).toEqual(range(count))
  expect(ledger.allRuns(count)).toEqual(new Array(count).fill(1))
  await until(() => Math.max(...incarnations(manager)) >= 2, 'a thread is replaced')
  const keys = { hash: 7, balanced: 0, none: 1 }[strategy] ?? 0
  for (const key of range(keys)) {
    const order = ledger.order(count).filter((index) => index % keys === key)
    expect(order).toEqual(order.toSorted((a, b) => a - b))
  }
  expect(manager.stats()).toMatchObject({ completed: count, failed: 0, retried: 0 })
})

test('a thread whose heap has grown too large is replaced', async () => {
  const manager = await openModule(
    `const kept = []
     export const grow = () => kept.push(new Array(250_000).fill(1.5))`,
    { maxHeapMb: 64 },
  )
  let commands = 0
  for (; commands < 2000 && incarnations(manager)[0]! < 2; commands++) {
    await within(manager.run('grow'), 'a command')
    await sleep(2)
  }
  await until(() => incarnations(manager)[0]! >= 2, 'a replacement')
  expect(manager.stats()).toMatchObject({ completed: commands, failed: 0 })
  expect(manager.stats().partitions[0]).toMatchObject({ terminating: 0, failures: 0 })
})

test('a reload picks up a changed file, with handlers gained and lost', async () => {
  const file = join(folder, 'changing.mjs')
  const write = (text: string) => writeFileSync(file, text)
  write('export const version = () => 1; export const old = () => 1')
  const manager = await open('values.js', { partitions: 2, handlers: file })
  expect(await within(manager.run('version'), 'version')).toBe(1)
  write('export const version = () => 2; export const gained = () => "gained"')
  await refused(manager.run('gained'), 'CORELANE_UNKNOWN_TYPE')
  await within(manager.reload(), 'reload')
  expect(incarnations(manager)).toEqual([2, 2])
  expect(await within(manager.broadcast('version'), 'versions')).toEqual([2, 2])
  expect(await within(manager.run('gained'), 'the gained one')).toBe('gained')
  const gone = await refused(manager.run('old'), 'CORELANE_UNKNOWN_TYPE')
  expect(gone.message).toContain('gained, version')
  // What was lost may come back, and knows its old place among the handlers.
  write('export const version = () => 3; export const old = () => 3')
  await within(manager.reload(), 'another reload')
  const values = ['old', 'version'].map((type) => manager.run(type))
  expect(await within(Promise.all(values), 'both')).toEqual([3, 3])
})

test.each([
  ['throws', "throw new RangeError('broken')", /RangeError: broken/],
  ['is no module', 'export const f = (', /SyntaxError/],
  ['exits', 'process.exit(4)', /exited with code 4/],
  ['has no handler', 'export const f = 1', /exports no function/],
])('a reload of a module that %s rejects, and the old threads go on', async (_, text, says) => {
  const manager = await openModule('export const f = () => "old"')
  const error = await refused(manager.reload(moduleOf(text)), 'CORELANE_HANDLERS_FAILED')
  expect(error.message).toMatch(says)
  expect(await within(manager.run('f'), 'the old handler')).toBe('old')
  expect(manager.stats().partitions[0]).toMatchObject({ state: 'ready', failures: 0 })
  await within(manager.reload(), 'a reload of the old module')
  expect(await within(manager.run('f'), 'the old handler')).toBe('old')
})

test('a reload that fails on one partition changes none, and all can still be replaced', async () => {
  const text = 'export const die = () => process.exit(3); export const f = () => 1'
  const manager = await openModule(text, { partitions: PartitionConfig.roundRobin(2) })
  const halfway = moduleOf(`
    export const setup = ({ partition }) => { if (partition === 1) throw new Error('not here') }
    export const die = () => process.exit(3)
    export const f = () => 2
    export const gained = () => 3`)
  expect((await failure(manager.reload(halfway), 'reload')).message).toContain('not here')
  const values = [1, 2].map(() => manager.run('f'))
  expect(await within(Promise.all(values), 'both threads')).toEqual([1, 1])
  await refused(manager.run('gained'), 'CORELANE_UNKNOWN_TYPE')
  const deaths = [1, 2].map(() => failure(manager.run('die'), 'a death'))
  await within(Promise.all(deaths), 'both deaths')
  const after = [1, 2].map(() => manager.run('f'))
  expect(await within(Promise.all(after), 'both replacements')).toEqual([1, 1])
})

test('reloads under load lose nothing and keep the order of each key', async () => {
  const { ledger, manager } = await openLedger(400_000, { partitions: PartitionConfig.hash(2) })
  const load = underLoad(manager, (index) => manager.run('mark', index, { key: `${index % 5}` }))
  for (const round of [1, 2, 3]) {
    await within(manager.reload(), 'reload')
    const before = load.count()
    await until(() => load.count() > before + 100, `commands after round ${round}`)
  }
  const count = await load.stop()
  expect(incarnations(manager)).toEqual([4, 4])
  expect(ledger.allRuns(count).every((runs) => runs === 1)).toBe(true)
  for (const key of range(5)) {
    const order = ledger.order(count).filter((index) => index % 5 === key)
    expect(order).toEqual(order.toSorted((a, b) => a - b))
  }
})

test('sticky broadcasts hold on new threads, and the old ones tear down once each', async () => {
  const text = (version: number) => `
    import { workerData } from 'node:worker_threads'
    const words = new Int32Array(workerData.words)
    let value
    export const set = (given) => { value = given }
    export const get = () => [${version}, value]
    export const setup = () => { Atomics.add(words, 8, 1) }
    export const teardown = async () => {
      await new Promise((resolve) => setTimeout(resolve, 5))
      Atomics.add(words, 9, 1)
    }`
  const { ledger, manager } = await openGated(text(1), { partitions: PartitionConfig.hash(2) })
  await within(manager.broadcast('set', 'kept', { sticky: true }), 'a sticky broadcast')
  await within(manager.reload(moduleOf(text(2))), 'reload')
  expect(await within(manager.broadcast('get'), 'values')).toEqual([
    [2, 'kept'],
    [2, 'kept'],
  ])
  expect(ledger).toMatchObject({ setups: 4, teardowns: 2 })
  await within(manager.close(), 'close')
  expect(ledger.teardowns).toBe(4)
})

/** A module with the gates of a ledger, which counts its teardowns. */
const gated = (more: string) => `
  import { workerData } from 'node:worker_threads'
  const words = new Int32Array(workerData.words)
  const gate = async (word) => Atomics.waitAsync(words, word, 0).value
  export const teardown = () => { Atomics.add(words, 9, 1) }
  export const die = () => process.exit(3)
  export const dieSoon = () => { setTimeout(die, 5) }
  export const held = () => gate(5)
  ${more}`

/** One of a version whose second thread in each partition is not set up before the gate is open. */
const slowly = (version: string) =>
  gated(`export const setup = ({ incarnation }) => (incarnation === 2 ? gate(1) : undefined)
    export const version = () => '${version}'`)

const mortal = (version: string, waitMs = 0) => `
  export const setup = ({ incarnation }) =>
    new Promise((resolve) => setTimeout(resolve, incarnation === 2 ? ${waitMs} : 0))
  export const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms, '${version}'))
  export const never = () => new Promise(() => {})`

test('a thread that dies while the next one loads is replaced, and nothing is lost', async () => {
  const { ledger, manager } = await openGated(slowly('old'))
  const reload = manager.reload()
  await until(() => incarnations(manager)[0] === 2, 'the next thread')
  await within(manager.run('dieSoon'), 'the death is near')
  await until(() => incarnations(manager)[0] === 3, 'its replacement')
  ledger.openGate()
  await within(reload, 'reload')
  const all = range(10).map(() => manager.run('version'))
  expect(await within(Promise.all(all), 'commands')).toEqual(new Array(10).fill('old'))
  expect(manager.stats()).toMatchObject({ failed: 0, queued: 0 })
})

test('a reload while an old replacement loads wins, and what runs then is not lost', async () => {
  const { manager } = await openGated(slowly('old'))
  await failure(manager.run('die'), 'the deadly one')
  await until(() => incarnations(manager)[0] === 2, 'a replacement')
  const all = range(10).map(() => manager.run('version'))
  await within(manager.reload(moduleOf(slowly('new'))), 'reload')
  expect(await within(Promise.all(all), 'commands')).toEqual(new Array(10).fill('new'))
  expect(manager.stats().partitions[0]).toMatchObject({ incarnations: 3, failures: 0 })
})

test('a run that nobody waits for and that never ends does not hinder a reload', async () => {
  const manager = await openModule(mortal('old'), {
    concurrencyPerPartition: 2,
    closeTimeoutMs: 50,
  })
  const controller = new AbortController()
  const aborted = failure(manager.run('never', 0, { signal: controller.signal }), 'the aborted one')
  const running = manager.run('rest', 600)
  await until(() => manager.stats().running === 2, 'both run')
  controller.abort()
  await aborted
  await within(manager.reload(moduleOf(mortal('new'))), 'reload')
  expect(await within(running, 'what ran')).toBe('old')
  expect(await within(manager.run('rest', 1), 'the next one')).toBe('new')
})

const setsUp = 'export const setup = () => { Atomics.add(words, 8, 1) }'

test.each([
  [
    'another one is not set up',
    `export const setup = ({ partition }) => {
       if (partition === 1) throw new Error('not here')
       Atomics.add(words, 8, 1)
     }`,
  ],
  ['a sticky broadcast fails', `${setsUp}; export const keep = () => { throw new Error('no') }`],
])('new threads that were set up tear down if the reload fails: %s', async (_, more) => {
  const options = { partitions: PartitionConfig.hash(2) }
  const { ledger, manager } = await openGated(gated('export const keep = () => {}'), options)
  await within(manager.broadcast('keep', 0, { sticky: true }), 'a sticky broadcast')
  await failure(manager.reload(moduleOf(gated(more))), 'reload')
  expect(ledger).toMatchObject({ setups: 1, teardowns: 1 })
})

test('a next thread that is of no use any more tears down', async () => {
  const setup = `export const setup = async ({ incarnation }) => {
    if (incarnation === 2) await gate(1)
    Atomics.add(words, 8, 1)
  }`
  const text = gated(`${setup}; export const echo = (value) => value`)
  const { ledger, manager } = await openGated(text, { maxCommandsPerThread: 1 })
  await within(manager.run('echo'), 'the only command of its thread')
  await until(() => incarnations(manager)[0] === 2, 'the next thread')
  await failure(manager.run('die'), 'the deadly one')
  const isReady = () => manager.stats().partitions[0]!.state === 'ready'
  await until(() => ledger.setups === 2 && isReady(), 'a replacement of the dead one')
  ledger.openGate()
  await until(() => ledger.teardowns === 1, 'the teardown of the next one')
  expect(incarnations(manager)).toEqual([3])
})

test('a new thread that dies before its turn is replaced by one of the new module', async () => {
  const options = { partitions: PartitionConfig.hash(2), concurrencyPerPartition: 10 }
  const { ledger, manager } = await openGated(gated(''), options)
  const keys = range(10).map(String)
  const all = keys.map((key) => manager.run('held', 0, { key }))
  await until(() => manager.stats().running === 10, 'all run')
  const exits = manager.subscribe({ events: ['queue.partition.exited'] })
  const dies = `export const setup = ({ partition, incarnation }) => {
    if (partition === 1 && incarnation === 2) void gate(1).then(() => process.exit(3))
  }
  export const version = () => 'new'`
  const reload = manager.reload(moduleOf(gated(dies).replaceAll('die', 'dies')))
  // A partition has its turn once all new threads have loaded; then it waits for what runs.
  const isDraining = () => manager.stats().partitions.some(({ state }) => state === 'draining')
  await until(isDraining, 'a turn')
  ledger.openGate()
  await within(exits.next(), 'the death')
  ledger.openSecondGate()
  await within(reload, 'reload')
  await within(Promise.all(all), 'what ran before')
  const after = keys.map((key) => manager.run('version', 0, { key }))
  expect(await within(Promise.all(after), 'what runs after')).toEqual(new Array(10).fill('new'))
  await refused(manager.run('die', 0, { key: 'a' }), 'CORELANE_UNKNOWN_TYPE')
  expect(incarnations(manager)).toEqual([2, 3])
})

test('an old thread that dies while new ones load is replaced by the old module, and then by the new', async () => {
  const options = { partitions: PartitionConfig.roundRobin(2) }
  const { ledger, manager } = await openGated(slowly('old'), options)
  const reload = manager.reload(moduleOf(slowly('new')))
  await until(() => incarnations(manager)[0] === 2, 'the first new thread loads')
  await failure(manager.run('die'), 'the deadly one')
  const during = range(4).map(() => manager.run('version'))
  expect(await within(Promise.all(during), 'commands meanwhile')).toEqual(new Array(4).fill('old'))
  ledger.openGate()
  await within(reload, 'reload')
  const after = range(4).map(() => manager.run('version'))
  expect(await within(Promise.all(after), 'commands after it')).toEqual(new Array(4).fill('new'))
})

test('handlers that only one module has are refused while partitions change over', async () => {
  const text = (version: number, more: string) =>
    gated(`export const version = () => ${version}; export const ${more} = () => '${more}'`)
  const options = { partitions: PartitionConfig.hash(2) }
  const { ledger, manager } = await openGated(text(1, 'lost'), options)
  const keys: string[][] = [[], []]
  for (const key of 'abcdefgh') {
    const { info } = await within(manager.execute('query', 'lost', 0, { key }), 'a key')
    keys[info.partition]!.push(key)
  }
  const held = manager.run('held', 0, { key: keys[1]![0] })
  await until(() => manager.stats().running === 1, 'one runs')
  const reload = manager.reload(moduleOf(text(2, 'gained')))
  const [key] = keys[0] as [string]
  let version = 1
  while (version === 1) version = (await within(manager.run('version', 0, { key }), 'it')) as number
  for (const type of ['lost', 'gained']) {
    await refused(manager.run(type, 0, { key }), 'CORELANE_UNKNOWN_TYPE')
  }
  ledger.openSecondGate()
  expect(await within(held, 'the one that was held')).toBe('ok')
  await within(reload, 'reload')
  expect(await within(manager.run('gained', 0, { key }), 'gained')).toBe('gained')
  await refused(manager.run('lost', 0, { key }), 'CORELANE_UNKNOWN_TYPE')
})

test('a second reload comes after the first, and the last one holds', async () => {
  const manager = await openModule(mortal('old'))
  const reloads = [
    manager.reload(moduleOf(mortal('first', 100))),
    failure(manager.reload(moduleOf("throw new Error('broken')")), 'the broken one'),
    manager.reload(moduleOf(mortal('third'))),
    manager.reload(),
  ]
  await within(Promise.all(reloads), 'reloads')
  const all = range(10).map(() => manager.run('rest', 1))
  expect(await within(Promise.all(all), 'commands')).toEqual(new Array(10).fill('third'))
})

test.each([20, 200, 400])('a close %i ms into a reload leaves no thread behind', async (ms) => {
  const manager = await openModule(mortal('old', 100), { partitions: PartitionConfig.balanced(2) })
  const all = Promise.allSettled(range(4).map(() => manager.run('rest', 300)))
  const reload = manager.reload().catch((error) => error.code)
  await sleep(ms)
  await within(manager.close(), 'close')
  await within(all, 'commands')
  expect([undefined, 'CORELANE_CLOSED']).toContain(await within(reload, 'reload'))
  for (const { state } of manager.stats().partitions) expect(state).toBe('ended')
})

test('close during a reload settles everything, wherever the reload is', async () => {
  const { ledger, manager } = await openGated(slowly('old'), { closeTimeoutMs: 10_000 })
  const all = ['held', 'version', 'version'].map((type) => manager.run(type))
  const ends = Promise.allSettled(all)
  await until(() => manager.stats().running === 1, 'one runs')
  const reload = failure(manager.reload(), 'reload')
  await until(() => incarnations(manager)[0] === 2, 'the next thread loads')
  const closing = manager.close()
  ledger.openSecondGate()
  await within(closing, 'close')
  const [first, ...others] = await within(ends, 'all commands')
  expect(first).toMatchObject({ status: 'fulfilled' })
  for (const end of others)
    expect(end).toMatchObject({ reason: { code: 'CORELANE_COMMAND_DROPPED' } })
  expect((await reload).code).toBe('CORELANE_CLOSED')
  await refused(manager.reload(), 'CORELANE_CLOSED')
})

test('a reload that is overtaken by close starts no further thread', async () => {
  const shared = new SharedArrayBuffer(4)
  // Old threads tear down until the first new one has loaded, and a moment longer.
  const handlers = moduleOf(`import { workerData } from 'node:worker_threads'
    import { setTimeout as sleep } from 'node:timers/promises'
    const loaded = new Int32Array(workerData)
    export const setup = ({ incarnation }) => {
      if (incarnation > 1) Atomics.add(loaded, 0, 1)
    }
    export const teardown = async () => {
      while (Atomics.load(loaded, 0) === 0) await sleep(5)
      await sleep(200)
    }
    export const echo = (value) => value`)
  const partitions = PartitionConfig.balanced(3)
  const options = { partitions, handlers, workerData: shared, closeTimeoutMs: 10_000 }
  const manager = await open('values.js', options)
  let spawned = 0
  manager.on('queue.partition.spawned', () => spawned++)
  const reloaded = failure(manager.reload(), 'reload')
  await until(() => spawned > 0, 'the first new thread')
  await within(manager.close(), 'close')
  expect((await reloaded).code).toBe('CORELANE_CLOSED')
  expect(spawned).toBe(1)
})

test('close starts no replacement of a thread that ends again and again', async () => {
  const handlers = moduleOf(`import { setTimeout as sleep } from 'node:timers/promises'
    export const setup = ({ incarnation }) => {
      if (incarnation > 1) process.exit(1)
    }
    export const teardown = () => sleep(500)
    export const die = () => process.exit(1)`)
  const partitions = PartitionConfig.roundRobin(2)
  const manager = await open('values.js', { partitions, handlers, closeTimeoutMs: 10_000 })
  const exits = manager.subscribe({ events: ['queue.partition.exited'] })
  await failure(manager.run('die'), 'die')
  for (let count = 0; count < 3; count++) await within(exits.next(), 'an exit')
  // The next replacement waits for 200 ms.
  await new Promise(setImmediate)
  let spawned = 0
  manager.on('queue.partition.spawned', () => spawned++)
  await within(manager.close(), 'close')
  expect(spawned).toBe(0)
})

test.each([0, 100])('a handler that waits during a reload gets a thread (%i ms)', async (ms) => {
  const shared = new SharedArrayBuffer(4)
  // It waits as soon as the next thread is set up, which takes a while longer.
  const handlers = moduleOf(`import { workerData } from 'node:worker_threads'
    import { setTimeout as sleep } from 'node:timers/promises'
    const words = new Int32Array(workerData)
    export const setup = async () => {
      if (Atomics.add(words, 0, 1) === 1) await sleep(${ms})
    }
    export const inner = () => 'inner'
    export const outer = async (_, context) => {
      while (Atomics.load(words, 0) < 2) await sleep(5)
      return context.submit('query', 'inner')
    }`)
  const options = { partitions: { min: 1, max: 2 }, handlers, workerData: shared }
  const manager = await open('values.js', options)
  const outer = manager.run('outer')
  await until(() => manager.stats().running === 1, 'it runs')
  const reload = manager.reload()
  expect(await within(outer, 'its own command')).toBe('inner')
  await within(reload, 'reload')
})

test.each(['event', 'end'] as const)(
  'a rejection that no handler handles: %s',
  async (floatingRejections) => {
    const manager = await openModule(
      `export const float = () => { void Promise.reject(new RangeError('floating')); return 'fine' }
       export const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms, ms))`,
      { floatingRejections, concurrencyPerPartition: 2 },
    )
    const name =
      floatingRejections === 'event' ? 'queue.partition.rejection' : 'queue.partition.lost'
    const events = manager.subscribe({ events: [name] })
    const running = Promise.allSettled([manager.run('rest', 600)])
    await until(() => manager.stats().running === 1, 'one runs')
    expect(await within(manager.run('float'), 'the handler itself')).toBe('fine')
    const { value: event } = await within(events.next(), 'the event')
    expect(event).toMatchObject({ event: name, partition: 0 })
    expect(String((event as { error: Error }).error)).toContain('floating')
    const [beside] = await within(running, 'what ran beside it')
    expect(beside!.status).toBe(floatingRejections === 'event' ? 'fulfilled' : 'rejected')
    expect(await within(manager.run('rest', 1), 'the next one')).toBe(1)
    expect(incarnations(manager)).toEqual([floatingRejections === 'event' ? 1 : 2])
  },
)
