// Room: how much may be pending, per lane and in all. Goal: at a bound a submit waits its turn or
// is refused with the numbers, in order, in bounded memory, and nobody waits for ever. Method: a
// gate holds what was accepted, so that what is pending is known exactly.

import { PartitionConfig, QueueFullError, type QueueManagerOptions } from 'corelane'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { openFloor } from '../support/floor.ts'
import { range } from '../support/range.ts'

const openRoom = (options: QueueManagerOptions) =>
  openFloor({ partitions: PartitionConfig.single(), ...options })

/** Lets everything that is due happen. */
const turns = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20))

test('at maxPending submits wait, are accepted in order as commands settle, and are counted as waiting', async () => {
  const { floor, manager } = await openRoom({ lanes: { lane: { maxPending: 3 } } })
  const done: number[] = []
  const all = range(20).map((i) => manager.submit('lane', 'hardGate', i).then(() => done.push(i)))
  await turns()
  expect(manager.stats().lanes.lane).toMatchObject({ submitted: 3, waiting: 17 })
  floor.openGate()
  await within(Promise.all(all), 'all commands')
  expect(done).toEqual(range(20))
  expect(manager.stats().lanes.lane).toMatchObject({ submitted: 20, completed: 20, waiting: 0 })
})

test('a lane that rejects at its bound says how much is pending and what the bound is', async () => {
  const { floor, manager } = await openRoom({
    lanes: { lane: { maxPending: 2, overflow: 'reject' }, other: {} },
  })
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
  floor.openGate()
  await within(Promise.all([...accepted, other]), 'the others')
  expect(manager.stats()).toMatchObject({ submitted: 3, completed: 3, failed: 0 })
  await within(manager.submit('lane', 'gate', 3), 'one that finds room')
})

test('the bound of the manager holds over all lanes together, and says so', async () => {
  const { floor, manager } = await openRoom({
    lanes: { a: {}, b: {} },
    maxPending: 3,
    overflow: 'reject',
  })
  const accepted = ['a', 'b', 'a'].map((lane) => manager.submit(lane, 'gate', 0))
  const error = await refused(manager.submit('b', 'gate', 0), 'CORELANE_QUEUE_FULL')
  expect(error.details).toMatchObject({ owner: 'The queue manager', pending: 3, maxPending: 3 })
  floor.openGate()
  await within(Promise.all(accepted), 'the others')
})

test('bytes are bounded by what payloads hold, and a first command may be larger than the bound', async () => {
  const { floor, manager } = await openRoom({
    lanes: { lane: { maxPendingBytes: 100_000, overflow: 'reject' } },
  })
  const big = manager.submit('lane', 'gate', { bytes: new Uint8Array(1_000_000) })
  const error = await failure(manager.submit('lane', 'gate', 'x'.repeat(10)), 'one too many')
  expect(error.details).toMatchObject({ pending: 1, maxPendingBytes: 100_000 })
  expect(error.details.pendingBytes).toBeGreaterThanOrEqual(1_000_000)
  floor.openGate()
  await within(big, 'the big one')
  const small = range(9).map(() => manager.submit('lane', 'gate', 'x'.repeat(10_000)))
  await failure(manager.submit('lane', 'gate', 'x'.repeat(10_001)), 'one byte too many')
  await within(Promise.all(small), 'the small ones')
})

test('room settles at once where there is some, else when there is, and rejects after shutdown', async () => {
  const { floor, manager } = await openRoom({
    lanes: { lane: { maxPending: 1, overflow: 'reject' } },
  })
  await within(manager.room('lane'), 'room in an empty lane')
  const first = manager.submit('lane', 'gate', 0)
  const room = manager.room('lane')
  await turns()
  expect(await Promise.race([room, 'none'])).toBe('none')
  floor.openGate()
  await within(Promise.all([first, room]), 'room')
  await within(manager.submit('lane', 'echo', 1), 'the next command')
  await refused(manager.room('none'), 'CORELANE_UNKNOWN_LANE')
  floor.closeGate()
  const last = manager.submit('lane', 'gate', 2)
  const atTheEnd = refused(manager.room('lane'), 'CORELANE_CLOSED')
  manager.shutdown()
  await atTheEnd
  await refused(manager.room('lane'), 'CORELANE_CLOSED')
  floor.openGate()
  await within(last, 'what was accepted')
})

test('shutdown refuses submits that wait, and what was accepted goes on', async () => {
  const { floor, manager } = await openRoom({ lanes: { lane: { maxPending: 2 } } })
  const accepted = [0, 1].map((i) => manager.submit('lane', 'gate', i))
  const waiting = [2, 3].map((i) => failure(manager.submit('lane', 'gate', i), `submit ${i}`))
  await turns()
  const drained = manager.drain()
  for (const error of await within(Promise.all(waiting), 'the refused ones')) {
    expect(error).toMatchObject({ code: 'CORELANE_CLOSED', details: { state: 'shutdown' } })
  }
  floor.openGate()
  await within(Promise.all([...accepted, drained]), 'the accepted ones')
  expect(manager.stats()).toMatchObject({ submitted: 2, completed: 2, failed: 0 })
})

test('a failed and a late command give their room back too', async () => {
  const { floor, manager } = await openRoom({
    lanes: { lane: { maxPending: 1, onDeadline: 'reject' }, first: { priority: 0 } },
  })
  await failure(manager.submit('lane', 'fail', 'x'), 'a failure')
  const gate = manager.submit('first', 'hardGate', 0)
  await until(() => manager.stats().lanes.first!.running === 1, 'the gate is held')
  const late = failure(manager.submit('lane', 'echo', 0, { deadlineMs: 20 }), 'a late command')
  const next = failure(manager.submit('lane', 'echo', 1, { deadlineMs: 500 }), 'the next one')
  expect(await late).toMatchObject({ code: 'CORELANE_DEADLINE_EXCEEDED' })
  await until(() => manager.stats().lanes.lane!.submitted === 3, 'the next one is accepted')
  await within(next, 'the next one')
  floor.openGate()
  await within(gate, 'the gate')
})

test('an endless producer that awaits its submits keeps as much pending as the bound, and no more memory', async () => {
  const { manager } = await openRoom({
    lanes: { lane: { maxPending: 200, maxPendingBytes: 1_000_000 } },
    partitions: PartitionConfig.balanced(2),
  })
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
  await until(() => produced >= 2_000, 'two thousand commands', 60_000)
  const { waiting } = manager.stats().lanes.lane!
  expect(waiting).toBeLessThanOrEqual(500)
  isEnded = true
  await within(Promise.all(producers), 'the producers')
  expect(most).toBeLessThanOrEqual(200)
  expect(manager.stats()).toMatchObject({ submitted: produced, completed: produced, queued: 0 })
})
