// The door for users of Piscina: the class, and its static members by name.
// Thread: main, and any thread for static members.

export { LaneTaskQueue, type LaneTaskQueueOptions } from './adapters/lane-task-queue.ts'
export type { CloseOptions } from './adapters/piscina.ts'
export { isWorkerThread, Piscina, version, workerData } from './adapters/piscina.ts'
export type { FilledOptions, Options, PiscinaLoadBalancer } from './adapters/piscina-options.ts'
export type {
  PiscinaHistogram,
  PiscinaHistogramSummary,
  PiscinaTask,
  PiscinaWorker,
  RunOptions,
} from './adapters/piscina-task.ts'
export {
  ArrayTaskQueue,
  FixedQueue,
  queueOptionsSymbol,
  type Task,
  type TaskQueue,
} from './adapters/task-queues.ts'
export { move, type Transferable, transferableSymbol, valueSymbol } from './model/transferable.ts'
