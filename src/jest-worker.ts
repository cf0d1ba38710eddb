// The door for users of jest-worker.
// Thread: main.   Owns: nothing.

export { type FarmOptions, Worker } from './adapters/jest-worker.ts'
