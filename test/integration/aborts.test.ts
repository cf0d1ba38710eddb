// Aborts: a signal ends a command wherever it is. Goal: the caller is told at once and with the
// signal's reason, what waits never runs, what runs is told, and nothing else is touched. Method: a
// gate holds commands where they are meant to be; a ledger tells what ran.

import { getEventListeners } from 'node:events'
import { commandInfo, PartitionConfig, type QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { moduleOf, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const one = PartitionConfig.single()
const reason = new Error('the caller has gone')

function stuckManager(ledger: Ledger, options: object = {}): Promise<QueueManager> {
  return open('stuck.js', { partitions: one, workerData: ledger.workerData, ...options })
}

function expectStatsAddUp(manager: QueueManager): void {
  const stats = manager.stats()
  for (const each of [stats, ...Object.values(stats.lanes)]) {
    expect(each.queued).toBeGreaterThanOrEqual(0)
    expect(each.queued + each.running + each.completed + each.failed).toBe(each.submitted)
  }
}

/** A signal, and what a command that it ended must reject with. */
function abortable(stage: string) {
  const controller = new AbortController()
  const error = { name: 'AbortError', code: 'CORELANE_ABORTED', cause: reason, details: { stage } }
  return { controller, signal: controller.signal, error }
}

test('a signal that has aborted is refused before anything is submitted', async () => {
  const manager = await stuckManager(new Ledger(0))
  const signal = AbortSignal.abort(reason)
  const { error } = abortable('submitted')
  expect(await failure(manager.run('echo', 1, { signal }), 'submit')).toMatchObject(error)
  const outcome = manager.execute('query', 'echo', 1, { signal })
  expect(await failure(outcome, 'execute')).toMatchObject(error)
  expect(manager.stats()).toMatchObject({ submitted: 0, failed: 0 })
})

test('a signal that aborts while its command is made is heeded', async () => {
  const { controller, signal, error } = abortable('submitted')
  let abort = () => {}
  const manager = await stuckManager(new Ledger(0), {
    partitions: PartitionConfig.custom(1, () => {
      abort()
      return 0
    }),
    maxPendingBytes: 1000,
  })
  await within(manager.run('echo', 0), 'the partitioner')
  abort = () => controller.abort(reason)
  expect(await failure(manager.run('echo', 1, { signal }), 'a partitioner')).toMatchObject(error)
  const read = abortable('submitted')
  const payload = {
    get member() {
      read.controller.abort(reason)
      return 1
    },
  }
  const many = manager.submitMany('query', 'echo', [payload], { signal: read.signal })
  expect(await failure(many, 'a getter')).toMatchObject(error)
  expect(manager.stats()).toMatchObject({ submitted: 1, failed: 0 })
})

test('commands that wait leave at once wherever they wait, and never run', async () => {
  const ledger = new Ledger(6)
  const manager = await stuckManager(ledger, {
    lanes: { query: {}, bounded: { maxPending: 1 }, system: { priority: 0 } },
  })
  const waiting = abortable('waiting')
  const { signal } = waiting
  const retry = { retries: 5, delayMs: 60_000 }
  const retried = manager.run('fail', 0, { signal, retry })
  await until(() => manager.stats().retried === 1, 'one waits for its retry')
  const gate = manager.submit('system', 'gate', 1)
  await ledger.waitForStarts(2)
  const queued = [
    retried,
    manager.run('mark', 2, { signal, delayMs: 60_000 }),
    manager.submit('bounded', 'mark', 3, { signal }),
    // Most of these wait in the backlog, the first are bound.
    ...range(3000).map(() => manager.run('mark', 4, { signal })),
  ].map((promise) => failure(promise, 'one that waits'))
  const forRoom = failure(manager.submit('bounded', 'mark', 5, { signal }), 'waits for room')
  expect(manager.stats().lanes.bounded).toMatchObject({ waiting: 1, queued: 1 })
  expect(manager.stats().partitions[0]!.bound).toBeGreaterThan(1)
  expectStatsAddUp(manager)
  waiting.controller.abort(reason)
  // The thread is still blocked: nobody but the main thread had a say in it.
  for (const error of await Promise.all(queued)) expect(error).toMatchObject(waiting.error)
  expect(await forRoom).toMatchObject(abortable('waiting for room').error)
  expect(manager.stats()).toMatchObject({ queued: 0, running: 1, completed: 0 })
  expectStatsAddUp(manager)
  ledger.openGate()
  expect(await within(gate, 'the gate')).toBe(1)
  // The lane has room again, and the partition is usable.
  expect(await within(manager.submit('bounded', 'mark', 1), 'the next')).toBe(1)
  expect(ledger.allRuns(6)).toEqual([1, 2, 0, 0, 0, 0])
  await within(manager.drain(), 'drain')
})

test.each(['heed', 'heedInLoop'])(
  'a handler that runs sees that it was aborted (%s), its result is dropped, its thread goes on',
  async (type) => {
    const manager = await stuckManager(new Ledger(0))
    const { controller, signal, error } = abortable('running')
    const aborted = failure(manager.run(type, 0, { signal }), 'the aborted one')
    await until(() => manager.stats().running === 1, 'it runs')
    controller.abort(reason)
    expect(await aborted).toMatchObject(error)
    const seen = { name: 'AbortError', code: 'CORELANE_ABORTED' }
    const expected = type === 'heed' ? seen : 'out of the loop'
    expect(await within(manager.run('lookBack'), 'the next one')).toEqual(expected)
    expect(manager.stats().partitions[0]).toMatchObject({ incarnations: 1, detached: 0, bound: 0 })
    expect(manager.stats()).toMatchObject({ failed: 1, completed: 1, running: 0, queued: 0 })
  },
)

test('a signal that is read only after the abort has aborted', async () => {
  const handlers = moduleOf(`
    let seen
    export const late = async (_, context) => {
      while (!context.aborted);
      seen = context.signal.aborted && context.signal.reason.code
    }
    export const look = () => seen`)
  const manager = await open('values.js', { partitions: one, handlers })
  const { controller, signal, error } = abortable('running')
  const aborted = failure(manager.run('late', 0, { signal }), 'the aborted one')
  await until(() => manager.stats().running === 1, 'it runs')
  controller.abort(reason)
  expect(await aborted).toMatchObject(error)
  expect(await within(manager.run('look'), 'the next one')).toBe('CORELANE_ABORTED')
})

test('kill ends a busy loop, and those that wait behind it run on the next thread', async () => {
  const ledger = new Ledger(21)
  const manager = await stuckManager(ledger)
  const { controller, signal, error } = abortable('running')
  const killed = failure(manager.run('forever', 20, { signal, kill: true }), 'the killed one')
  await ledger.waitForStarts(1)
  const others = Promise.all(range(20).map((index) => manager.run('mark', index)))
  controller.abort(reason)
  expect(await killed).toMatchObject(error)
  expect(await within(others, 'the others')).toEqual(range(20))
  expect(ledger.order(20)).toEqual(range(20))
  expect(ledger.allRuns(21)).toEqual(new Array(21).fill(1))
  expect(manager.stats().partitions[0]).toMatchObject({ incarnations: 2, failures: 0 })
})

test('without kill a busy loop keeps its thread, and the caller is told all the same', async () => {
  const ledger = new Ledger(1)
  const manager = await stuckManager(ledger, { closeTimeoutMs: 50 })
  const { controller, signal, error } = abortable('running')
  const aborted = failure(manager.run('forever', 0, { signal }), 'the aborted one')
  await ledger.waitForStarts(1)
  const behind = failure(manager.run('echo', 1), 'the one behind it')
  controller.abort(reason)
  expect(await aborted).toMatchObject(error)
  expect(manager.stats().partitions[0]).toMatchObject({ incarnations: 1, detached: 1 })
  expect(manager.stats()).toMatchObject({ running: 0, queued: 1, failed: 1 })
  await within(manager.close(), 'close')
  expect(await behind).toMatchObject({
    code: 'CORELANE_COMMAND_DROPPED',
    details: { stage: 'waiting' },
  })
})

test('a kill from within onProgress loses none of what waits', async () => {
  const handlers = moduleOf(`
    export const report = (_, context) => { for (let i = 0; ; i++) context.progress(i) }
    export const echo = (payload) => payload`)
  const manager = await open('values.js', { partitions: one, handlers })
  for (let round = 1; round <= 3; round++) {
    const { controller, signal, error } = abortable('running')
    let reports = 0
    const onProgress = () => {
      reports++
      if (reports === 100) controller.abort(reason)
    }
    const options = { signal, kill: true, onProgress }
    const killed = failure(manager.run('report', 0, options), 'the killed one')
    const echo = manager.run('echo', round)
    expect(await killed).toMatchObject(error)
    expect(await within(echo, 'the one behind it')).toBe(round)
    expect(reports).toBe(100)
    expect(manager.stats().partitions[0]).toMatchObject({ incarnations: round + 1 })
  }
})

test('a kill lets what runs beside it end first, and what waits runs on the next thread', async () => {
  const handlers = moduleOf(`
    import { threadId, workerData } from 'node:worker_threads'
    export const rest = async () => {
      await Atomics.waitAsync(new Int32Array(workerData), 0, 0).value
      return threadId
    }
    export const echo = () => threadId`)
  const gate = new Int32Array(new SharedArrayBuffer(4))
  const workerData = gate.buffer
  const options = { partitions: one, handlers, concurrencyPerPartition: 3, workerData }
  const manager = await open('values.js', options)
  const thread = await manager.run('echo')
  const { controller, signal, error } = abortable('running')
  const beside = [manager.run('rest'), manager.run('rest')]
  const killed = failure(manager.run('rest', 0, { signal, kill: true }), 'the killed one')
  const waiting = manager.run('echo')
  await until(() => manager.stats().running === 3, 'three run')
  controller.abort(reason)
  expect(await killed).toMatchObject(error)
  Atomics.store(gate, 0, 1)
  Atomics.notify(gate, 0)
  expect(await within(Promise.all(beside), 'those beside it')).toEqual([thread, thread])
  expect(await within(waiting, 'the one that waits')).not.toBe(thread)
  expect(manager.stats().partitions[0]).toMatchObject({ incarnations: 2, failures: 0 })
  expect(manager.stats()).toMatchObject({ completed: 4, failed: 1 })
})

test('a kill ends a thread after a second, though what runs beside it waits for that thread', async () => {
  const handlers = moduleOf(`
    import { setTimeout as sleep } from 'node:timers/promises'
    export const rest = (_, { signal }) => sleep(3_600_000, undefined, { signal })
    export const call = async (_, context) => {
      await sleep(200)
      return context.submit('query', 'echo', 1)
    }
    export const echo = (payload) => payload`)
  const options = { partitions: one, handlers, concurrencyPerPartition: 3 }
  const manager = await open('values.js', options)
  const { controller, signal, error } = abortable('running')
  const beside = failure(manager.run('call'), 'the one beside it')
  // It ends at once, and the other waits for a command that the ending thread takes no more.
  const killed = failure(manager.run('rest', 0, { signal, kill: true }), 'the killed one')
  await until(() => manager.stats().running === 2, 'both run')
  controller.abort(reason)
  expect(await killed).toMatchObject(error)
  expect(await beside).toMatchObject({ code: 'CORELANE_PARTITION_LOST' })
  expect(await within(manager.run('echo', 2), 'the next')).toBe(2)
})

test('a kill of a run that holds its thread up costs what runs beside it after a second', async () => {
  const handlers = moduleOf(`
    export const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
    export const spin = () => { for (;;); }`)
  const options = { partitions: one, handlers, concurrencyPerPartition: 2 }
  const manager = await open('values.js', options)
  const { controller, signal, error } = abortable('running')
  const beside = failure(manager.run('rest', 60_000), 'the one beside it')
  await until(() => manager.stats().running === 1, 'one runs')
  const killed = failure(manager.run('spin', 0, { signal, kill: true }), 'the killed one')
  await until(() => manager.stats().running === 2, 'two run')
  const since = performance.now()
  controller.abort(reason)
  const ends: string[] = []
  void killed.then(() => ends.push('killed'))
  void beside.then(() => ends.push('beside'))
  expect(await killed).toMatchObject(error)
  expect(await beside).toMatchObject({
    code: 'CORELANE_PARTITION_LOST',
    details: { started: true },
  })
  expect(ends).toEqual(['killed', 'beside'])
  expect(performance.now() - since).toBeGreaterThan(900)
  expect(await within(manager.run('rest', 1), 'the next')).toBeUndefined()
})

test('an abort after the end changes nothing, and kills no thread', async () => {
  const manager = await stuckManager(new Ledger(0))
  const { controller, signal } = abortable('running')
  const options = { signal, kill: true }
  expect(await within(manager.run('echo', 1, options), 'echo')).toBe(1)
  controller.abort(reason)
  expect(await within(manager.run('echo', 2), 'echo')).toBe(2)
  expect(manager.stats().partitions[0]).toMatchObject({ incarnations: 1 })
  expect(manager.stats()).toMatchObject({ completed: 2, failed: 0 })
})

test('the info of an aborted command says where it ran, or that it was never bound', async () => {
  const ledger = new Ledger(1)
  const manager = await stuckManager(ledger)
  const { controller, signal } = abortable('running')
  const info = async (promise: Promise<unknown>) =>
    ((await failure(promise, 'aborted')) as unknown as Record<symbol, object>)[commandInfo]
  const running = info(manager.run('heed', 0, { signal }))
  const delayed = info(manager.run('echo', 0, { signal, delayMs: 60_000 }))
  await until(() => manager.stats().running === 1, 'it runs')
  controller.abort(reason)
  expect(await running).toMatchObject({ type: 'heed', partition: 0 })
  expect(await delayed).toMatchObject({ type: 'echo', partition: -1, startedAtMs: undefined })
  // A partition that has no thread at the moment is not where it was either.
  const next = abortable('waiting')
  await failure(manager.run('die', { index: 0, how: 'exit' }), 'the death')
  const homeless = info(manager.run('echo', 0, { signal: next.signal, delayMs: 60_000 }))
  next.controller.abort(reason)
  expect(await homeless).toMatchObject({ partition: -1 })
})

test('close settles what a signal could still end, and lets the signal go', async () => {
  const ledger = new Ledger(1)
  const manager = await stuckManager(ledger, { closeTimeoutMs: 50 })
  const { controller, signal } = abortable('waiting')
  const options = { signal, kill: true }
  const all = [
    manager.run('never', 0, options),
    manager.run('echo', 0, options),
    manager.run('echo', 0, { ...options, delayMs: 60_000 }),
  ].map((promise) => failure(promise, 'dropped'))
  await ledger.waitForStarts(1)
  await within(manager.close(), 'close')
  for (const error of await Promise.all(all)) {
    expect(error.code).toBe('CORELANE_COMMAND_DROPPED')
  }
  expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  controller.abort(reason)
  expect(manager.stats()).toMatchObject({ failed: 3, queued: 0, running: 0 })
})

test('one signal ends very many queued commands while the event loop turns, and none starts', async () => {
  const ledger = new Ledger(2)
  const manager = await stuckManager(ledger, { closeTimeoutMs: 100 })
  const count = 30_000
  const first = new AbortController()
  const { signal } = first
  const running = manager.submit('query', 'waitAt', { index: 0, ms: 60_000 }, { signal })
  running.catch(() => {})
  await until(() => ledger.runs(0) === 1, 'the first command')
  const controller = new AbortController()
  const options = { signal: controller.signal }
  const ended = range(count).map(() =>
    manager.submit('query', 'mark', 1, options).then(
      () => 'ran',
      (error) => error.code,
    ),
  )
  let turns = 0
  const turning = setInterval(() => {
    turns++
  }, 1)
  controller.abort(reason)
  // The partition could start the next command at once.
  first.abort(reason)
  const codes = await within(Promise.all(ended), 'the end of all')
  clearInterval(turning)
  expect(new Set(codes)).toEqual(new Set(['CORELANE_ABORTED']))
  expect(turns).toBeGreaterThan(2)
  expect(ledger.runs(1)).toBe(0)
  expectStatsAddUp(manager)
  expect(manager.stats().queued).toBe(0)
})

test('closing ends very many queued commands while the event loop turns', async () => {
  const ledger = new Ledger(1)
  const manager = await stuckManager(ledger, { closeTimeoutMs: 50 })
  manager.submit('query', 'wait', { ms: 60_000 }).catch(() => {})
  const ended = range(30_000).map(() =>
    manager.submit('query', 'mark', 0).catch(({ code }) => code),
  )
  let turns = 0
  const turning = setInterval(() => {
    turns++
  }, 1)
  await within(Promise.all([manager.close(), ...ended]), 'close')
  clearInterval(turning)
  expect(new Set(await Promise.all(ended))).toEqual(new Set(['CORELANE_COMMAND_DROPPED']))
  expect(turns).toBeGreaterThan(2)
})
