// Uses: what an application writes, with the doors of the package. Compiled, never run, by each
// version of TypeScript, as an ES module and as CommonJS.

import {
  AlertManager,
  type CommandEnvelope,
  ConfigError,
  closeOnSignals,
  type DistributedQueue,
  handlersAt,
  LaneConfig,
  LaneError,
  LocalDistributedQueue,
  PartitionConfig,
  QueueManager,
  QueueManagerBuilder,
  QueueMetrics,
  QueueMonitor,
  RateLimitConfig,
  RetryPolicy,
  Submitter,
  WorkerPool,
} from 'corelane'
import { type CommandContext, defineHandlers, move } from 'corelane/handler'
import { Worker as Farm } from 'corelane/jest-worker'
import { instrument } from 'corelane/opentelemetry'
import { LaneTaskQueue, move as moved, Piscina, type Transferable } from 'corelane/piscina'
import { prometheusHandler, prometheusText } from 'corelane/prometheus'
import { inlineManager, queueContract } from 'corelane/testing'

const handlers = defineHandlers({
  double: (n: number) => n * 2,
  later: async (at: Date, context: CommandContext) => new Map([[context.id, at]]),
  bytes: (length: number) => move(new Uint8Array(length)),
  async *count(to: number): AsyncGenerator<number, string> {
    for (let i = 0; i < to; i++) yield i
    return 'end'
  },
})
type Handlers = typeof handlers

export async function run(signal: AbortSignal): Promise<void> {
  const manager = new QueueManager({
    handlers: handlersAt<Handlers>(new URL('file:///handlers.js')),
    entry: new URL('file:///corelane-entry.cjs'),
    partitions: PartitionConfig.hash(2),
    env: { ...process.env, MODE: 'test' },
    lanes: { api: new LaneConfig(0, 4).withRateLimit(RateLimitConfig.perSecond(10)), slow: {} },
  })
  await manager.start()
  const doubled: number = await manager.run('double', 2, { signal, key: 'a' })
  const later: Map<string, Date> = await manager.submit('api', 'later', new Date(doubled))
  const bytes: Uint8Array = await manager.run('bytes', later.size)
  for await (const i of manager.stream('slow', 'count', bytes.length)) i.toFixed()
  for await (const event of manager.subscribe()) void event
  // @ts-expect-error: the payload is a number.
  await manager.run('double', 'two')
  // @ts-expect-error: there is no such lane.
  await manager.run('double', 2, { lane: 'query' })
  // @ts-expect-error: there is no such handler.
  await manager.run('triple', 2)
  const api = manager.handlers()
  const again: number = await api.double(again0)
  closeOnSignals(manager, { signals: ['SIGTERM'] })
  await manager.drain(again)
  await manager.close()
}

declare const again0: number

export async function build(): Promise<QueueManager<Handlers>> {
  return new QueueManagerBuilder<Handlers>()
    .withHandlers('handlers.js')
    .withDefaultLanes()
    .withLane('api', new LaneConfig(1, 2).withRetryPolicy(RetryPolicy.exponential(3)), 0)
    .build()
}

export async function distribute(manager: QueueManager<Handlers>): Promise<CommandEnvelope[]> {
  const queue = new LocalDistributedQueue({ count: 1 })
  const queues: DistributedQueue[] = [queue]
  const pool = new WorkerPool(queue, manager)
  await pool.start()
  const submitter = new Submitter(queue)
  await submitter.submit('api', 'double', 2)
  queueContract({ open: async () => queue } as never)
  await submitter[Symbol.asyncDispose]()
  return queues.map(() => ({}) as CommandEnvelope)
}

export async function watch(manager: QueueManager<Handlers>): Promise<number> {
  const metrics: QueueMetrics = QueueMetrics.local()
  const alerts = new AlertManager(manager).start()
  const monitor = new QueueMonitor(manager)
  const end: () => void = instrument()
  const handle = prometheusHandler(manager)
  handle satisfies (...given: never[]) => void
  end()
  monitor.stop()
  alerts.stop()
  return prometheusText(manager).length + Object.keys(metrics.snapshot().lanes).length
}

export async function otherDoors(bytes: Uint8Array): Promise<unknown> {
  const pool = new Piscina({ filename: '/worker.js', taskQueue: new LaneTaskQueue() })
  const transferable: Transferable = moved(bytes as never) as never
  const result: unknown = await pool.run({ transferable }, { name: 'double' })
  await pool.close()
  const farm = new Farm('/farm.js', { numWorkers: 2 })
  const { forceExited }: { forceExited: boolean } = await farm.end()
  const inline = inlineManager({ handlers: { double: (n: number) => n * 2 } })
  const doubled: number = await inline.run('double', 2)
  return [result, forceExited, doubled]
}

export function codeOf(error: unknown): string {
  if (error instanceof LaneError && error.is('CORELANE_TIMEOUT'))
    return error.details.timeoutMs.toFixed()
  if (error instanceof ConfigError) return `${error.code}: ${String(error.details.option)}`
  return error instanceof LaneError ? error.code : 'unknown'
}
