// Contract case: one sentence of the contract, and what an engine must be able to do for it.
// Owns: nothing; data only.

import type { LeasedQueue, QueueCapabilities } from '../contract/distributed-queue.ts'
import type { ContractSettings, ContractStage, OpenQueue } from './contract-stage.ts'

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

/** What an engine may need for a case besides its capabilities, and whether it has it. */
const NEEDS = {
  /** Delivers at least once, by leases that expire. */
  leases: ({ capabilities }) => capabilities.delivery === 'at-least-once',
  boosts: ({ capabilities }) => capabilities.boost !== 'none',
  commandBoost: ({ capabilities }) => capabilities.boost === 'command',
  rates: ({ capabilities }) => capabilities.globalRate.length > 0,
  clones: ({ carriesClones }) => carriesClones === true,
  maxBytes: ({ maxBytes }) => maxBytes !== undefined,
} satisfies Readonly<Record<string, (engine: QueueContractOptions) => boolean>>

/** Capabilities that an engine has or has not. */
type Capability = {
  [K in keyof QueueCapabilities]: QueueCapabilities[K] extends boolean ? K : never
}[keyof QueueCapabilities]

export type ContractNeed = keyof typeof NEEDS | Capability

/** Plays a sentence. For each parameter after the stage it is given a queue: of w1, of w2 … */
type Play = (stage: ContractStage, ...queues: LeasedQueue[]) => Promise<void>

/** One sentence of the contract. */
export interface CaseOfContract {
  /** The sentence. */
  readonly name: string
  readonly needs: readonly ContractNeed[]
  readonly settings: Partial<ContractSettings>
  readonly run: Play
}

/** How cases differ from most. */
export interface CaseOptions extends Partial<ContractSettings> {
  readonly needs?: readonly ContractNeed[]
}

/** The sentences of a part of the contract. */
export class ContractCases {
  readonly all: CaseOfContract[] = []

  /**
   * A way to state sentences.
   *
   * @param options - How they differ from most.
   * @returns Takes them: by sentence, a play that fails if an engine does not keep it.
   */
  where({ needs = [], ...settings }: CaseOptions): (plays: Readonly<Record<string, Play>>) => void {
    return (plays) => {
      for (const [name, run] of Object.entries(plays)) this.all.push({ name, needs, settings, run })
    }
  }
}

/** What a case needs that an engine does not have. */
export function lacks(engine: QueueContractOptions, { needs }: CaseOfContract): ContractNeed[] {
  return needs.filter((need) =>
    need in NEEDS
      ? !NEEDS[need as keyof typeof NEEDS](engine)
      : !engine.capabilities[need as Capability],
  )
}
