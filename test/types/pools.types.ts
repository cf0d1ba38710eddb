// Types of the classes for users of other pools, and of crash records: compiled, never run. A line
// under @ts-expect-error must fail to compile, and tsc complains if it does not.

import { type CrashRecord, PartitionLostError } from 'corelane'
import {
  FifoQueue,
  type JestWorkerFarm,
  messageParent,
  PriorityQueue,
  type QueueChildMessage,
  type TaskQueue,
  Worker,
  type WorkerFarmOptions,
  type WorkerPoolInterface,
} from 'corelane/jest-worker'
import { Piscina } from 'corelane/piscina'

/** The last in is the first out. */
class Stack implements TaskQueue {
  readonly #tasks: QueueChildMessage[] = []

  enqueue(task: QueueChildMessage): void {
    this.#tasks.push(task)
  }

  dequeue(): QueueChildMessage | null {
    return this.#tasks.pop() ?? null
  }
}

declare const Pool: new (path: string) => WorkerPoolInterface
const farm = new Worker('/farm.js', {
  maxRetries: 0,
  idleMemoryLimit: 0.5,
  workerGracefulExitTimeout: 100,
  taskQueue: new PriorityQueue((method, ...args) => (method === 'first' ? 0 : args.length)),
  WorkerPool: Pool,
})
new Worker(new URL('file:///farm.js'), { taskQueue: new FifoQueue() })
new Worker('/farm.js', { taskQueue: new Stack() })

// @ts-expect-error a queue that nothing can be taken from
new Worker('/farm.js', { taskQueue: { enqueue() {} } })

// @ts-expect-error a priority is a number
new PriorityQueue(() => 'high')

const forced: boolean = (await farm.end()).forceExited
messageParent({ forced })

const options: WorkerFarmOptions = { numWorkers: 1 }
const known = new Worker('/farm.js', options) as JestWorkerFarm<{ add(a: number): Promise<string> }>
const sum: string = await known.add(1)
messageParent(sum)

const pool = new Piscina<number, string>({ filename: '/handler.js', concurrentTasksPerWorker: 100 })
const { signal } = new AbortController()
const text: string = await pool.run(1, { signal, lane: 'control', timeoutMs: 5 })

// @ts-expect-error the task is a number
await pool.run(text)

try {
  await pool.run(1)
} catch (error) {
  if (error instanceof PartitionLostError) {
    const crash: CrashRecord | undefined = error.crash
    const lines: readonly string[] = crash?.output ?? []
    const ids: readonly string[] = crash?.commands.map(({ id }) => id) ?? lines
    console.log(ids, crash?.stack, crash?.exitCode)
  }
}
