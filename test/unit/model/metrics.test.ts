// Metrics: what a backend is given of the difference between two snapshots.

import { expect, test } from 'vitest'
import { Histogram } from '../../../src/base/histogram.ts'
import {
  type LaneMetrics,
  type MetricsSnapshot,
  metricsSince,
  pushMetrics,
} from '../../../src/model/metrics.ts'

function lane(counts: Partial<LaneMetrics>, ...waits: number[]): LaneMetrics {
  const wait = new Histogram()
  for (const ms of waits) wait.record(ms)
  const none = { submitted: 0, started: 0, completed: 0, failed: 0, timedOut: 0, retried: 0 }
  const gauges = { queued: 0, running: 0, unsettled: 0, waiting: 0, oldestMs: 0 }
  const share = { failed: 0, limited: 0, wait, run: new Histogram() }
  return {
    ...none,
    ...gauges,
    deadLettered: 0,
    isPaused: false,
    groups: [],
    ...share,
    partitions: [share],
    ...counts,
  }
}

function at(atMs: number, one: LaneMetrics): MetricsSnapshot {
  return { atMs, spanMs: atMs, deadLetters: 0, lanes: { one }, partitions: [] }
}

test('a difference has the counts of its span and the gauges of its end', () => {
  const before = at(1000, lane({ submitted: 5, queued: 3 }, 1, 2))
  const now = at(3000, lane({ submitted: 9, queued: 4, oldestMs: 7 }, 1, 2, 64))
  const { spanMs, lanes } = metricsSince(now, before)
  expect(spanMs).toBe(2000)
  expect(lanes.one).toMatchObject({ submitted: 4, queued: 4, oldestMs: 7 })
  expect([lanes.one!.wait.count, lanes.one!.partitions[0]!.wait.count]).toEqual([1, 1])
})

test('a backend gets counters that moved, every gauge, and each bucket once', () => {
  const given: unknown[] = []
  const backend = {
    increment: (name: string, value: number) => given.push([name, value]),
    set: (name: string, value: number) => given.push([name, value]),
    record: (name: string, ms: number, times: number) => given.push([name, Math.round(ms), times]),
  }
  pushMetrics(backend, at(1, lane({ submitted: 2, running: 1 }, 100, 100, 7)))
  expect(given).toEqual([
    ['lane.commands.submitted', 2],
    ['lane.queue.depth', 0],
    ['lane.queue.active', 1],
    ['lane.queue.oldest_ms', 0],
    ['lane.command.wait_time', 7, 1],
    ['lane.command.wait_time', 102, 2],
  ])
})
