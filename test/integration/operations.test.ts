// Operations: alerts, the monitor and Prometheus on a manager that runs. Goal: what a scrape says
// is what was counted; alerts and warnings come by themselves. Method: commands of known number, a
// real HTTP server, and a registry of prom-client.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  type Alert,
  AlertManager,
  type MonitorWarning,
  PartitionConfig,
  type QueueManager,
  QueueMetrics,
  QueueMonitor,
} from 'corelane'
import { prometheusHandler, prometheusText, registerWith } from 'corelane/prometheus'
import { type OpenMetricsContentType, Registry } from 'prom-client'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { openFloor } from '../support/floor.ts'
import { create, open, share } from '../support/managers.ts'

const undone: (() => void)[] = []

afterEach(() => {
  for (const undo of undone.splice(0)) undo()
})

/** The lines of a scrape that are samples, by series. */
function samplesOf(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at), Number(line.slice(at + 1))]
    }),
  )
}

const lanes = { 'a "lane"\\': {}, plain: {} }

const optionsOf = () => ({
  partitions: PartitionConfig.balanced(2),
  lanes,
  metrics: QueueMetrics.local(),
})
/** Has run three commands. */
const busy = share('basic.js', optionsOf())
const runThree = (manager: QueueManager) =>
  within(manager.submitMany('plain', 'burn', [1000, 3000, 5000]), 'three')
beforeAll(async () => {
  await runThree(busy())
})

test('a scrape over HTTP has counters, gauges and histograms in base units', async () => {
  const manager = busy()
  const server = createServer(prometheusHandler(manager))
  undone.push(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`
  const response = await fetch(url)
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  const text = await response.text()
  const samples = samplesOf(text)
  expect(samples.get('corelane_commands_completed_total{lane="plain"}')).toBe(3)
  expect(samples.get('corelane_commands_completed_total{lane="a \\"lane\\"\\\\"}')).toBe(0)
  expect(samples.get('corelane_command_run_seconds_count{lane="plain"}')).toBe(3)
  expect(samples.get('corelane_command_run_seconds_sum{lane="plain"}')).toBeGreaterThan(0.009)
  expect(samples.get('corelane_command_run_seconds_bucket{lane="plain",le="0.0005"}')).toBe(0)
  expect(samples.get('corelane_command_run_seconds_bucket{lane="plain",le="+Inf"}')).toBe(3)
  expect(samples.get('corelane_partition_up{partition="1"}')).toBe(1)
  for (const name of ['parked', 'stalled', 'side_posts']) {
    expect(samples.get(`corelane_partition_${name}_total{partition="1"}`)).toBeGreaterThanOrEqual(0)
  }
  expect(text).toContain('# TYPE corelane_command_wait_seconds histogram\n')
  expect((await fetch(url, { method: 'POST' })).status).toBe(405)
})

test('lanes with the names of members that objects have are shown as others are', async () => {
  const names = ['__proto__', 'constructor', 'toString']
  const metrics = QueueMetrics.local()
  const manager = await open('basic.js', {
    partitions: PartitionConfig.single(),
    lanes: Object.fromEntries(names.map((name) => [name, {}])),
    metrics,
  })
  const before = metrics.snapshot()
  for (const name of names) await within(manager.submit(name, 'burn', 1), name)
  const seen = [manager.stats(), metrics.snapshot(), metrics.delta(before)]
  const completed = seen.map((one) =>
    Object.entries(one.lanes).map(([name, lane]) => [name, lane.completed]),
  )
  expect(completed).toEqual(Array(3).fill(names.map((name) => [name, 1])))
  const samples = samplesOf(prometheusText(manager))
  for (const name of names) {
    expect(samples.get(`corelane_commands_completed_total{lane="${name}"}`)).toBe(1)
  }
})

test('prom-client serves the same from its registry', async () => {
  const manager = await open('basic.js', optionsOf())
  await runThree(manager)
  const registry = new Registry()
  registerWith(manager, registry)
  const theirs = samplesOf(await registry.metrics())
  const ours = samplesOf(prometheusText(manager))
  expect([...theirs.keys()].sort()).toEqual([...ours.keys()].sort())
  const series = 'corelane_commands_completed_total{lane="plain"}'
  expect([theirs.get(series), ours.get(series)]).toEqual([3, 3])
  await within(manager.submit('plain', 'noop', 1), 'one more')
  expect(samplesOf(await registry.metrics()).get(series)).toBe(4)
  await within(manager.submit('plain', 'noop', 1), 'another')
  const alone = await registry.getSingleMetricAsString('corelane_commands_completed_total')
  expect(samplesOf(alone).get(series)).toBe(5)
})

test('as OpenMetrics prom-client names counters and their samples as that asks', async () => {
  const registry = new Registry<OpenMetricsContentType>()
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
  registerWith(busy(), registry)
  const text = await registry.metrics()
  expect(text).toContain('# TYPE corelane_commands_completed counter\n')
  expect(text).toContain('\ncorelane_commands_completed_total{lane="plain"} 3\n')
  expect(text).not.toContain('_total_total')
})

test('a manager without metrics has nothing to scrape or to alert of', () => {
  const manager = create('basic.js')
  expect(() => prometheusText(manager)).toThrow(/QueueMetrics.local/)
  expect(() => new AlertManager(manager)).toThrow(/QueueMetrics.local/)
})

test('alerts and the monitor look by themselves, and tell of a lane that is stuck', async () => {
  const { floor, manager } = await openFloor({
    partitions: PartitionConfig.single(),
    lanes: { lane: {} },
    metrics: QueueMetrics.local(),
  })
  const told: Alert[] = []
  const warned: MonitorWarning[] = []
  const thresholds = { oldestMs: { warning: 30, critical: 1_000_000 } }
  const onAlert = (alert: Alert) => told.push(alert)
  const alerts = new AlertManager(manager, { intervalMs: 10, thresholds, onAlert }).start()
  const onWarning = (warning: MonitorWarning) => warned.push(warning)
  const monitor = new QueueMonitor(manager, { intervalMs: 10, queuedWarning: 3, onWarning }).start()
  undone.push(
    () => alerts.stop(),
    () => monitor.stop(),
  )
  const stuck = [1, 2, 3, 4].map((i) => manager.submit('lane', 'hardGate', i))
  const isOld = ({ measure, lane, level }: Alert) =>
    measure === 'oldestMs' && lane === 'lane' && level === 'warning'
  await until(() => told.some(isOld) && warned.length > 0, 'both')
  expect(warned).toEqual([
    { lane: 'lane', measure: 'queued', value: expect.any(Number), threshold: 3 },
  ])
  expect(monitor.stats()!.lanes.lane!.unsettled).toBe(4)
  floor.openGate()
  await within(Promise.all(stuck), 'all')
  await until(() => alerts.active.every(({ measure }) => measure !== 'oldestMs'), 'its end')
})

test('the board of docs/grafana.json asks for series that a scrape has, by labels that they have', async () => {
  const text = prometheusText(busy())
  const board = readFileSync(new URL('../../docs/grafana.json', import.meta.url), 'utf8')
  const { panels } = JSON.parse(board) as { panels: { targets: { expr: string }[] }[] }
  const series = new Set([...samplesOf(text).keys()].map((name) => name.split('{', 1)[0]))
  const asked = [...board.matchAll(/corelane_\w+/g)].map(([name]) => name)
  expect(asked.length).toBeGreaterThan(panels.length)
  expect(asked.filter((name) => !series.has(name))).toEqual([])
  for (const { expr } of panels.flatMap(({ targets }) => targets)) {
    const [name] = /corelane_\w+/.exec(expr)!
    const labels = /^corelane_commands?_|_age_/.test(name) ? ['lane', 'le'] : ['instance']
    for (const [, by] of expr.matchAll(/by \(([^)]+)\)/g)) {
      expect(labels, expr).toEqual(expect.arrayContaining(by!.split(', ')))
    }
  }
})
