// Life cycle: created, started, shut down, drained, closed; in every order that callers may think
// of.

import type { Worker } from 'node:worker_threads'
import { QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { create, fixture, lifeOf, moduleOf, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const one = { partitions: { count: 1 } } as const

function ledgerOptions(entries: number, count = 1) {
  const ledger = new Ledger(entries)
  return { ledger, options: { partitions: { count }, workerData: ledger.workerData } }
}

test('the first command starts the threads, and commands keep their order', async () => {
  const { ledger, options } = ledgerOptions(4)
  const manager = create('ledger.js', options)
  expect(manager.stats()).toMatchObject({ state: 'created', submitted: 0 })
  const ended: number[] = []
  const early = [0, 1, 2].map((id) => manager.run('mark', id).then(() => ended.push(id)))
  expect(manager.stats().state).toBe('starting')
  await within(manager.start(), 'start')
  expect(manager.stats()).toMatchObject({ state: 'running', submitted: 3 })
  early.push(manager.run('mark', 3).then(() => ended.push(3)))
  await within(Promise.all(early), 'early commands')
  expect(ended.filter((id) => id < 3)).toEqual([0, 1, 2])
  expect([0, 1, 2, 3].map((id) => ledger.runs(id))).toEqual([1, 1, 1, 1])
})

test.each<[string, (manager: QueueManager) => Promise<unknown>, unknown]>([
  ['submit', (manager) => manager.submit('prompt', 'echo', 1), 1],
  ['execute', (manager) => manager.execute('prompt', 'echo', 1), { ok: true, value: 1 }],
  ['submitMany', (manager) => manager.submitMany('prompt', 'echo', [1, 2]), [1, 2]],
  ['a stream', (manager) => manager.stream('prompt', 'echo', [7]).next(), { value: 7 }],
  ['map', (manager) => manager.map('prompt', 'echo', [5]).next(), { value: 5 }],
  ['broadcast', (manager) => manager.broadcast('echo', 1), [1]],
  ['the proxy', (manager) => manager.handlers().echo!(1), 1],
  ['room', (manager) => manager.room('prompt'), undefined],
  ['reload', (manager) => manager.reload(), undefined],
])('%s starts a manager that is not started', async (_, call, expected) => {
  const manager = create('values.js', one)
  const given = await within(call(manager), 'the call')
  if (typeof expected === 'object') expect(given).toMatchObject(expected as object)
  else expect(given).toBe(expected)
  expect(manager.stats().state).toBe('running')
})

test('new QueueManager is create, and a number of partitions is enough', async () => {
  const manager = new QueueManager({ handlers: fixture('values.js'), partitions: 3 })
  try {
    expect(manager.partitioning).toMatchObject({ strategy: 'balanced', count: 3 })
    expect(await within(manager.run('echo', 5, { lane: 'prompt' }), 'run')).toBe(5)
  } finally {
    await manager.close()
  }
  const handlers = fixture('values.js')
  expect(() => new QueueManager({ handlers, partitions: 0 })).toThrow(
    'PartitionConfig.count is 0; allowed: an integer from 1 to 256',
  )
})

test('start twice starts once and gives the same promise', async () => {
  const manager = create('life.js', { partitions: { count: 2 }, ...lifeOf() })
  expect(manager.start()).toBe(manager.start())
  await within(manager.start(), 'start')
  await within(manager.start(), 'start again')
  expect(manager.stats().partitions.map(({ incarnations }) => incarnations)).toEqual([1, 1])
})

test('after shutdown new commands are refused and the old ones finish', async () => {
  const { ledger, options } = ledgerOptions(3)
  const manager = await open('ledger.js', options)
  const running = manager.run('gate', 0)
  const waiting = manager.run('mark', 1)
  await ledger.waitForStarts(1)
  manager.shutdown()
  manager.shutdown()
  const error = await failure(manager.run('mark', 2), 'after shutdown')
  expect(error).toMatchObject({ name: 'ClosedError', code: 'CORELANE_CLOSED' })
  expect(error.message).toContain('shutdown')
  await refused(manager.broadcast('mark', 2), 'CORELANE_CLOSED')
  ledger.openGate()
  expect(await within(Promise.all([running, waiting]), 'old commands')).toEqual([0, 1])
  expect(ledger.runs(2)).toBe(0)
})

test('drain waits for all that was submitted, and a second drain does too', async () => {
  const { ledger, options } = ledgerOptions(200, 2)
  const manager = await open('ledger.js', options)
  const held = manager.run('softGate', 0)
  const others = range(199).map((i) => manager.run('mark', i + 1))
  let isDrained = false
  const drains = [manager.drain(), manager.drain(15_000)]
  const done = Promise.all(drains).then(() => {
    isDrained = true
  })
  await within(Promise.all(others), 'the others')
  expect(isDrained).toBe(false)
  ledger.openGate()
  await within(done, 'both drains')
  await within(held, 'the held one')
  await within(manager.drain(), 'a drain with nothing left')
  expect(manager.stats()).toMatchObject({
    state: 'shutdown',
    queued: 0,
    running: 0,
    completed: 200,
  })
})

test('a drain that runs out of time says what is left by lane, and it still finishes', async () => {
  const { ledger, options } = ledgerOptions(6)
  const manager = await open('ledger.js', options)
  const all = [manager.submit('system', 'gate', 0)]
  for (let i = 1; i < 4; i++) all.push(manager.submit('prompt', 'mark', i))
  all.push(manager.submit('skill', 'mark', 4))
  const error = await failure(manager.drain(50), 'drain')
  expect(error).toMatchObject({ name: 'LaneError', code: 'CORELANE_DRAIN_TIMEOUT' })
  expect(error.details.lanes).toEqual({ system: 1, prompt: 3, skill: 1 })
  expect(error.message).toContain('3 in prompt')
  ledger.openGate()
  await within(manager.drain(), 'a second drain')
  expect(await within(Promise.all(all), 'all')).toEqual([0, 1, 2, 3, 4])
})

test('close is idempotent, ends the threads and refuses what comes after', async () => {
  const { ledger, options } = ledgerOptions(0)
  const manager = await open('life.js', { ...options, partitions: { count: 2 } })
  expect(manager.close()).toBe(manager.close())
  await within(manager.close(), 'close')
  await within(manager.close(), 'close again')
  expect(ledger.teardowns).toBe(2)
  expect(manager.stats()).toMatchObject({ state: 'closed' })
  expect(manager.stats().partitions.map(({ state }) => state)).toEqual(['ended', 'ended'])
  await refused(manager.run('look'), 'CORELANE_CLOSED')
  await refused(manager.broadcast('look'), 'CORELANE_CLOSED')
  await within(manager.drain(), 'drain after close')
  manager.shutdown()
  expect(manager.stats().state).toBe('closed')
  await within(manager.start(), 'the start of before')
})

test('close during start makes start reject as closed', async () => {
  const options = lifeOf({ setup: 'never settles' })
  const manager = create('life.js', { partitions: { count: 2 }, ...options })
  const starting = failure(manager.start(), 'start')
  await within(manager.close(), 'close')
  expect((await starting).code).toBe('CORELANE_CLOSED')
  const prompt = create('values.js', { partitions: { count: 2 } })
  const startingPrompt = failure(prompt.start(), 'start')
  await within(prompt.close(), 'close')
  expect((await startingPrompt).code).toBe('CORELANE_CLOSED')
})

test('close with thousands queued drops them all at once and lets the running one finish', async () => {
  const count = 5_000
  const { ledger, options } = ledgerOptions(count + 1)
  const manager = await open('ledger.js', { ...options, closeTimeoutMs: 15_000 })
  const running = manager.run('softGate', count)
  await ledger.waitForStarts(1)
  const queued = range(count).map((i) => manager.run('mark', i))
  const outcomes = Promise.allSettled(queued)
  const closing = manager.close()
  ledger.openGate()
  await within(closing, 'close')
  expect(await within(running, 'the running one')).toBe(count)
  const settled = await within(outcomes, 'the queued ones')
  for (const [index, outcome] of settled.entries()) {
    if (ledger.runs(index) === 0) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { name: 'ClosedError', code: 'CORELANE_COMMAND_DROPPED', retryable: true },
      })
    }
  }
  expect(ledger.allRuns(count)).toEqual(new Array(count).fill(0))
  expect(manager.stats()).toMatchObject({ queued: 0, running: 0, completed: 1, failed: count })
})

test.each(['never', 'forever'])('close ends a handler that never settles (%s)', async (type) => {
  const { ledger, options } = ledgerOptions(2)
  const manager = await open('ledger.js', { ...options, closeTimeoutMs: 100 })
  const running = failure(manager.run(type, 0), 'the running one')
  const waiting = failure(manager.run('mark', 1), 'the waiting one')
  await ledger.waitForStarts(1)
  await within(manager.close(), 'close')
  const error = await running
  expect(error).toMatchObject({ name: 'ClosedError', code: 'CORELANE_COMMAND_DROPPED' })
  expect(error.details).toMatchObject({ stage: 'running' })
  expect((await waiting).details).toMatchObject({ stage: 'waiting' })
  expect(ledger.runs(1)).toBe(0)
})

test('close aborts the signals of running handlers, which may still give a result', async () => {
  const { options } = ledgerOptions(0)
  const manager = await open('life.js', { ...options, closeTimeoutMs: 15_000 })
  let isReady = false
  const onProgress = () => {
    isReady = true
  }
  const running = manager.run('untilAborted', undefined, { onProgress })
  // One that asks for its signal only after it was aborted finds no other reason than that.
  await until(() => isReady, 'it has its signal')
  await within(manager.close(), 'close')
  expect(await within(running, 'the aborted one')).toMatchObject({ code: 'CORELANE_CLOSED' })
})

test('close takes every result of what runs, though they fill the ring several times', async () => {
  const begun = new Int32Array(new SharedArrayBuffer(4))
  const handlers = moduleOf(`
    export const end = async (begun, { signal }) => {
      const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve))
      Atomics.add(begun, 0, 1)
      await aborted
      return 'x'.repeat(3_000)
    }`)
  const options = { handlers, ringBytes: 16_384, concurrencyPerPartition: 40 }
  const manager = await open('values.js', { ...one, ...options })
  const results = Promise.all(range(40).map(() => manager.run<string>('end', begun)))
  await until(() => begun[0] === 40, 'all run')
  await within(Promise.all([manager.close(), results]), 'close')
  expect((await results).map(({ length }) => length)).toEqual(range(40).map(() => 3_000))
})

test('close waits for running asynchronous handlers and then tears down', async () => {
  const { ledger, options } = ledgerOptions(0)
  const manager = await open('life.js', { ...options, closeTimeoutMs: 15_000 })
  const running = manager.run('sleep', 600)
  await until(() => manager.stats().running === 1, 'it runs')
  await within(manager.close(), 'close')
  expect(await within(running, 'the running one')).toBe(600)
  expect(ledger.teardowns).toBe(1)
})

test.each(['of an idle thread', 'of a reload'])(
  'close waits for the teardown %s that is under way, and runs none twice',
  async (of) => {
    const ledger = new Ledger(0)
    const isReload = of === 'of a reload'
    const manager = await open('life.js', {
      partitions: isReload ? 1 : { min: 0, max: 1, idleTimeoutMs: 1 },
      closeTimeoutMs: 15_000,
      workerData: { ...ledger.workerData, teardown: 'waits' },
    })
    const reloading = isReload ? manager.reload().catch(() => {}) : undefined
    await until(() => ledger.teardowns === 1, 'its teardown has begun')
    const closing = manager.close()
    ledger.openGate()
    await within(closing, 'close')
    await within(Promise.resolve(reloading), 'reload')
    expect(ledger.teardowns).toBe(isReload ? 2 : 1)
  },
)

test('a thread that is set up while another tears down tears down as well', async () => {
  const words = new Int32Array(new SharedArrayBuffer(12))
  const handlers = moduleOf(`
    import { workerData } from 'node:worker_threads'
    const words = new Int32Array(workerData)
    const until = (gate) => Atomics.waitAsync(words, gate, 0, 20_000).value
    export const setup = ({ partition }) => partition === 1 && until(0)
    export const teardown = async ({ partition }) => {
      Atomics.add(words, 2, 1)
      if (partition === 0) await until(1)
    }
    export const echo = (payload) => payload`)
  const openGate = (gate: number) => {
    Atomics.store(words, gate, 1)
    Atomics.notify(words, gate)
  }
  const workers: Worker[] = []
  const add = (worker: Worker) => workers.push(worker)
  process.on('worker', add)
  const manager = create('values.js', { partitions: 2, handlers, workerData: words.buffer })
  const started = failure(manager.start(), 'start')
  await within(manager.run('echo'), 'a command on the first thread')
  await until(() => workers.length === 2, 'the second thread')
  process.off('worker', add)
  const closing = manager.close()
  await until(() => Atomics.load(words, 2) === 1, 'the first teardown')
  const loaded = new Promise<void>((resolve) => {
    workers[1]!.on('message', (message) => message.loaded && resolve())
  })
  openGate(0)
  await within(loaded, 'the second thread is set up')
  openGate(1)
  await within(closing, 'close')
  expect(Atomics.load(words, 2)).toBe(2)
  expect((await started).code).toBe('CORELANE_CLOSED')
})

test('a teardown that throws makes close reject once every thread has ended', async () => {
  const ledger = new Ledger(0)
  const manager = await open('life.js', {
    partitions: { count: 2 },
    workerData: { ...ledger.workerData, teardown: 'throws' },
  })
  const error = await failure(manager.close(), 'close')
  expect(error).toBeInstanceOf(AggregateError)
  const errors = (error as unknown as AggregateError).errors as Error[]
  expect(errors.map(({ name, message }) => `${name}: ${message}`).sort()).toEqual([
    'RangeError: teardown 0 is broken',
    'RangeError: teardown 1 is broken',
  ])
  expect(manager.stats().state).toBe('closed')
})

test.each(['never settles', 'exits'])('a teardown that %s delays no close', async (teardown) => {
  const manager = await open('life.js', { ...one, closeTimeoutMs: 200, ...lifeOf({ teardown }) })
  await within(manager.close(), 'close')
})

test('leaving an await-using block finishes what was submitted and closes', async () => {
  const ledger = new Ledger(50)
  const manager = QueueManager.create({
    handlers: fixture('ledger.js'),
    workerData: ledger.workerData,
    ...one,
  })
  await within(manager.start(), 'start')
  const all = range(50).map((i) => manager.run('mark', i))
  await within(manager[Symbol.asyncDispose](), 'dispose')
  expect(await Promise.all(all)).toEqual(Array.from(all.keys()))
  expect(manager.stats().state).toBe('closed')
  await within(manager[Symbol.asyncDispose](), 'dispose again')
})

test('disposing of a manager that cannot drain in time closes it all the same', async () => {
  const { ledger, options } = ledgerOptions(1)
  const manager = await open('ledger.js', { ...options, drainTimeoutMs: 30, closeTimeoutMs: 50 })
  const running = failure(manager.run('never', 0), 'the running one')
  await ledger.waitForStarts(1)
  await refused(manager[Symbol.asyncDispose](), 'CORELANE_DRAIN_TIMEOUT')
  expect((await running).code).toBe('CORELANE_COMMAND_DROPPED')
  expect(manager.stats().state).toBe('closed')
})

test('several managers work side by side, and closing one leaves the others alone', async () => {
  const ledgers = [new Ledger(100), new Ledger(100), new Ledger(100)]
  const managers = await Promise.all(
    ledgers.map(({ workerData }) => open('ledger.js', { ...one, workerData })),
  )
  const rounds = managers.map((manager) => range(100).map((i) => manager.run('mark', i)))
  await within(Promise.all(rounds.flat()), 'all commands of all managers')
  for (const ledger of ledgers) expect(ledger.allRuns(100)).toEqual(new Array(100).fill(1))
  await within(managers[0]!.close(), 'close of the first')
  expect(await within(managers[1]!.run('mark', 0), 'the second')).toBe(0)
  expect(await within(managers[2]!.run('mark', 0), 'the third')).toBe(0)
  expect(ledgers[1]!.runs(0)).toBe(2)
})
