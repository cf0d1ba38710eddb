// The door for tests: a manager without threads, and the contract that every engine of a queue
// passes.
// Thread: main.

export {
  type InlineManager,
  type InlineOptions,
  inlineManager,
} from './coordinator/inline-manager.ts'
export type { QueueContractOptions } from './distributed/testing/contract-case.ts'
export type { ContractSettings, OpenQueue } from './distributed/testing/contract-stage.ts'
export {
  type ContractCase,
  type LeftOutCase,
  leftOutOfContract,
  queueContract,
} from './distributed/testing/queue-contract.ts'
