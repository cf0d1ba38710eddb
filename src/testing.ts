// The door for people who write a queue of their own: the contract that every engine passes.
// Thread: main.   Owns: nothing.

export type { ContractSettings, OpenQueue } from './distributed/testing/contract-stage.ts'
export {
  type ContractCase,
  type LeftOutCase,
  leftOutOfContract,
  type QueueContractOptions,
  queueContract,
} from './distributed/testing/queue-contract.ts'
