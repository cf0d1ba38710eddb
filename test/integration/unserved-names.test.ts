// Goal: a command with a lane or handler that no worker has is refused or reported, and never waits
// in silence. Method: queues with and without workers, on the engine of this process and on Redis.

import {
  type LeasedQueue,
  PartitionConfig,
  type QueueIncident,
  type SubmitterOptions,
} from 'corelane'
import { RedisDistributedQueue } from 'corelane/redis'
import { expect, test } from 'vitest'
import { failure, refused, until, within } from '../support/deadline.ts'
import { moduleOf } from '../support/managers.ts'
import { openQueue, openSubmitter, openWorker, shareWorkers, withFaults } from '../support/pools.ts'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'

const one = PartitionConfig.single()

function openTold(queue: LeasedQueue, options: SubmitterOptions = {}) {
  const incidents: QueueIncident[] = []
  const onIncident = (incident: QueueIncident) => void incidents.push(incident)
  return { submitter: openSubmitter(queue, { onIncident, ...options }), incidents }
}

const openQueryAndPrompt = shareWorkers({ lanes: { query: {}, prompt: {} } })

/** A worker whose manager has these lanes and knows of no others. */
async function openLanes(queue: LeasedQueue, names: readonly string[]) {
  const lanes = Object.fromEntries(names.map((lane) => [lane, {}]))
  return (await openWorker(queue, { lanes })).pool
}

test('a lane that no worker ever had is refused, with those that there are', async () => {
  const queue = openQueue(one)
  await openQueryAndPrompt(queue)
  const { submitter, incidents } = openTold(queue)
  const error = await failure(submitter.submit('promt', 'echo', 1), 'a misspelt lane')
  expect(error).toMatchObject({ name: 'ConfigError', code: 'CORELANE_UNKNOWN_LANE' })
  expect(error.message).toContain('"promt"')
  expect(error.message).toContain('query, prompt')
  // Those in the same turn are no worse for it.
  const both = [submitter.submit('promt', 'echo', 1), submitter.submit('prompt', 'echo', 2)]
  const ends = await within(Promise.allSettled(both), 'both')
  expect(ends.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
  expect(incidents).toEqual([])
  expect((await queue.counts()).waiting).toBe(0)
})

test('a handler that no worker ever had is refused, with those that there are', async () => {
  const queue = openQueue(one)
  await openQueryAndPrompt(queue)
  const { submitter } = openTold(queue)
  const error = await failure(submitter.enqueue('prompt', 'ecko', 1), 'a misspelt handler')
  expect(error).toMatchObject({ name: 'ConfigError', code: 'CORELANE_UNKNOWN_TYPE' })
  expect(error.message).toContain('"ecko"')
  expect((await queue.counts()).waiting).toBe(0)
})

test('handlers that a reload brings are known', async () => {
  const queue = openQueue(one, { leaseMs: 300 })
  const handlers = (names: string[]) =>
    moduleOf(names.map((name) => `export const ${name} = (value) => value`).join('\n'))
  const { manager } = await openWorker(queue, { handlers: handlers(['before']) })
  const { submitter } = openTold(queue)
  expect(await within(submitter.submit('prompt', 'before', 1), 'it')).toBe(1)
  await refused(submitter.submit('prompt', 'after', 1), 'CORELANE_UNKNOWN_TYPE')
  await within(manager.reload(handlers(['before', 'after'])), 'a reload')
  const look = async () => (await queue.handlers.look(['after'])).states[0]
  while ((await look()) !== 'served') await new Promise((resolve) => setTimeout(resolve, 20))
  const later = openTold(queue).submitter
  expect(await within(later.submit('prompt', 'after', 2), 'it')).toBe(2)
})

test('a queue without workers takes any lane, and the submitter is told', async () => {
  const queue = openQueue(one)
  const { submitter, incidents } = openTold(queue)
  const first = submitter.submit('late', 'echo', 1)
  await until(() => incidents.length > 0, 'it is told')
  const second = submitter.submit('late', 'echo', 2)
  const told = [
    { what: 'lane-unserved', laneIds: ['late'] },
    { what: 'handler-unserved', handlers: ['echo'] },
  ]
  await until(() => incidents.length === 2, 'both are told')
  expect(incidents).toEqual(expect.arrayContaining(told))
  await openLanes(queue, ['late'])
  expect(await within(Promise.all([first, second]), 'both')).toEqual([1, 2])
  expect(incidents).toHaveLength(2)
})

test('a lane whose workers have gone waits for them', async () => {
  const queue = openQueue(one, { leaseMs: 300 })
  await openLanes(queue.asWorker('stays'), ['prompt'])
  const gone = await openLanes(queue.asWorker('goes'), ['query'])
  await within(gone.close(), 'one goes')
  const { submitter, incidents } = openTold(queue)
  const looked = async () => (await queue.lanes.look(['query'])).states[0]
  while ((await looked()) === 'served') await new Promise((resolve) => setTimeout(resolve, 20))
  const result = submitter.submit('query', 'echo', 1)
  await until(() => incidents.length > 0, 'it is told')
  await openLanes(queue.asWorker('comes'), ['query'])
  expect(await within(result, 'the result')).toBe(1)
})

test('an unknown lane waits where the submitter wants that, and workers tell of it, too', async () => {
  const queue = openQueue(one, { leaseMs: 300 })
  const pool = await openLanes(queue.asWorker('other'), ['prompt'])
  const { submitter, incidents } = openTold(queue, { unknown: 'wait' })
  const result = submitter.submit('new', 'echo', 1)
  await until(() => incidents.length > 0, 'the submitter is told')
  await until(() => pool.incidents.length > 0, 'the worker is told')
  const told = { what: 'lane-unserved', laneIds: ['new'] }
  expect([incidents, pool.incidents]).toEqual([[told], [told]])
  await openLanes(queue.asWorker('new'), ['new'])
  expect(await within(result, 'the result')).toBe(1)
})

test('a queue that cannot be asked for its lanes takes any', async () => {
  const queue = openQueue(one)
  await openQueryAndPrompt(queue.asWorker('w'))
  const lanes = { ...queue.lanes, look: () => Promise.reject(new Error('no answer')) }
  const { submitter } = openTold(withFaults<LeasedQueue>(queue, { lanes }))
  const { status } = await within(submitter.enqueue('promt', 'echo'), 'it is taken')
  expect(status).toBe('accepted')
})

describeWithRedis('on Redis', () => {
  test('misspelt names are refused, and what has no worker is reported', async () => {
    const { url } = await startRedis()
    const open = (workerId: string) =>
      RedisDistributedQueue.open({ url, queue: 'names', workerId, durability: 'ignore' })
    const queue = await open('submits')
    const early = openTold(queue)
    const waits = early.submitter.submit('prompt', 'echo', 1)
    await until(() => early.incidents.length === 2, 'nobody is there')
    await openQueryAndPrompt(await open('works'))
    expect(await within(waits, 'it')).toBe(1)
    const { submitter } = openTold(queue)
    const codes = [
      (await failure(submitter.submit('promt', 'echo', 1), 'a lane')).code,
      (await failure(submitter.submit('prompt', 'ecko', 1), 'a handler')).code,
    ]
    expect(codes).toEqual(['CORELANE_UNKNOWN_LANE', 'CORELANE_UNKNOWN_TYPE'])
    await queue.close()
  })
})
