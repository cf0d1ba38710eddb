// Deaths: a partition's thread ends under its commands. Goal: finished results are delivered,
// running commands reject, queued ones run on the replacement in order, and every command runs
// exactly once. Method: handlers keep a ledger in shared memory that outlives their threads.

import { PartitionConfig, type PartitionLostError } from 'corelane'
import { expect, test } from 'vitest'
import { block, failure, refused, rejection, until, within } from '../support/deadline.ts'
import { moduleOf, open, openLedger } from '../support/managers.ts'
import { range } from '../support/range.ts'

const one = PartitionConfig.single()

interface Death {
  readonly how: string
  /** What the running command is told. */
  readonly says: RegExp
  readonly exitCode: number
  readonly cause?: object | string
}

const runningDeaths: Death[] = [
  { how: 'exit', says: /exited with code 7/, exitCode: 7 },
  {
    how: 'floating rejection',
    says: /RangeError: nobody handles it/,
    exitCode: 1,
    cause: { name: 'RangeError', message: 'nobody handles it' },
  },
  { how: 'throw a string in a timer', says: /with code 1/, exitCode: 1, cause: 'a bare string' },
  {
    how: 'heap',
    says: /ERR_WORKER_OUT_OF_MEMORY|out of memory|memory limit/,
    exitCode: 1,
    cause: { code: 'ERR_WORKER_OUT_OF_MEMORY' },
  },
]

test.each(runningDeaths)(
  'a thread that dies under its command ($how) rejects it with the cause and runs the queued ones',
  async ({ how, says, exitCode, cause }) => {
    const queued = 50
    const { ledger, manager } = await openLedger(queued + 1, {
      partitions: one,
      resourceLimits: { maxOldGenerationSizeMb: 24 },
      floatingRejections: 'end',
    })
    const killer = failure(manager.run('die', { index: queued, how }), 'the deadly command')
    const others = range(queued).map((i) => manager.run('mark', i))
    const error = await killer
    expect(error).toMatchObject({
      name: 'PartitionLostError',
      code: 'CORELANE_PARTITION_LOST',
      retryable: true,
      started: true,
    })
    expect(error.message).toMatch(says)
    expect(error.details).toMatchObject({ partition: 0, stage: 'running', exitCode })
    if (typeof cause === 'object') expect(error.cause).toMatchObject(cause)
    else expect(error.cause).toBe(cause)
    expect(await within(Promise.all(others), 'the queued ones')).toEqual(Array.from(others.keys()))
    expect(ledger.order(queued)).toEqual(Array.from(others.keys()))
    expect(ledger.allRuns(queued + 1)).toEqual(new Array(queued + 1).fill(1))
    const { partitions, ...stats } = manager.stats()
    expect(stats).toMatchObject({ failed: 1, retried: 0, deadLetters: 0 })
    expect(partitions[0]).toMatchObject({ state: 'ready', incarnations: 2, failures: 0 })
  },
)

test('the record of a crash has what ran, the stack, the exit code, the last output and the heap', async () => {
  const handlers = moduleOf(`
    export const rest = () => new Promise(() => {})
    export const echo = (payload) => payload
    export const crash = async () => {
      for (let i = 0; i < 30; i++) console.log('line', i)
      await new Promise((resolve) => setTimeout(resolve, 20))
      console.error('the last words')
      setTimeout(function inATimer() { throw new TypeError('of the crash') })
      return new Promise(() => {})
    }
    export const leave = (code) => process.exit(code)`)
  const manager = await open('values.js', { partitions: one, handlers, concurrencyPerPartition: 2 })
  const lost: unknown[] = []
  const events = manager.subscribe({ events: ['queue.partition.lost'] })
  const collecting = (async () => {
    for await (const { error } of events) if (lost.push(error) === 2) break
  })()
  await manager.run('echo', 1)
  // The heap is looked at when work comes a moment after the start.
  await new Promise((resolve) => setTimeout(resolve, 150))
  await manager.run('echo', 2)
  const beside = failure(manager.submit('query', 'rest', 0, { id: 'beside' }), 'the one beside it')
  const killer = failure(manager.submit('control', 'crash', 0, { id: 'killer' }), 'the killer')
  const { crash } = (await killer) as PartitionLostError
  expect(crash).toMatchObject({
    exitCode: 1,
    stack: expect.stringMatching(/TypeError: of the crash\n.*inATimer/),
    commands: expect.arrayContaining([
      { id: 'beside', type: 'rest', lane: 'query' },
      { id: 'killer', type: 'crash', lane: 'control' },
    ]),
    output: [...range(19).map((i) => `line ${i + 11}`), 'the last words'],
  })
  expect(crash!.threadId).toBeGreaterThan(0)
  expect(crash!.heapMb).toBeGreaterThan(1)
  expect(JSON.parse(JSON.stringify(crash))).toEqual(crash)
  expect(((await beside) as PartitionLostError).crash).toEqual(crash)
  const left = ((await failure(manager.run('leave', 5), 'exit')) as PartitionLostError).crash
  expect(left).toMatchObject({ exitCode: 5, commands: [{ type: 'leave' }], output: [] })
  expect(left!.stack).toBeUndefined()
  await within(collecting, 'events')
  expect(lost).toMatchObject([{ crash }, { crash: left }])
})

test('a thread that the manager ends has no record of a crash', async () => {
  const handlers = moduleOf('export const spin = () => { for (;;); }')
  const manager = await open('values.js', { partitions: one, handlers })
  const events = manager.subscribe({ events: ['queue.partition.lost'] })
  await refused(manager.run('spin', 0, { timeoutMs: 50 }), 'CORELANE_TIMEOUT')
  for await (const event of events) {
    expect((event.error as PartitionLostError).crash).toBeUndefined()
    expect((event.error as PartitionLostError).cause).toMatchObject({ code: 'CORELANE_TIMEOUT' })
    break
  }
})

test.each(['throw in a timer', 'exit soon'])('a late death (%s) loses nothing', async (how) => {
  const queued = 50
  const { ledger, manager } = await openLedger(queued + 1, { partitions: one })
  // Each of the others takes long enough for the event loop to turn within a few of them.
  const all = [manager.run('die', { index: queued, how })]
  for (let index = 0; index < queued; index++) all.push(manager.run('burn', { index, ms: 1 }))
  expect(await within(Promise.all(all), 'all commands')).toEqual([queued, ...Array(queued).keys()])
  expect(ledger.order(queued)).toEqual([...Array(queued).keys()])
  expect(ledger.allRuns(queued + 1)).toEqual(new Array(queued + 1).fill(1))
  await until(() => manager.stats().partitions[0]!.incarnations === 2, 'a replacement')
})

test.each([2 ** 14, 2 ** 20])(
  'a thread that exits with 200 finished and 50 queued commands runs every one once (rings of %i bytes)',
  async (ringBytes) => {
    const finished = 200
    const queued = 50
    const killer = finished
    const count = finished + 1 + queued
    const { ledger, manager } = await openLedger(count, { partitions: one, ringBytes })
    // The main thread looks away until the thread is dead, so that all results are still in the
    // ring.
    const outcomes = range(count).map((index) =>
      index === killer
        ? manager.run('die', { index, how: 'exit' })
        : manager.run('carry', { index, text: `command ${index}` }),
    )
    const settled = Promise.allSettled(outcomes)
    await Promise.resolve()
    block(300)
    const results = await within(settled, 'all commands')
    for (const [index, result] of results.entries()) {
      if (index === killer) {
        expect(result).toMatchObject({ status: 'rejected', reason: { started: true } })
      } else {
        expect(result).toEqual({ status: 'fulfilled', value: { index, text: `command ${index}` } })
      }
    }
    expect(ledger.allRuns(count)).toEqual(new Array(count).fill(1))
    expect(ledger.order(count)).toEqual([...Array(count).keys()])
  },
)

test('results that are large or moved survive the death of their thread', async () => {
  const manager = await open('values.js', {
    partitions: one,
    handlers: moduleOf(`
      export const make = (length) => new Uint8Array(length).fill(5)
      export const exit = () => process.exit(4)`),
  })
  const large = [100, 200_000, 5_000_000].map((length) => manager.run('make', length))
  const killer = failure(manager.run('exit'), 'exit')
  await Promise.resolve()
  block(200)
  const results = (await within(Promise.all(large), 'the large results')) as Uint8Array[]
  expect(results.map((bytes) => [bytes.length, bytes.at(-1)])).toEqual([
    [100, 5],
    [200_000, 5],
    [5_000_000, 5],
  ])
  expect((await killer).details.exitCode).toBe(4)
})

test('a command whose memory was moved to the thread that died is lost, and says it never started', async () => {
  const { ledger, manager } = await openLedger(4, { partitions: one })
  const killer = failure(
    manager.run('die', { index: 0, how: 'exit after', blockMs: 100 }),
    'the deadly command',
  )
  await ledger.waitForStarts(1)
  const bytes = new Uint8Array(1000)
  const moved = failure(
    manager.run('carry', { index: 1, bytes }, { transferList: [bytes.buffer] }),
    'the command with moved memory',
  )
  const copied = manager.run('carry', { index: 2, bytes: new Uint8Array(200_000) })
  expect((await killer).started).toBe(true)
  const error = await moved
  expect(error).toMatchObject({ code: 'CORELANE_PARTITION_LOST', started: false })
  expect(((await within(copied, 'the copied one')) as { index: number }).index).toBe(2)
  expect(ledger.allRuns(3)).toEqual([1, 0, 1])
})

test('the queued commands of a dead thread run by priority, then age', async () => {
  const count = 60
  const { ledger, manager } = await openLedger(count + 1, { partitions: one })
  const killer = rejection(
    manager.submit('system', 'die', { index: count, how: 'exit after', blockMs: 50 }),
    'the deadly command',
  )
  await ledger.waitForStarts(1)
  const lanes = ['system', 'query', 'prompt']
  const all = range(count).map((i) => manager.submit(lanes[i % 3]!, 'mark', i))
  await killer
  await within(Promise.all(all), 'all commands')
  const expected = [...Array(count).keys()].sort((a, b) => (a % 3) - (b % 3) || a - b)
  expect(ledger.order(count)).toEqual(expected)
})

test('a broadcast on a thread that dies rejects, and one without a thread is left out', async () => {
  const { manager } = await openLedger(1, { partitions: one })
  const error = await failure(manager.broadcast('die', { index: 0, how: 'exit' }), 'broadcast')
  expect(error).toMatchObject({ code: 'CORELANE_PARTITION_LOST', started: true })
  expect(await within(manager.run('mark', 0), 'a command afterwards')).toBe(0)
  expect(await within(manager.broadcast('mark', 0), 'a broadcast afterwards')).toEqual([0])
})

test('an idle thread that dies is replaced, and close during the replacement is clean', async () => {
  const { manager } = await openLedger(2, { partitions: one })
  await within(manager.run('die', { index: 0, how: 'exit soon' }), 'the deadly command')
  await until(() => manager.stats().partitions[0]!.incarnations === 2, 'a replacement')
  expect(await within(manager.run('mark', 1), 'a command on the replacement')).toBe(1)
  await within(manager.run('die', { index: 0, how: 'exit soon' }), 'the deadly command')
  await until(() => manager.stats().partitions[0]!.incarnations === 3, 'a second replacement')
  await within(manager.close(), 'close')
})
