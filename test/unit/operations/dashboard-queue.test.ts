// Goal: a page is given every lane of a queue that counts, workers, limits or a pause name, and so
// many rows as a page bears. Method: pure, from what a queue has said.

import { expect, test } from 'vitest'
import type { QueueWorker } from '../../../src/model/queue-standing.ts'
import { newsOf, shown } from '../../../src/operations/dashboard-queue.ts'
import { range } from '../../support/range.ts'

const none = { waiting: 0, delayed: 0, leased: 0, dead: 0 }
const standing = { host: 'h', pid: 1, startedAt: 0, state: 'running', partitions: 1 } as const

const worker = (workerId: string, lanes: readonly string[]): QueueWorker => {
  return { workerId, ageMs: 0, ...standing, lanes, held: 0, running: 0 }
}

test('a lane is shown that is counted, served, paused or limited', () => {
  const byLane = { counted: { waiting: 1, delayed: 2, leased: 3, dead: 4 } }
  const counts = { waiting: 1, delayed: 2, leased: 3, dead: 4, lanes: {}, partitions: [] }
  const rate = { limit: 5, windowMs: 50 }
  const news = newsOf(
    { ...counts, byLane },
    ['paused'],
    [{ laneId: 'limited', concurrency: 2, rate }],
    [worker('a', ['counted', 'served']), worker('b', ['counted'])],
  )
  expect(news).toMatchObject({ waiting: 1, delayed: 2, leased: 3, dead: 4 })
  expect(news.lanes).toEqual([
    { name: 'counted', ...byLane.counted, isPaused: false, workers: 2 },
    { name: 'limited', ...none, isPaused: false, workers: 0, concurrency: 2, rate },
    { name: 'paused', ...none, isPaused: true, workers: 0 },
    { name: 'served', ...none, isPaused: false, workers: 1 },
  ])
  expect([news.laneCount, news.workerCount]).toEqual([4, 2])
})

test('of many lanes those that hold most are shown, in the order of their names', () => {
  const names = range(1000).map((n) => `n${String(n).padStart(4, '0')}`)
  const entries = names.map((name, n) => [name, n < 900 ? none : { ...none, waiting: n }])
  const byLane = Object.fromEntries(entries)
  const { lanes } = newsOf({ ...none, lanes: {}, byLane, partitions: [] }, [], [], [])
  const shown = [...names.slice(0, 100), ...names.slice(900)]
  expect(lanes.map(({ name }) => name)).toEqual(shown)
})

test('of many lanes and workers some are shown, and how many there are', () => {
  const names = range(1000).map((n) => `n${String(n).padStart(4, '0')}`)
  const byLane = Object.fromEntries(names.map((name) => [name, none]))
  const workers = names.map((name, n) => worker(name, n === 1 ? names : ['n0000']))
  const news = newsOf({ ...none, lanes: {}, byLane, partitions: [] }, [], [], workers)
  expect([news.lanes.length, news.laneCount]).toEqual([200, 1000])
  expect([news.workers.length, news.workerCount]).toEqual([200, 1000])
  expect(news.workers[0]!.lanes).toEqual(['n0000'])
  expect(news.workers[1]!.lanes).toEqual([...names.slice(0, 20), '…'])
  expect(news.lanes[1]).toMatchObject({ name: 'n0001', workers: 1 })
  expect(news.lanes[0]).toMatchObject({ name: 'n0000', workers: 1000 })
})

test('a value whose members throw when they are read has a text all the same', () => {
  const thrower = () => {
    throw new Error('not to be read')
  }
  const tagged = Object.defineProperty({ a: 1 }, Symbol.toStringTag, { get: thrower })
  const named = Object.defineProperty(new Error('why'), 'name', { get: thrower })
  for (const value of [tagged, named, Object.assign(new Error('why'), { name: Symbol('no') })])
    expect(shown(value)).toMatch(/^(?:a value that cannot be shown|\{ a: 1 \})$/)
  expect(shown(new RangeError('why'))).toBe('RangeError: why')
})
