// The door for users of Piscina: the class, and its static members by name.
// Thread: main, and any thread for static members.   Owns: nothing.

export type { CloseOptions, RunOptions } from './adapters/piscina.ts'
export { isWorkerThread, Piscina, version, workerData } from './adapters/piscina.ts'
export type { PiscinaHistogram, PiscinaHistogramSummary } from './adapters/piscina-histogram.ts'
export type { FilledOptions, Options, PiscinaLoadBalancer } from './adapters/piscina-options.ts'
export {
  ArrayTaskQueue,
  FixedQueue,
  LaneTaskQueue,
  type LaneTaskQueueOptions,
  queueOptionsSymbol,
  type Task,
  type TaskQueue,
} from './adapters/piscina-queues.ts'
export {
  move,
  type PiscinaTask,
  type PiscinaWorker,
  type Transferable,
  transferableSymbol,
  valueSymbol,
} from './adapters/piscina-task.ts'
