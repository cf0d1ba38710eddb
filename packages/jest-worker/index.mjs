// The classes by their names, and the farm as default.

export {
  FifoQueue,
  messageParent,
  PriorityQueue,
  Worker,
  Worker as default,
} from 'corelane/jest-worker'
