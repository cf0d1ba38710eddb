// OpenTelemetry: spans and metrics of commands. Goal: one producer span per command and one
// consumer span per run, each in the trace of its request, and spans of handlers below it. Method:
// the real SDK in the main thread and in the thread of the handlers; for queues, in the process of
// the submitter and in that of the worker.

import { context, metrics, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base'
import { PartitionConfig, type QueueManagerOptions, RetryPolicy } from 'corelane'
import { instrument } from 'corelane/opentelemetry'
import { RedisDistributedQueue } from 'corelane/redis'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { failure, within } from '../support/deadline.ts'
import { open, share } from '../support/managers.ts'
import { keep, openPool, openQueue, openSubmitter } from '../support/pools.ts'
import { runProgram } from '../support/programs.ts'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'

const options: QueueManagerOptions = {
  partitions: PartitionConfig.single(),
  lanes: { lane: {}, narrow: { maxPending: 1 } },
  concurrencyPerPartition: 2,
}
/** Only the thread of the second has an SDK, as the main thread has. */
const plain = share('survival.js', options)
const traced = share('traced.js', options)
const exporter = new InMemorySpanExporter()
let measured: InMemoryMetricExporter
let provider: MeterProvider
let end: () => void

/** A span of either thread. */
interface Seen {
  readonly name: string
  readonly kind: SpanKind
  readonly id: string
  readonly traceId: string
  readonly parent: string | undefined
  readonly status: ReadableSpan['status']
  readonly attributes: ReadableSpan['attributes']
  readonly events: readonly { readonly name: string; readonly attributes?: object | undefined }[]
}

function mainSpans(): Seen[] {
  const spans = exporter.getFinishedSpans().map((span) => ({
    name: span.name,
    kind: span.kind,
    id: span.spanContext().spanId,
    traceId: span.spanContext().traceId,
    parent: span.parentSpanContext?.spanId,
    status: span.status,
    attributes: span.attributes,
    events: span.events,
  }))
  exporter.reset()
  return spans
}

async function threadSpans(): Promise<Seen[]> {
  const spans = (await within(traced().run('spans'), 'the spans of the thread')) as Seen[]
  return spans.filter((span) => !nameOf(span).includes('spans'))
}

/** Runs a function in a span. */
function inRequest<T>(run: () => Promise<T>): Promise<T> {
  return trace.getTracer('test').startActiveSpan('request', async (span) => {
    try {
      return await run()
    } finally {
      span.end()
    }
  })
}

/** Its name, with the type of its command in place of the lane. */
const nameOf = ({ name, attributes }: Seen): string => {
  const { 'corelane.command.type': type, 'messaging.operation.name': operation } = attributes
  return type === undefined ? name : `${operation} ${type}`
}

const named = (spans: readonly Seen[], name: string) => {
  const [found, other] = spans.filter((span) => nameOf(span) === name)
  expect(found, `${name} in ${spans.map(nameOf)}`).toBeDefined()
  expect(other).toBeUndefined()
  return found!
}

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
propagation.setGlobalPropagator(new W3CTraceContextPropagator())

beforeEach(async () => {
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
  )
  measured = new InMemoryMetricExporter(AggregationTemporality.DELTA)
  provider = new MeterProvider({
    readers: [new PeriodicExportingMetricReader({ exporter: measured })],
  })
  metrics.setGlobalMeterProvider(provider)
  end = instrument()
  // Managers find out at the end of a turn with submits that something listens.
  await Promise.all([within(plain().run('echo'), 'a first command'), threadSpans()])
  await provider.forceFlush()
  exporter.reset()
})

afterEach(async () => {
  end()
  await within(provider.shutdown(), 'the metrics')
  trace.disable()
  metrics.disable()
  exporter.reset()
})

afterAll(() => {
  context.disable()
  propagation.disable()
})

test('a command is a span in the trace of its request, and its run one below it', async () => {
  await inRequest(() => within(plain().submit('lane', 'echo', 1, { id: 'one' }), 'the command'))
  const spans = mainSpans()
  const request = named(spans, 'request')
  const send = named(spans, 'send echo')
  const run = named(spans, 'process echo')
  expect([send.name, run.name]).toEqual(['send lane', 'process lane'])
  expect(send).toMatchObject({ parent: request.id, kind: SpanKind.PRODUCER })
  expect(run).toMatchObject({ parent: send.id, kind: SpanKind.CONSUMER, traceId: request.traceId })
  expect(run.attributes).toEqual({
    'messaging.system': 'corelane',
    'messaging.operation.name': 'process',
    'messaging.operation.type': 'process',
    'messaging.destination.name': 'lane',
    'messaging.destination.partition.id': '0',
    'messaging.message.id': 'one',
    'corelane.command.type': 'echo',
    'corelane.attempt': 1,
  })
})

test.each(['sync', 'later'])('a span of handler %s is below that of its run', async (type) => {
  await inRequest(() => within(traced().submit('lane', type, 1), 'the command'))
  const main = mainSpans()
  const thread = await threadSpans()
  const run = named(thread, `process ${type}`)
  expect(run.name).toBe('process lane')
  expect(main.map(nameOf)).not.toContain(`process ${type}`)
  expect(run.parent).toBe(named(main, `send ${type}`).id)
  expect(named(thread, 'child')).toMatchObject({ parent: run.id, traceId: run.traceId })
  expect(run.traceId).toBe(named(main, 'request').traceId)
})

test('a handler that is traced knows its command by the id that it was given', async () => {
  expect(await within(traced().submit('lane', 'sync', 'x', { id: 'mine' }), 'a name')).toBe(
    'mine: x',
  )
  expect(await within(traced().submit('lane', 'sync', 'x'), 'a number')).toMatch(/^\d+: x$/)
})

test('steps of a stream run in the span of its run, which ends with it', async () => {
  const values: unknown[] = []
  for await (const value of traced().stream('lane', 'several')) values.push(value)
  expect(values).toEqual([1, 2])
  const thread = await threadSpans()
  expect(named(thread, 'child').parent).toBe(named(thread, 'process several').id)
})

test('a result that could be iterated is sent as it is, and one of a stream is iterated', async () => {
  expect(await within(traced().submit('lane', 'page'), 'the page')).toEqual({ rows: [1, 2] })
  const values: unknown[] = []
  for await (const value of traced().stream('lane', 'page')) values.push(value)
  expect(values).toEqual([1, 2])
  expect((await threadSpans()).map(nameOf)).toEqual(Array(2).fill('process page'))
})

test('a stream that is left early has a span that ends', async () => {
  for await (const _ of traced().stream('lane', 'several')) break
  await expect.poll(async () => (await threadSpans()).length).toBeGreaterThan(0)
})

test('a command that a handler submits is below the span of that handler', async () => {
  await within(traced().submit('lane', 'nested'), 'the command')
  const main = mainSpans()
  const thread = await threadSpans()
  expect(named(main, 'send sync').parent).toBe(named(thread, 'process nested').id)
  expect(named(thread, 'process sync').parent).toBe(named(main, 'send sync').id)
})

test.each([
  ['the main thread', plain, 'alwaysFails'],
  ['its own thread', traced, 'breaks'],
])(
  'each run of a command that fails records its error in %s, and so does the command',
  async (_, manager, type) => {
    const retry = RetryPolicy.fixed(1, 1)
    await failure(manager().submit('lane', type, 'x', { retry }), 'the command')
    const main = mainSpans()
    const runs = manager === plain ? main : await threadSpans()
    const failed = runs.filter((span) => nameOf(span) === `process ${type}`)
    expect(failed.map(({ attributes }) => attributes['corelane.attempt'])).toEqual([1, 2])
    for (const span of [...failed, named(main, `send ${type}`)]) {
      expect(span.status.code).toBe(SpanStatusCode.ERROR)
      expect(span.events).toMatchObject([{ name: 'exception' }])
      expect(span.attributes['error.type']).toBe(type === 'breaks' ? 'TOO_FAR' : 'Error')
    }
  },
)

test('a run that throws what cannot be looked at has a span that ends, and has failed', async () => {
  const thrown = traced().submit('lane', 'hostile')
  await within(
    thrown.then(expect.unreachable, () => {}),
    'the command',
  )
  const run = named(await threadSpans(), 'process hostile')
  expect(run.status.code).toBe(SpanStatusCode.ERROR)
})

test('a process that is instrumented twice has one span of each command', async () => {
  instrument()
  await within(plain().submit('lane', 'echo', 1), 'the command')
  const spans = mainSpans()
  named(spans, 'send echo')
  named(spans, 'process echo')
  end()
  end = instrument()
})

test('a run that ends with its thread has a span, which says so', async () => {
  const manager = await open('traced.js', options)
  await failure(manager.submit('lane', 'exit'), 'the exit')
  const main = mainSpans()
  expect(named(main, 'process exit').attributes['error.type']).toBe('CORELANE_PARTITION_LOST')
  expect(named(main, 'process exit').parent).toBe(named(main, 'send exit').id)
})

test('a command that waits for room is in the trace of its own request', async () => {
  const submits = [1, 2].map(() => inRequest(() => plain().submit('narrow', 'echo', 1)))
  await within(Promise.all(submits), 'both')
  const spans = mainSpans()
  const sends = spans.filter((span) => nameOf(span) === 'send echo')
  const requests = spans.filter(({ name }) => name === 'request')
  expect(new Set(sends.map(({ parent }) => parent))).toEqual(new Set(requests.map(({ id }) => id)))
})

test('run times are a histogram in seconds', async () => {
  await within(plain().submit('lane', 'echo', 1), 'one')
  await failure(plain().submit('lane', 'alwaysFails', 'x'), 'another')
  await provider.forceFlush()
  const [{ metrics: [metric] = [] } = {}] = measured.getMetrics().at(-1)!.scopeMetrics
  expect(metric!.descriptor).toMatchObject({ name: 'messaging.process.duration', unit: 's' })
  const points = metric!.dataPoints.map(({ attributes }) => attributes['error.type'])
  expect(points).toEqual([undefined, 'Error'])
  const [done] = metric!.dataPoints as { value: { count: number; sum: number } }[]
  expect(done!.value.count).toBe(1)
  expect(done!.value.sum).toBeLessThan(1)
})

test('without an SDK nothing listens, and a command carries nothing', async () => {
  end()
  trace.disable()
  metrics.disable()
  const { channel } = await import('node:diagnostics_channel')
  end = instrument()
  for (const name of ['submit', 'run', 'enqueue']) {
    for (const step of ['start', 'end', 'asyncStart', 'asyncEnd', 'error']) {
      expect(channel(`tracing:corelane:${name}:${step}`).hasSubscribers).toBe(false)
    }
  }
  await within(traced().submit('lane', 'sync'), 'the command')
  expect(named(await threadSpans(), 'process sync').parent).toBeUndefined()
  const queue = openQueue(PartitionConfig.single())
  await within(openSubmitter(queue).enqueue('lane', 'sync', 1), 'a command in a queue')
  expect((await queue.dequeue(0))!.options?.trace).toBeUndefined()
})

test.each([
  ['the main thread alone', plain, 'echo'],
  ['both threads', traced, 'sync'],
])(
  'a run of a queue is below the submit of its submitter, with an SDK in %s',
  async (_, manager, type) => {
    const queue = openQueue(PartitionConfig.single())
    await openPool(queue, manager())
    const submitter = openSubmitter(queue)
    if (manager === traced) await failure(submitter.submit('lane', 'breaks'), 'a failure')
    await inRequest(() => within(submitter.submit('lane', type, 1, { id: 'one' }), 'the command'))
    const main = mainSpans()
    const runs = manager === plain ? main : await threadSpans()
    const request = named(main, 'request')
    const send = named(main, `send ${type}`)
    expect(send).toMatchObject({ parent: request.id, kind: SpanKind.PRODUCER })
    expect(send.attributes['messaging.message.id']).toBe('one')
    const run = named(runs, `process ${type}`)
    expect(run).toMatchObject({ parent: send.id, kind: SpanKind.CONSUMER, traceId: send.traceId })
    expect(run.attributes['messaging.message.id']).toBe('one')
    if (manager === plain) return
    const failed = named(main, 'send breaks')
    expect(failed.status.code).toBe(SpanStatusCode.ERROR)
    expect(named(runs, 'process breaks').parent).toBe(failed.id)
  },
)

test('a rejection of a traced submit that its caller ignores is unhandled, once', async () => {
  const { stdout } = await runProgram(`
    const { LocalDistributedQueue, Submitter } = await import('corelane')
    const heard = []
    require('node:diagnostics_channel').tracingChannel('corelane:enqueue').subscribe({
      error: ({ error }) => heard.push(error.code),
      asyncEnd: ({ type }) => heard.push(type),
    })
    process.on('unhandledRejection', ({ code }) => heard.push('unhandled ' + code))
    const submitter = new Submitter(LocalDistributedQueue.auto())
    const ignored = submitter.submit('lane', 'noop', 1)
    await submitter.close()
    await new Promise((resolve) => setImmediate(resolve))
    console.log(heard.join())`)
  const code = 'CORELANE_SUBMITTER_CLOSED'
  expect(stdout.trim()).toBe(`${code},noop,unhandled ${code}`)
})

test('a trace that is no JSON stays in its process', async () => {
  end()
  const { channel } = await import('node:diagnostics_channel')
  const start = channel('tracing:corelane:enqueue:start')
  const mark = (command: unknown) => Object.assign(command as object, { carrier: 'mine' })
  start.subscribe(mark)
  const queue = openQueue(PartitionConfig.single())
  await within(openSubmitter(queue).enqueue('lane', 'noop', 1), 'the command')
  start.unsubscribe(mark)
  expect((await queue.dequeue(0))!.options?.trace).toBeUndefined()
})

describeWithRedis('a queue on Redis', () => {
  test('carries the trace of a submitter to a worker in another process', async () => {
    const redis = await startRedis()
    const place = { url: redis.url, queue: 'traced', durability: 'ignore' } as const
    const worker = runProgram(
      `
      const { PartitionConfig, QueueManager: Manager, WorkerPool } = await import('corelane')
      const { RedisDistributedQueue } = await import('corelane/redis')
      const { trace } = await import('@opentelemetry/api')
      const sdk = await import('@opentelemetry/sdk-trace-base')
      const exporter = new sdk.InMemorySpanExporter()
      const spanProcessors = [new sdk.SimpleSpanProcessor(exporter)]
      trace.setGlobalTracerProvider(new sdk.BasicTracerProvider({ spanProcessors }))
      ;(await import('corelane/opentelemetry')).instrument()
      const manager = Manager.create({
        handlers: new URL('file://' + process.cwd() + '/test/fixtures/traced.js'),
        partitions: PartitionConfig.single(),
        lanes: { lane: {} },
      })
      const queue = await RedisDistributedQueue.open({
        ...${JSON.stringify(place)}, partitions: PartitionConfig.single(),
      })
      const pool = new WorkerPool(queue, manager)
      await pool.start()
      while (pool.stats().completed < 2) await new Promise((resolve) => setTimeout(resolve, 10))
      await pool.drain()
      await manager.close()
      await queue.close()
      console.log(JSON.stringify(exporter.getFinishedSpans().map(({ name }) => name)))`,
      60_000,
    )
    const partitions = PartitionConfig.single()
    const queue = keep(await RedisDistributedQueue.open({ ...place, partitions }))
    const submitter = openSubmitter(queue)
    await inRequest(() => within(submitter.submit('lane', 'sync', 1), 'the command', 60_000))
    const send = named(mainSpans(), 'send sync')
    const thread = (await within(submitter.submit('lane', 'spans'), 'the spans', 60_000)) as Seen[]
    const run = named(thread, 'process sync')
    expect(run).toMatchObject({ parent: send.id, kind: SpanKind.CONSUMER, traceId: send.traceId })
    expect(named(thread, 'child').parent).toBe(run.id)
    const { code, stdout, stderr } = await worker
    expect([code, stderr]).toEqual([0, ''])
    // The worker submits nothing: its spans are those of runs.
    expect(JSON.parse(stdout)).toEqual([])
  })
})
