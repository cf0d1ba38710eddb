// Queue contract: the suite that every engine passes, for any runner of tests.
// Owns: nothing; each case opens a queue of its own.

import type { QueueCapabilities } from '../contract/distributed-queue.ts'
import { CHAOS_CASES } from './chaos-cases.ts'
import { COMMAND_CASES } from './command-cases.ts'
import type { CaseOfContract, ContractNeed } from './contract-case.ts'
import { type ContractSettings, ContractStage, type OpenQueue } from './contract-stage.ts'
import { END_CASES } from './end-cases.ts'
import { ENQUEUE_CASES } from './enqueue-cases.ts'
import { EXPIRY_CASES } from './expiry-cases.ts'
import { GROUP_CASES } from './group-cases.ts'
import { LEASE_CASES } from './lease-cases.ts'
import { LIFE_CASES } from './life-cases.ts'
import { LIMIT_CASES } from './limit-cases.ts'
import { OPTION_CASES } from './option-cases.ts'
import { ORDER_CASES } from './order-cases.ts'
import { SETTLE_CASES } from './settle-cases.ts'

const CASES: readonly CaseOfContract[] = [
  ...ENQUEUE_CASES,
  ...OPTION_CASES,
  ...LEASE_CASES,
  ...SETTLE_CASES,
  ...EXPIRY_CASES,
  ...END_CASES,
  ...COMMAND_CASES,
  ...ORDER_CASES,
  ...LIMIT_CASES,
  ...GROUP_CASES,
  ...LIFE_CASES,
  ...CHAOS_CASES,
]

/** Options of the suite. */
export interface QueueContractOptions {
  /**
   * Opens a queue as a worker. Called several times with the same `queue` and other workers: they
   * are to share what is in it. Called with another `queue`, it opens an empty one.
   */
  readonly open: OpenQueue
  /** What the engine can do with the strategy `hash`, where it can do most. */
  readonly capabilities: QueueCapabilities
  /** Whether payloads and results may be what a structured clone carries. Default: plain data. */
  readonly carriesClones?: boolean | undefined
  /** Bytes past which the engine refuses a payload. Default: it refuses none for its size. */
  readonly maxBytes?: number | undefined
  /** Settings of cases that do not say otherwise. Default: 4 partitions, `roundRobin`. */
  readonly settings?: Partial<Omit<ContractSettings, 'queue' | 'workerId'>> | undefined
}

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

function abilities(options: QueueContractOptions): ReadonlySet<ContractNeed> {
  const { capabilities, carriesClones, maxBytes } = options
  const has: Record<ContractNeed, boolean> = {
    leases: capabilities.delivery === 'at-least-once',
    lanePriority: capabilities.lanePriority,
    commandPriority: capabilities.commandPriority,
    boost: capabilities.boost !== 'none',
    commandBoost: capabilities.boost === 'command',
    delay: capabilities.delay,
    results: capabilities.results,
    lanes: capabilities.lanes,
    commands: capabilities.commands,
    ages: capabilities.ages,
    keyOrder: capabilities.keyOrder,
    ownership: capabilities.ownership,
    rates: capabilities.globalRate.length > 0,
    slots: capabilities.globalConcurrency,
    groups: capabilities.groups,
    clones: carriesClones === true,
    maxBytes: maxBytes !== undefined,
  }
  return new Set((Object.keys(has) as ContractNeed[]).filter((need) => has[need]))
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
 * @param options - The engine.
 * @returns The cases, in the order of the contract. They may run in any order and side by side.
 */
export function queueContract(options: QueueContractOptions): ContractCase[] {
  const has = abilities(options)
  return CASES.filter(({ needs }) => needs.every((need) => has.has(need))).map((one) => ({
    name: one.name,
    run: () => play(one, options),
  }))
}

/**
 * The sentences that {@link queueContract} leaves out since the engine does not claim them.
 *
 * @param options - The engine, as for the suite.
 */
export function leftOutOfContract(options: QueueContractOptions): LeftOutCase[] {
  const has = abilities(options)
  return CASES.map(({ name, needs }) => ({
    name,
    needs: needs.filter((need) => !has.has(need)),
  })).filter(({ needs }) => needs.length > 0)
}
