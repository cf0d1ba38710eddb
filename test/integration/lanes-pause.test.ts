// Pause and resume: a lane stands still on all partitions at once. Goal: nothing of it starts from
// the moment `pause` returns, nothing is lost, reordered or run twice, other lanes go on. Method: a
// held partition with commands bound behind the gate, and pauses at random moments under load.

import { PartitionConfig, QueueMetrics } from 'corelane'
import { expect, test } from 'vitest'
import { block, failure, refused, until, within } from '../support/deadline.ts'
import { openFloor } from '../support/floor.ts'
import { create, open } from '../support/managers.ts'
import { range } from '../support/range.ts'

test('what is bound does not start once its lane is paused, and other lanes go on', async () => {
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.single(),
    lanes: { paused: { priority: 0 }, other: {} },
    metrics: QueueMetrics.local(),
  })
  const held = manager.submit('other', 'hardGate', 1)
  await until(() => manager.stats().running === 1, 'the gate')
  const waiting = range(10).map(() => manager.submit('paused', 'startedAt'))
  await until(() => manager.stats().partitions[0]!.bound > 1, 'some are bound')
  const control = manager.lane('paused')
  expect([control.name, control.isPaused]).toEqual(['paused', false])
  control.pause()
  expect(manager.metrics!.snapshot().lanes.paused!.isPaused).toBe(true)
  floor.openGate()
  await within(held, 'the held one')
  await within(manager.submitMany('other', 'echo', [1, 2, 3]), 'others')
  const { queued, running, completed } = manager.stats().lanes.paused!
  expect([queued, running, completed]).toEqual([10, 0, 0])
  const resumedAt = performance.now()
  control.resume()
  const starts = (await within(Promise.all(waiting), 'the paused ones')) as number[]
  expect(Math.min(...starts)).toBeGreaterThan(resumedAt)
  expect(starts).toEqual([...starts].sort((a, b) => a - b))
})

test.each([
  ['a lane without limits', {}],
  ['a lane with a maximum', { maxConcurrency: 1 }],
])('%s that is paused again and again under load loses nothing and is still', async (_, lane) => {
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.balanced(2),
    lanes: { lane },
    metrics: QueueMetrics.local(),
  })
  const control = manager.lane('lane')
  const results = range(3000).map(() => manager.submit('lane', 'startedAt'))
  const pauses: [number, number][] = []
  for (let i = 0; i < 10; i++) {
    await new Promise((resolve) => setImmediate(resolve))
    control.pause()
    const pausedAt = performance.now()
    block(3)
    pauses.push([pausedAt, performance.now()])
    control.resume()
  }
  const starts = (await within(Promise.all(results), 'all')) as number[]
  for (const [from, to] of pauses) {
    expect(starts.filter((at) => at > from && at < to)).toEqual([])
  }
  expect(manager.metrics!.snapshot().lanes.lane!.run.count).toBe(3000)
})

test('a paused lane takes submits, lets them become late, and is left by close', async () => {
  const manager = await open('basic.js', {
    partitions: PartitionConfig.hash(2),
    lanes: { lane: {} },
  })
  manager.lane('lane').pause()
  const late = manager.submit('lane', 'noop', 1, { startWithinMs: 20, key: 'k' })
  const waits = manager.submit('lane', 'noop', 2, { key: 'k' })
  await refused(late, 'CORELANE_DEADLINE_EXCEEDED')
  expect(manager.stats()).toMatchObject({ queued: 1, running: 0 })
  manager.lane('lane').resume()
  expect(await within(waits, 'the other')).toBe(2)
  manager.lane('lane').pause()
  const left = failure(manager.submit('lane', 'noop', 3), 'the left one')
  await within(manager.close(), 'close')
  expect((await left).code).toBe('CORELANE_COMMAND_DROPPED')
})

test.each([
  ['an idle manager', 0],
  ['a manager with a backlog', 2_000],
])('a getter of a payload that pauses its own lane in %s keeps it back', async (_, count) => {
  const manager = await open('basic.js', { partitions: 1, lanes: { lane: {}, other: {} } })
  const control = manager.lane('lane')
  const before = range(count).map((i) => manager.submit('other', 'noop', i))
  const payload = {
    get member() {
      control.pause()
      return 1
    },
  }
  let isOver = false
  const own = manager.submit('lane', 'noop', payload).then(() => {
    isOver = true
  })
  const behind = manager.submit('lane', 'noop', 2)
  await within(Promise.all([...before, manager.submit('other', 'noop', 3)]), 'the other lane')
  await until(() => control.isPaused, 'the pause')
  await within(manager.submit('other', 'noop', 4), 'the other lane again')
  expect(isOver).toBe(false)
  expect(manager.stats().lanes.lane).toMatchObject({ queued: 2, running: 0, completed: 0 })
  Object.defineProperty(payload, 'member', { value: 1 })
  control.resume()
  expect(await within(Promise.all([own, behind]), 'both')).toEqual([undefined, 2])
})

test('a lane that does not exist cannot be paused', () => {
  expect(() => create('basic.js').lane('nowhere' as never)).toThrow(/nowhere/)
})
