// Prometheus: metrics as families of samples, as exposition text, and as collectors.
// Owns: the names. Seconds, bytes, `_total`; labels are lanes and partitions only.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { timers } from '../base/clock.ts'
import type { Histogram } from '../base/histogram.ts'
import type { LaneMetrics, MetricsSnapshot, PartitionMetrics } from '../model/metrics.ts'
import { metricsOf, type Watched } from './watched.ts'

/** Labels of a sample. */
export type PrometheusLabels = Readonly<Record<string, string | number>>

/** One sample of a family. */
export interface PrometheusSample {
  readonly labels: PrometheusLabels
  /** In the unit at the end of the name: seconds, bytes, a ratio from 0 to 1, or a count. */
  readonly value: number
  /** Name of the series, where a family has several. */
  readonly metricName?: string
}

/** A metric with all its samples. */
export interface PrometheusFamily {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly values: readonly PrometheusSample[]
}

const LANE_COUNTERS = [
  ['submitted', 'Commands submitted'],
  ['started', 'Runs started'],
  ['completed', 'Commands completed'],
  ['failed', 'Commands that failed for good'],
  ['timedOut', 'Runs that took too long'],
  ['retried', 'Runs followed by another'],
  ['deadLettered', 'Commands that became dead letters'],
  ['limited', 'Looks in which a limit of the lane let nothing start'],
] as const

const LANE_GAUGES = [
  ['queued', 'Commands that wait'],
  ['running', 'Commands whose handler runs'],
  ['waiting', 'Submits that wait for room'],
] as const

/** Powers of two in milliseconds, as the bounds of the histograms are: 0.125 ms to 65 s. */
const BOUNDS_MS = Array.from({ length: 20 }, (_, i) => 2 ** (i - 3))

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

function histogramOf(name: string, labels: PrometheusLabels, of: Histogram): PrometheusSample[] {
  const bucket = `${name}_bucket`
  return [
    ...BOUNDS_MS.map((ms) => {
      const value = of.countUpTo(ms)
      return { metricName: bucket, labels: { ...labels, le: ms / 1000 }, value }
    }),
    { metricName: bucket, labels: { ...labels, le: '+Inf' }, value: of.count },
    { metricName: `${name}_sum`, labels, value: of.sum / 1000 },
    { metricName: `${name}_count`, labels, value: of.count },
  ]
}

function laneFamilies(lanes: Readonly<Record<string, LaneMetrics>>): PrometheusFamily[] {
  const entries = Object.entries(lanes)
  const each = (pick: (lane: LaneMetrics) => number) =>
    entries.map(([lane, metrics]) => ({ labels: { lane }, value: pick(metrics) }))
  const histogram = (field: 'wait' | 'run', help: string): PrometheusFamily => {
    const name = `corelane_command_${field}_seconds`
    const values = entries.flatMap(([lane, metrics]) => histogramOf(name, { lane }, metrics[field]))
    return { name, help, type: 'histogram', values }
  }
  return [
    ...LANE_COUNTERS.map(([field, help]): PrometheusFamily => {
      const name = `corelane_commands_${snake(field)}_total`
      return { name, help, type: 'counter', values: each((lane) => lane[field]) }
    }),
    ...LANE_GAUGES.map(([field, help]): PrometheusFamily => {
      const name = `corelane_commands_${field}`
      return { name, help, type: 'gauge', values: each((lane) => lane[field]) }
    }),
    {
      name: 'corelane_oldest_command_age_seconds',
      help: 'Age of the oldest command that could start and has not',
      type: 'gauge',
      values: each(({ oldestMs }) => oldestMs / 1000),
    },
    histogram('wait', 'Time from when a command could start to its start'),
    histogram('run', 'Time that handlers run'),
  ]
}

const LOOP_DELAY = 'corelane_partition_loop_delay_seconds'

function partitionFamilies(partitions: readonly PartitionMetrics[]): PrometheusFamily[] {
  const family = (
    name: string,
    help: string,
    type: 'counter' | 'gauge',
    pick: (partition: PartitionMetrics) => number,
  ): PrometheusFamily => {
    const values = partitions.map((partition) => {
      return { labels: { partition: partition.index }, value: pick(partition) }
    })
    return { name: `corelane_partition_${name}`, help, type, values }
  }
  return [
    family('up', 'Whether its thread is ready', 'gauge', ({ state }) => Number(state === 'ready')),
    family('restarts_total', 'Threads that were lost', 'counter', ({ restarts }) => restarts),
    family('running', 'Handlers that run', 'gauge', ({ running }) => running),
    family('parked_total', 'Times it slept', 'counter', ({ parked }) => parked),
    family('stalled_total', 'Times it had to wait for room', 'counter', ({ stalled }) => stalled),
    family('side_posts_total', 'Payloads by the side port', 'counter', (of) => of.sidePosts),
    family('busy_seconds_total', 'Time in handlers', 'counter', ({ busyMs }) => busyMs / 1000),
    family('utilisation_ratio', 'Event loop at work', 'gauge', ({ utilisation }) => utilisation),
    family('heap_bytes', 'Heap in use', 'gauge', ({ heapMb }) => heapMb * 2 ** 20),
    {
      name: LOOP_DELAY,
      help: 'How late its event loop comes to a timer',
      type: 'histogram',
      values: partitions.flatMap(({ index: partition, loopDelay }) =>
        histogramOf(LOOP_DELAY, { partition }, loopDelay),
      ),
    },
    {
      name: 'corelane_partition_ring_fill_ratio',
      help: 'Share of a ring that is in use',
      type: 'gauge',
      values: partitions.flatMap(({ index: partition, commandRingFill, resultRingFill }) => [
        { labels: { partition, ring: 'command' }, value: commandRingFill },
        { labels: { partition, ring: 'result' }, value: resultRingFill },
      ]),
    },
  ]
}

/**
 * The metrics as Prometheus has them.
 *
 * @param snapshot - Everything since the manager was made; a reset shows as one of the process.
 */
export function prometheusFamilies(snapshot: MetricsSnapshot): PrometheusFamily[] {
  const help = 'Dead letters that are kept'
  const values = [{ labels: {}, value: snapshot.deadLetters }]
  return [
    ...laneFamilies(snapshot.lanes),
    ...partitionFamilies(snapshot.partitions),
    { name: 'corelane_dead_letters', help, type: 'gauge', values },
  ]
}

function escaped(value: string | number): string {
  return String(value).replace(/[\\"\n]/g, (one) => (one === '\n' ? '\\n' : `\\${one}`))
}

function lineOf(name: string, { labels, value, metricName = name }: PrometheusSample): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`)
  return pairs.length === 0 ? `${metricName} ${value}` : `${metricName}{${pairs.join()}} ${value}`
}

/**
 * The metrics of a manager as exposition text, version 0.0.4.
 *
 * @param manager - With metrics.
 * @throws ConfigError `CORELANE_INVALID_OPTION` if it has none.
 */
export function prometheusText(manager: Pick<Watched, 'metrics'>): string {
  const families = prometheusFamilies(metricsOf(manager, 'prometheusText').snapshot())
  const lines = families.flatMap(({ name, help, type, values }) => [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...values.map((sample) => lineOf(name, sample)),
  ])
  return `${lines.join('\n')}\n`
}

/**
 * Answers scrapes: `createServer(prometheusHandler(manager))`, or as a route of a framework.
 *
 * @param manager - With metrics.
 * @throws ConfigError `CORELANE_INVALID_OPTION` if it has none.
 */
export function prometheusHandler(
  manager: Pick<Watched, 'metrics'>,
): (request: IncomingMessage, response: ServerResponse) => void {
  metricsOf(manager, 'prometheusHandler')
  return ({ method }, response) => {
    if (method !== 'GET' && method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end()
      return
    }
    const text = prometheusText(manager)
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
    response.end(method === 'HEAD' ? undefined : text)
  }
}

/** The member of a `prom-client` registry that is called. */
export interface PrometheusRegistry {
  /** Adds a metric, whose `get` is called at each scrape. */
  // biome-ignore lint/suspicious/noExplicitAny: the classes of prom-client; this is none of them.
  registerMetric(metric: any): void
}

/**
 * Adds the metrics of a manager to a registry of `prom-client`.
 *
 * @param manager - With metrics. One manager for each registry, since names would collide.
 * @param registry - `prom-client`'s `register`, or a `Registry`.
 * @throws ConfigError `CORELANE_INVALID_OPTION` if it has none.
 */
export function registerWith(
  manager: Pick<Watched, 'metrics'>,
  registry: PrometheusRegistry,
): void {
  const metrics = metricsOf(manager, 'registerWith')
  let families: PrometheusFamily[] | undefined
  for (const [i, { name, type }] of prometheusFamilies(metrics.snapshot()).entries()) {
    // A scrape asks for all of them in one turn: they are of one snapshot.
    const get = () => {
      if (families === undefined) {
        families = prometheusFamilies(metrics.snapshot())
        timers.queueMicrotask(() => {
          families = undefined
        })
      }
      // As OpenMetrics, prom-client takes the "_total" from the name and adds it to the samples.
      return { ...families[i], name: metric.name, aggregator: 'sum' }
    }
    const metric = { name, type, get, reset() {} }
    registry.registerMetric(metric)
  }
}
