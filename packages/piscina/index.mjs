// The class of `require`, as default export, and its static members as named ones.

import Piscina from './index.cjs'

export const {
  ArrayTaskQueue,
  FixedQueue,
  isWorkerThread,
  LaneTaskQueue,
  move,
  queueOptionsSymbol,
  transferableSymbol,
  valueSymbol,
  version,
  workerData,
} = Piscina
export { Piscina, Piscina as default }
