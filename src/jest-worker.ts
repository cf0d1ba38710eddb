// The door for users of jest-worker.
// Thread: main; `messageParent` is for threads.

export {
  type CallRequest,
  type ComputeTaskPriority,
  FifoQueue,
  type OnEnd,
  type OnMessage,
  type OnStart,
  PriorityQueue,
  type PromiseWithCustomMessage,
  type QueueChildMessage,
  type SendCall,
  type StartedWorker,
  type TaskQueue,
} from './adapters/jest-queues.ts'
export {
  type FarmOptions,
  type FarmOptions as WorkerFarmOptions,
  type JestWorkerFarm,
  messageParent,
  Worker,
  type WorkerPoolInterface,
  type WorkerPoolOptions,
} from './adapters/jest-worker.ts'
