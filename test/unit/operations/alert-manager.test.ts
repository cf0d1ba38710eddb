// Alert manager: levels rise at a threshold, fall a tenth below it, and are told once each.

import { expect, test } from 'vitest'
import { Histogram } from '../../../src/base/histogram.ts'
import { planLane } from '../../../src/model/lane.ts'
import { type MetricsSnapshot, metricsSince } from '../../../src/model/metrics.ts'
import {
  type Alert,
  AlertManager,
  type AlertOptions,
} from '../../../src/operations/alert-manager.ts'
import { QueueMonitor } from '../../../src/operations/queue-monitor.ts'
import type { Watched } from '../../../src/operations/watched.ts'
import { uncaughtBy } from '../../support/uncaught.ts'

/** How the lane "api" stands; a test changes it. */
class World {
  queued = 0
  running = 0
  oldestMs = 0
  completed = 0
  failed = 0
  restarts = 0
  loadAverage = 0
  readonly wait = new Histogram()
  readonly manager: Watched = {
    lanes: [planLane('api', { maxConcurrency: 4 })],
    metrics: {
      snapshot: () => this.#snapshot(),
      delta: (before, now = this.#snapshot()) => metricsSince(now, before),
    },
    stats: () => ({ host: { cores: 2, loadAverage: this.loadAverage }, lanes: {} }),
  }

  #snapshot(): MetricsSnapshot {
    const { queued, running, oldestMs, completed, failed } = this
    const wait = new Histogram().add(this.wait)
    const none = {
      submitted: 0,
      started: 0,
      timedOut: 0,
      retried: 0,
      deadLettered: 0,
      isPaused: false,
      groups: [],
    }
    const share = { failed, limited: 0, wait, run: new Histogram() }
    const gauges = { queued, running, unsettled: queued + running, waiting: 0, oldestMs, completed }
    const api = { ...none, ...share, ...gauges, partitions: [] }
    const loopDelay = new Histogram()
    const counts: Partial<MetricsSnapshot['partitions'][number]> = {
      restarts: this.restarts,
      loopDelay,
    }
    const partition = counts as MetricsSnapshot['partitions'][number]
    return { atMs: 0, spanMs: 0, deadLetters: 0, lanes: { api }, partitions: [partition] }
  }
}

function watch(options?: AlertOptions): { world: World; alerts: AlertManager; told: Alert[] } {
  const world = new World()
  const told: Alert[] = []
  const alerts = new AlertManager(world.manager, {
    onAlert: (alert) => told.push(alert),
    ...options,
  })
  return { world, alerts, told }
}

const levels = (told: readonly Alert[]) => told.map(({ measure, level }) => [measure, level])

test('a level rises at its threshold, falls a tenth below it, and is told once', () => {
  const { world, alerts, told } = watch({ thresholds: { queued: { warning: 100, critical: 200 } } })
  for (const queued of [99, 100, 100, 91, 90, 89, 250, 181, 179, 0]) {
    world.queued = queued
    alerts.check()
  }
  expect(told.map(({ level, value }) => [level, value])).toEqual([
    ['warning', 100],
    ['ok', 89],
    ['critical', 250],
    ['warning', 179],
    ['ok', 0],
  ])
  expect(told[0]).toMatchObject({ lane: 'api', message: 'warning: queued of lane api is 100' })
  expect(alerts.active).toEqual([])
})

test('ages, waits, errors, limits, restarts and load are measured since the last look', () => {
  const { world, alerts, told } = watch()
  Object.assign(world, { oldestMs: 60_000, completed: 9, failed: 3, running: 4, restarts: 1 })
  world.loadAverage = 4
  world.wait.record(6_000)
  alerts.check()
  expect(levels(told)).toEqual([
    ['oldestMs', 'critical'],
    ['waitP99Ms', 'warning'],
    ['errorRate', 'critical'],
    ['limitSaturation', 'warning'],
    ['restarts', 'warning'],
    ['hostLoad', 'warning'],
  ])
  expect(alerts.active).toHaveLength(6)
  Object.assign(world, { oldestMs: 0, completed: 109, running: 0, loadAverage: 0 })
  alerts.check()
  expect(alerts.active).toEqual([])
})

test('a rate of errors is not taken from a few commands', () => {
  const { world, alerts, told } = watch()
  world.failed = 9
  alerts.check()
  expect(told).toEqual([])
})

test('thresholds change while it watches, for all lanes, for one, or for none', () => {
  const { world, alerts, told } = watch({ thresholds: { queued: false } })
  world.queued = 1_000_000
  alerts.check()
  expect(told).toEqual([])
  alerts.setThresholds('queued', { warning: 10, critical: 20 })
  alerts.check()
  alerts.setThresholds('queued', { warning: 2_000_000, critical: 3_000_000 }, 'api')
  alerts.check()
  alerts.setThresholds('queued', false, 'api')
  world.queued = 5_000_000
  alerts.check()
  expect(levels(told)).toEqual([
    ['queued', 'critical'],
    ['queued', 'ok'],
  ])
})

test('what a listener throws is its own: the others are called, and the level has changed', async () => {
  const thrown = new Error('mine')
  const onAlert = () => {
    throw thrown
  }
  const { world, alerts } = watch({ onAlert })
  const heard: Alert[] = []
  alerts.onAlert((alert) => heard.push(alert))
  world.queued = 10_000
  world.oldestMs = 10_000
  const errors = await uncaughtBy(() => expect(alerts.check()).toHaveLength(2))
  expect(errors).toEqual([thrown, thrown])
  expect([heard.length, alerts.active.length, alerts.check()]).toEqual([2, 2, []])
})

test('what is no listener, or no manager, is refused when it is given', () => {
  const { alerts } = watch()
  for (const given of [undefined, null, 'log', {}]) {
    expect(() => alerts.onAlert(given as never)).toThrow('AlertManager.onAlert is')
  }
  for (const given of [undefined, null]) {
    expect(() => new AlertManager(given as never)).toThrow(`AlertManager.manager is ${given};`)
  }
  expect(() => new AlertManager({} as never)).toThrow('AlertManager.manager is a manager without')
})

test('listeners can leave, and bad thresholds are refused', () => {
  const { world, alerts } = watch()
  const heard: Alert[] = []
  const leave = alerts.onAlert((alert) => heard.push(alert))
  world.queued = 10_000
  alerts.check()
  leave()
  world.queued = 0
  alerts.check()
  expect(heard).toHaveLength(1)
  expect(() => alerts.setThresholds('queued', { warning: 2, critical: 1 })).toThrow(/warning <=/)
  for (const bad of ['1', null, undefined, Symbol('1')]) {
    const both = { warning: bad, critical: bad } as never
    expect(() => alerts.setThresholds('queued', both)).toThrow(/warning <=/)
  }
  expect(() => alerts.setThresholds(Symbol('queued') as never, false)).toThrow(/Symbol\(queued\)/)
  expect(() => watch({ thresholds: { queued: undefined } })).not.toThrow()
  expect(() => alerts.setThresholds('queued', false, 'apy')).toThrow(/"apy".*api/)
  expect(() => watch({ thresholds: { depth: false } as never })).toThrow(/thresholds.depth/)
  expect(() => new AlertManager({ ...world.manager, metrics: undefined })).toThrow(/QueueMetrics/)
})

test('a listener that throws keeps no warning of a monitor from being told', async () => {
  const { world } = watch()
  const lanes = { a: { queued: 1, running: 1 } }
  const manager = { stats: () => ({ ...world.manager.stats(), lanes }) }
  const onWarning = ({ measure }: { readonly measure: string }) => {
    throw measure
  }
  const monitor = new QueueMonitor(manager, { queuedWarning: 1, runningWarning: 1, onWarning })
  expect(await uncaughtBy(() => monitor.start().stop())).toEqual(['queued', 'running'])
})
