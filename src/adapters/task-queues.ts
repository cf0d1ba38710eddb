// Task queues: the interface of task queues, as Piscina has it, and its two classes.
// Owns: the order of their tasks.

import { Deque } from '../base/deque.ts'

/** Under this symbol a task carries the options of its queue. */
export const queueOptionsSymbol: unique symbol = Symbol.for('Piscina.queueOptions') as never

/** What a task queue holds. */
export interface Task {
  readonly [queueOptionsSymbol]: object | null
}

/** Decides which task goes next. */
export interface TaskQueue {
  /** Tasks that wait. */
  readonly size: number
  /** Takes the next task; null if there is none. */
  shift(): Task | null
  /** Takes a task out, if it is there. */
  remove(task: Task): void
  /** Adds a task behind the others. */
  push(task: Task): void
  /** Adds a task before the others. */
  unshift?(task: Task): void
}

/** Whether a value has the members that a task queue must have. */
export function isTaskQueue(value: unknown): value is TaskQueue {
  const queue = value as Partial<TaskQueue> | null
  const hasSize = typeof queue === 'object' && queue !== null && 'size' in queue
  return (
    hasSize && [queue.shift, queue.remove, queue.push].every((one) => typeof one === 'function')
  )
}

/** First in, first out, in an array. */
export class ArrayTaskQueue implements TaskQueue {
  tasks: Task[] = []

  get size(): number {
    return this.tasks.length
  }

  shift(): Task | null {
    return this.tasks.shift() ?? null
  }

  push(task: Task): void {
    this.tasks.push(task)
  }

  unshift(task: Task): void {
    this.tasks.unshift(task)
  }

  remove(task: Task): void {
    const index = this.tasks.indexOf(task)
    if (index >= 0) this.tasks.splice(index, 1)
  }
}

/** First in, first out, in constant time; `remove` looks through all. */
export class FixedQueue implements TaskQueue {
  readonly #tasks = new Deque<Task>()

  get size(): number {
    return this.#tasks.length
  }

  /** Whether no task waits. */
  isEmpty(): boolean {
    return this.size === 0
  }

  shift(): Task | null {
    return this.#tasks.shift() ?? null
  }

  push(task: Task): void {
    this.#tasks.push(task)
  }

  unshift(task: Task): void {
    this.#tasks.unshift(task)
  }

  remove(task: Task): void {
    this.#tasks.filter((one) => one !== task)
  }
}
