// Queue metrics: resets, differences across them, clocks that are set, and backends that throw.

import { expect, test } from 'vitest'
import { Histogram } from '../../../src/base/histogram.ts'
import { QueueMetrics } from '../../../src/coordinator/queue-metrics.ts'
import type { LaneMetrics, MetricsBackend, MetricsSnapshot } from '../../../src/model/metrics.ts'
import { uncaughtBy } from '../../support/uncaught.ts'

/** A manager with one lane, whose counts and clocks a test changes. */
class World {
  submitted = 0
  atMs = 1_000_000
  spanMs = 0
  readonly run = new Histogram()

  /** The metrics of the lane "api". */
  attach(metrics: QueueMetrics): QueueMetrics {
    metrics.attach(() => {
      const run = new Histogram().add(this.run)
      const counts: Partial<LaneMetrics> = {
        submitted: this.submitted,
        started: run.count,
        completed: run.count,
        failed: 0,
        timedOut: 0,
        retried: 0,
        deadLettered: 0,
        limited: 0,
        queued: 0,
        running: 0,
        oldestMs: 0,
        wait: new Histogram(),
        run,
        partitions: [],
      }
      const lanes = { api: counts as LaneMetrics }
      const { atMs, spanMs } = this
      return { atMs, spanMs, deadLetters: 0, lanes, partitions: [] }
    })
    return metrics
  }

  /** So many commands are run, in so many milliseconds. */
  pass(commands: number, ms: number): void {
    this.submitted += commands
    for (let i = 0; i < commands; i++) this.run.record(3)
    this.spanMs += ms
    this.atMs += ms
  }
}

const counted = ({ lanes, spanMs }: MetricsSnapshot) => {
  const { submitted, completed, run } = lanes.api!
  return [submitted, completed, run.count, spanMs]
}

test('a difference is that of its two moments, whatever was reset between or before them', () => {
  const world = new World()
  const metrics = world.attach(QueueMetrics.local())
  world.pass(5, 100)
  const first = metrics.snapshot()
  world.pass(2, 10)
  metrics.reset()
  const second = metrics.snapshot()
  world.pass(1, 20)
  metrics.reset()
  world.pass(3, 30)
  expect(counted(metrics.snapshot())).toEqual([3, 3, 3, 30])
  expect(counted(metrics.delta(first))).toEqual([6, 6, 6, 60])
  expect(counted(metrics.delta(second))).toEqual([4, 4, 4, 50])
  expect(counted(metrics.delta(first, second))).toEqual([2, 2, 2, 10])
})

test('a machine whose clock is set back has spans as long as they were', () => {
  const world = new World()
  const metrics = world.attach(QueueMetrics.local())
  const before = metrics.snapshot()
  world.pass(1, 40)
  world.atMs -= 3_600_000
  expect(counted(metrics.delta(before))).toEqual([1, 1, 1, 40])
  metrics.reset()
  world.pass(1, 50)
  world.atMs -= 3_600_000
  expect(counted(metrics.snapshot())).toEqual([1, 1, 1, 50])
})

test('a backend that throws gets everything else, nothing twice, and stops no reset', async () => {
  const world = new World()
  const given: unknown[] = []
  const thrown = new Error('the backend')
  const backend: MetricsBackend = {
    increment: (name, value) => {
      given.push([name, value])
      if (name === 'lane.commands.submitted') throw thrown
    },
    set: () => {},
    record: (name, _ms, times) => given.push([name, times]),
    reset: () => {
      given.push(['reset', 0])
      throw thrown
    },
  }
  const metrics = world.attach(new QueueMetrics(backend))
  world.pass(4, 1)
  const errors = await uncaughtBy(() => metrics.reset())
  world.pass(1, 1)
  const more = await uncaughtBy(() => metrics.detach())
  expect(given).toEqual([
    ['lane.commands.submitted', 4],
    ['lane.commands.started', 4],
    ['lane.commands.completed', 4],
    ['lane.command.latency', 4],
    ['reset', 0],
    ['lane.commands.submitted', 1],
    ['lane.commands.started', 1],
    ['lane.commands.completed', 1],
    ['lane.command.latency', 1],
  ])
  expect([...errors, ...more]).toEqual([thrown, thrown, thrown])
  expect(counted(metrics.snapshot())).toEqual([1, 1, 1, 1])
})

test('a backend that cannot take metrics is refused when it is given', () => {
  const [increment, set, record] = [() => {}, () => {}, () => {}]
  expect(new QueueMetrics({ increment, set, record })).toBeInstanceOf(QueueMetrics)
  for (const [missing, backend] of [
    ['increment', {}],
    ['increment', null],
    ['increment', { intervalMs: 5 }],
    ['record', { increment, set, record: 5 }],
  ] as const) {
    expect(() => new QueueMetrics(backend as never)).toThrow(
      new RegExp(`^QueueMetrics\\.backend\\.${missing} is (undefined|5); allowed: a function$`),
    )
  }
})
