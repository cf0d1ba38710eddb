// The class as default export, and its static members as named ones.

export {
  ArrayTaskQueue,
  FixedQueue,
  isWorkerThread,
  LaneTaskQueue,
  move,
  Piscina,
  Piscina as default,
  queueOptionsSymbol,
  transferableSymbol,
  valueSymbol,
  version,
  workerData,
} from 'corelane/piscina'
