// Room: how much may be pending, per lane and in all. Goal: at a bound a submit waits its turn or
// is refused with the numbers, in order, in bounded memory, and nobody waits for ever. Method: a
// gate holds what was accepted, so that what is pending is known exactly.

import {
  PartitionConfig,
  QueueFullError,
  type QueueManager,
  type QueueManagerOptions,
} from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { Floor } from '../support/floor.ts'
import { open } from '../support/managers.ts'
import { range } from '../support/range.ts'

class Held extends Floor {
  manager!: QueueManager

  static async open(options: QueueManagerOptions): Promise<Held> {
    const held = new Held()
    held.manager = await open('lanes-handlers.js', {
      partitions: PartitionConfig.single(),
      ...options,
      workerData: held.workerData,
    })
    return held
  }
}

/** Lets everything that is due happen. */
const turns = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20))

test('at maxPending submits wait, are accepted in order as commands settle, and are counted as waiting', async () => {
  const held = await Held.open({ lanes: { lane: { maxPending: 3 } } })
  const { manager } = held
  const done: number[] = []
  const all = range(20).map((i) => manager.submit('lane', 'hardGate', i).then(() => done.push(i)))
  await turns()
  expect(manager.stats().lanes.lane).toMatchObject({ submitted: 3, waiting: 17 })
  held.openGate()
  await within(Promise.all(all), 'all commands')
  expect(done).toEqual(range(20))
  expect(manager.stats().lanes.lane).toMatchObject({ submitted: 20, completed: 20, waiting: 0 })
})

test('a lane that rejects at its bound says how much is pending and what the bound is', async () => {
  const held = await Held.open({
    lanes: { lane: { maxPending: 2, overflow: 'reject' }, other: {} },
  })
  const { manager } = held
  const accepted = [manager.submit('lane', 'gate', 0), manager.submit('lane', 'gate', 1)]
  const error = await failure(manager.submit('lane', 'gate', 2), 'one too many')
  expect(error).toBeInstanceOf(QueueFullError)
  expect(error).toMatchObject({
    name: 'QueueFullError',
    code: 'CORELANE_QUEUE_FULL',
    retryable: true,
    details: { owner: 'Lane "lane"', pending: 2, maxPending: 2 },
  })
  expect(error.message).toMatch(/^Lane "lane" is full: 2 of 2 commands/)
  // Another lane is not concerned, and a refused command was never submitted.
  const other = manager.submit('other', 'echo', 1)
  held.openGate()
  await within(Promise.all([...accepted, other]), 'the others')
  expect(manager.stats()).toMatchObject({ submitted: 3, completed: 3, failed: 0 })
  await within(manager.submit('lane', 'gate', 3), 'one that finds room')
})

test('bytes are bounded by what payloads hold, and a first command may be larger than the bound', async () => {
  const held = await Held.open({
    lanes: { lane: { maxPendingBytes: 100_000, overflow: 'reject' } },
  })
  const { manager } = held
  const big = manager.submit('lane', 'gate', { bytes: new Uint8Array(1_000_000) })
  const error = await failure(manager.submit('lane', 'gate', 'x'.repeat(10)), 'one too many')
  expect(error.details).toMatchObject({ pending: 1, maxPendingBytes: 100_000 })
  expect(error.details.pendingBytes).toBeGreaterThanOrEqual(1_000_000)
  held.openGate()
  await within(big, 'the big one')
  const small = range(9).map(() => manager.submit('lane', 'gate', 'x'.repeat(10_000)))
  await failure(manager.submit('lane', 'gate', 'x'.repeat(10_001)), 'one byte too many')
  await within(Promise.all(small), 'the small ones')
})

test('waiting submits go on as bytes are given back, the first of them first', async () => {
  const held = await Held.open({ lanes: { lane: { maxPendingBytes: 1000 } } })
  const { manager } = held
  const done: number[] = []
  const sizes = [900, 600, 50, 50, 2000, 10]
  const all = sizes.map((size, i) =>
    manager.submit('lane', 'hardGate', 'x'.repeat(size)).then(() => done.push(i)),
  )
  await turns()
  // The second does not fit beside the first, and no later one goes past it.
  expect(manager.stats().lanes.lane).toMatchObject({ submitted: 1, waiting: 5 })
  held.openGate()
  await within(Promise.all(all), 'all commands')
  expect(done).toEqual([0, 1, 2, 3, 4, 5])
})

test('the bounds of the manager hold over all lanes together, and say so', async () => {
  const held = await Held.open({ lanes: { a: {}, b: {} }, maxPending: 3, overflow: 'reject' })
  const { manager } = held
  const accepted = ['a', 'b', 'a'].map((lane) => manager.submit(lane, 'gate', 0))
  const error = await failure(manager.submit('b', 'gate', 0), 'one too many')
  expect(error).toMatchObject({
    code: 'CORELANE_QUEUE_FULL',
    details: { owner: 'The queue manager', pending: 3, maxPending: 3 },
  })
  held.openGate()
  await within(Promise.all(accepted), 'the others')
})

test('at the bound of the manager producers of all lanes get their turns, longest waiting first', async () => {
  const held = await Held.open({ lanes: { a: {}, b: {}, c: {} }, maxPending: 1 })
  const { manager } = held
  const done: string[] = []
  const order = ['c', 'b', 'a', 'a', 'c', 'b', 'b', 'a', 'c']
  const all = order.map((lane) => manager.submit(lane, 'hardGate', 0).then(() => done.push(lane)))
  await turns()
  held.openGate()
  await within(Promise.all(all), 'all commands')
  expect(done).toEqual(order)
})

test('a lane at its own bound does not keep waiting submits of other lanes from the room there is', async () => {
  const held = await Held.open({
    lanes: { narrow: { maxPending: 1 }, wide: {} },
    maxPending: 3,
    concurrencyPerPartition: 4,
  })
  const { manager } = held
  const narrow = [0, 1].map((i) => manager.submit('narrow', 'gate', i))
  const wide = [0, 1].map((i) => manager.submit('wide', 'gate', i))
  const last = manager.submit('wide', 'echo', 9)
  await turns()
  expect(manager.stats().lanes).toMatchObject({
    narrow: { submitted: 1, waiting: 1 },
    wide: { submitted: 2, waiting: 1 },
  })
  held.openGate()
  await within(Promise.all([...narrow, ...wide, last]), 'all commands')
})

test('room settles at once where there is some, else when there is, and rejects after shutdown', async () => {
  const held = await Held.open({ lanes: { lane: { maxPending: 1, overflow: 'reject' } } })
  const { manager } = held
  await within(manager.room('lane'), 'room in an empty lane')
  const first = manager.submit('lane', 'gate', 0)
  let hasRoom = false
  const room = manager.room('lane').then(() => {
    hasRoom = true
  })
  await turns()
  expect(hasRoom).toBe(false)
  held.openGate()
  await within(Promise.all([first, room]), 'room')
  await within(manager.submit('lane', 'echo', 1), 'the next command')
  await refused(manager.room('none'), 'CORELANE_UNKNOWN_LANE')
  held.closeGate()
  const last = manager.submit('lane', 'gate', 2)
  const atTheEnd = refused(manager.room('lane'), 'CORELANE_CLOSED')
  manager.shutdown()
  await atTheEnd
  await refused(manager.room('lane'), 'CORELANE_CLOSED')
  held.openGate()
  await within(last, 'what was accepted')
})

test('shutdown refuses submits that wait, and what was accepted goes on', async () => {
  const held = await Held.open({ lanes: { lane: { maxPending: 2 } } })
  const { manager } = held
  const accepted = [0, 1].map((i) => manager.submit('lane', 'gate', i))
  const waiting = [2, 3].map((i) => failure(manager.submit('lane', 'gate', i), `submit ${i}`))
  await turns()
  const drained = manager.drain()
  for (const error of await within(Promise.all(waiting), 'the refused ones')) {
    expect(error).toMatchObject({ code: 'CORELANE_CLOSED', details: { state: 'shutdown' } })
  }
  held.openGate()
  await within(Promise.all([...accepted, drained]), 'the accepted ones')
  expect(manager.stats()).toMatchObject({ submitted: 2, completed: 2, failed: 0 })
})

test('what drain leaves is told by lane', async () => {
  const held = await Held.open({ lanes: { a: {}, b: {}, c: {} }, concurrencyPerPartition: 2 })
  const { manager } = held
  const all = ['a', 'a', 'b'].map((lane) => manager.submit(lane, 'gate', 0))
  const error = await failure(manager.drain(30), 'a drain that is too short')
  expect(error).toMatchObject({
    code: 'CORELANE_DRAIN_TIMEOUT',
    details: { timeoutMs: 30, lanes: { a: 2, b: 1 } },
  })
  expect(error.message).toMatch(/2 in a, 1 in b/)
  held.openGate()
  await within(Promise.all([...all, manager.drain()]), 'the second drain')
})

test('a failed and a late command give their room back too', async () => {
  const held = await Held.open({
    lanes: { lane: { maxPending: 1, onDeadline: 'reject' }, first: { priority: 0 } },
  })
  const { manager } = held
  await failure(manager.submit('lane', 'fail', 'x'), 'a failure')
  const gate = manager.submit('first', 'hardGate', 0)
  await until(() => manager.stats().lanes.first!.running === 1, 'the gate is held')
  const late = failure(manager.submit('lane', 'echo', 0, { deadlineMs: 20 }), 'a late command')
  const next = failure(manager.submit('lane', 'echo', 1, { deadlineMs: 500 }), 'the next one')
  expect(await late).toMatchObject({ code: 'CORELANE_DEADLINE_EXCEEDED' })
  await until(() => manager.stats().lanes.lane!.submitted === 3, 'the next one is accepted')
  await within(next, 'the next one')
  held.openGate()
  await within(gate, 'the gate')
})

test('an endless producer that awaits its submits keeps as much pending as the bound, and no more memory', async () => {
  const held = await Held.open({
    lanes: { lane: { maxPending: 200, maxPendingBytes: 1_000_000 } },
    partitions: PartitionConfig.balanced(2),
  })
  const { manager } = held
  let isEnded = false
  let produced = 0
  let most = 0
  const producers = range(500).map(async () => {
    while (!isEnded) {
      produced++
      await manager.submit('lane', 'echo', 'x'.repeat(2_000))
      most = Math.max(most, manager.stats().lanes.lane!.queued)
    }
  })
  await until(() => produced >= 20_000, 'twenty thousand commands', 60_000)
  const { waiting } = manager.stats().lanes.lane!
  expect(waiting).toBeLessThanOrEqual(500)
  isEnded = true
  await within(Promise.all(producers), 'the producers')
  expect(most).toBeLessThanOrEqual(200)
  expect(manager.stats()).toMatchObject({ submitted: produced, completed: produced, queued: 0 })
})
