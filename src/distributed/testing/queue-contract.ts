// Queue contract: the suite that every engine passes, for any runner of tests.
// Owns: nothing; each case opens a queue of its own.

import { COMMAND_CASES } from './command-cases.ts'
import { type CaseOfContract, lacks, type QueueContractOptions } from './contract-case.ts'
import { ContractStage } from './contract-stage.ts'
import { END_CASES } from './end-cases.ts'
import { ENQUEUE_CASES } from './enqueue-cases.ts'
import { EXPIRY_CASES } from './expiry-cases.ts'
import { LEASE_CASES } from './lease-cases.ts'
import { LIFE_CASES } from './life-cases.ts'
import { LIMIT_CASES } from './limit-cases.ts'

const CASES: readonly CaseOfContract[] = [
  ENQUEUE_CASES,
  LEASE_CASES,
  END_CASES,
  EXPIRY_CASES,
  COMMAND_CASES,
  LIMIT_CASES,
  LIFE_CASES,
].flatMap(({ all }) => all)

/** One sentence of the contract, to be run by a runner of tests. */
export interface ContractCase {
  readonly name: string
  /** Rejects with an AssertionError if the engine does not keep the sentence. */
  readonly run: () => Promise<void>
}

/** A sentence of the contract that an engine does not claim to keep. */
export interface LeftOutCase {
  readonly name: string
  /** What it would need. */
  readonly needs: readonly string[]
}

async function play(one: CaseOfContract, options: QueueContractOptions): Promise<void> {
  const { open, settings, maxBytes } = options
  const stage = new ContractStage(open, { ...settings, ...one.settings }, maxBytes)
  try {
    const names = Array.from({ length: one.run.length - 1 }, (_, index) => `w${index + 1}`)
    await one.run(stage, ...(await stage.workers(...names)))
  } finally {
    await stage.close()
  }
}

/**
 * The contract of `LeasedQueue`, sentence by sentence, as far as an engine claims to keep it.
 * Register each case with your runner: `for (const { name, run } of queueContract(…)) test(name,
 * run)`. A case takes up to 2 s, and fails within 30.
 *
 * @returns The cases, in the order of the contract. They may run in any order and side by side.
 */
export function queueContract(options: QueueContractOptions): ContractCase[] {
  return CASES.filter((one) => lacks(options, one).length === 0).map((one) => ({
    name: one.name,
    run: () => play(one, options),
  }))
}

/** The sentences that {@link queueContract} leaves out since the engine does not claim them. */
export function leftOutOfContract(options: QueueContractOptions): LeftOutCase[] {
  return CASES.map((one) => ({ name: one.name, needs: lacks(options, one) })).filter(
    ({ needs }) => needs.length > 0,
  )
}
