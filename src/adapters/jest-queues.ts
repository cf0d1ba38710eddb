// Jest queues: the task queues of jest-worker, and the farm that feeds workers from one.
// Owns: the calls that wait, and which workers are busy.
// Must not: run a call itself.

import { type HeapPlace, IndexedHeap } from '../schedule/indexed-heap.ts'

/** A call: its kind, whether a worker has taken it, the method, the arguments. */
export type CallRequest = [kind: 1, isProcessed: boolean, method: string, args: unknown[]]

/** A worker, as a call learns of it. */
export interface StartedWorker {
  /** Its number, from 0. */
  getWorkerId(): number
}

/** Called when a worker takes a call. */
export type OnStart = (worker: StartedWorker) => void
/** Called once, with the error or the result of a call. */
export type OnEnd = (error: unknown, result: unknown) => void
/** Takes a message of a call. */
export type OnMessage = (message: unknown) => void

/** What a task queue holds. */
export interface QueueChildMessage {
  readonly request: CallRequest
  readonly onStart: OnStart
  readonly onEnd: OnEnd
  readonly onCustomMessage: OnMessage
}

/** Decides which call a worker runs next. */
export interface TaskQueue {
  /**
   * Adds a call.
   *
   * @param workerId - The worker that is to run it. Default: any.
   */
  enqueue(task: QueueChildMessage, workerId?: number): void
  /** Takes the next call of a worker; null if there is none. */
  dequeue(workerId: number): QueueChildMessage | null
}

/** Computes how urgent a call is; the least goes first. */
export type ComputeTaskPriority = (method: string, ...args: unknown[]) => number

/** A promise of a farm: listeners take what the method sends by `messageParent`. */
export interface PromiseWithCustomMessage<T> extends Promise<T> {
  /** Adds a listener; gives what removes it. */
  UNSTABLE_onCustomMessage?: (listener: OnMessage) => () => void
}

interface Ranked extends HeapPlace {
  readonly task: QueueChildMessage
  readonly rank: number
  readonly sequence: number
}

/** Calls in order: those of one worker before those of all that have the same rank. */
class RankedQueue implements TaskQueue {
  readonly #shared = new IndexedHeap<Ranked>(isBefore, (item) => item)
  readonly #own = new Map<number, IndexedHeap<Ranked>>()
  readonly #rankOf: (task: QueueChildMessage, sequence: number) => number
  #sequence = 0

  constructor(rankOf: (task: QueueChildMessage, sequence: number) => number) {
    this.#rankOf = rankOf
  }

  /** Adds a call, for one worker or for any. */
  enqueue(task: QueueChildMessage, workerId?: number): void {
    const sequence = this.#sequence++
    const rank = this.#rankOf(task, sequence)
    let heap = workerId === undefined ? this.#shared : this.#own.get(workerId)
    if (heap === undefined) {
      heap = new IndexedHeap<Ranked>(isBefore, (item) => item)
      this.#own.set(workerId!, heap)
    }
    heap.put({ task, rank, sequence, place: -1 })
  }

  /** Takes the next call of a worker; null if there is none. */
  dequeue(workerId: number): QueueChildMessage | null {
    const own = this.#own.get(workerId)
    const [mine, any] = [own?.peek(), this.#shared.peek()]
    const isMine = mine !== undefined && (any === undefined || mine.rank <= any.rank)
    return (isMine ? own! : this.#shared).pop()?.task ?? null
  }
}

function isBefore(a: Ranked, b: Ranked): boolean {
  return a.rank < b.rank || (a.rank === b.rank && a.sequence < b.sequence)
}

/** First in, first out, over the calls of all workers and of each. */
export class FifoQueue extends RankedQueue {
  constructor() {
    super((_, sequence) => sequence)
  }
}

/** The call with the least priority number goes first. */
export class PriorityQueue extends RankedQueue {
  /** @param computePriority - Called with the method and its arguments. */
  constructor(computePriority: ComputeTaskPriority) {
    super(({ request: [, , method, args] }) => computePriority(method, ...args))
  }
}

/** Listeners of the messages of one call. */
export class CustomMessages {
  #listeners: Set<OnMessage> | undefined

  readonly emit = (message: unknown): void => {
    for (const listener of this.#listeners ?? []) listener(message)
  }

  /** Lets the promise of the call be listened to. */
  of<T>(promise: PromiseWithCustomMessage<T>): PromiseWithCustomMessage<T> {
    promise.UNSTABLE_onCustomMessage = (listener) => {
      this.#listeners ??= new Set()
      this.#listeners.add(listener)
      return () => this.#listeners!.delete(listener)
    }
    return promise
  }
}

/** Runs a call on a worker. */
export type SendCall = (
  workerId: number,
  request: CallRequest,
  onStart: OnStart,
  onEnd: OnEnd,
  onCustomMessage: OnMessage,
) => void

/** How a farm chooses workers. */
export interface FarmPlan {
  readonly workers: number
  readonly taskQueue: TaskQueue
  readonly computeWorkerKey: ((method: string, ...args: unknown[]) => string | null) | undefined
  readonly workerSchedulingPolicy: 'round-robin' | 'in-order' | undefined
}

/** Gives each worker one call at a time, as its queue has them. */
export class Farm {
  readonly #plan: FarmPlan
  readonly #send: SendCall
  readonly #isBusy: boolean[] = []
  readonly #keys = new Map<string, StartedWorker>()
  #offset = 0

  /** @param send - Runs a call on a worker. */
  constructor(plan: FarmPlan, send: SendCall) {
    this.#plan = plan
    this.#send = send
  }

  /** Queues a call. */
  call(method: string, args: unknown[]): PromiseWithCustomMessage<unknown> {
    const { computeWorkerKey, taskQueue } = this.#plan
    const request: CallRequest = [1, false, method, args]
    const computed = computeWorkerKey?.(method, ...args) ?? null
    const key = computed === null ? null : String(computed)
    const worker = key === null ? undefined : this.#keys.get(key)
    const messages = new CustomMessages()
    return messages.of(
      new Promise((resolve, reject) => {
        const onStart = (started: StartedWorker) => {
          if (key !== null) this.#keys.set(key, started)
        }
        const onEnd: OnEnd = (error, result) => (error ? reject(error) : resolve(result))
        const task = { request, onStart, onEnd, onCustomMessage: messages.emit }
        taskQueue.enqueue(task, worker?.getWorkerId())
        if (worker !== undefined) this.#feed(worker.getWorkerId())
        else this.#feedAny(request)
      }),
    )
  }

  #feedAny(request: CallRequest): void {
    const { workers, workerSchedulingPolicy } = this.#plan
    const first = workerSchedulingPolicy === 'in-order' ? 0 : this.#offset++
    for (let i = 0; i < workers && !request[1]; i++) this.#feed((first + i) % workers)
  }

  #feed(workerId: number): void {
    if (this.#isBusy[workerId]) return
    const task = this.#plan.taskQueue.dequeue(workerId)
    if (task === null) return
    const { request, onStart, onEnd, onCustomMessage } = task
    if (request[1]) throw new Error('Queue implementation returned processed task')
    request[1] = true
    this.#isBusy[workerId] = true
    const end: OnEnd = (error, result) => {
      onEnd(error, result)
      this.#isBusy[workerId] = false
      this.#feed(workerId)
    }
    this.#send(workerId, request, onStart, end, onCustomMessage)
  }
}
