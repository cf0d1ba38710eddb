// Contract case: one sentence of the contract, and what an engine must be able to do for it.
// Owns: nothing; data only.

import type { LeasedQueue } from '../contract/distributed-queue.ts'
import type { ContractSettings, ContractStage } from './contract-stage.ts'

/** What an engine needs for a case; which ones it has follows from its capabilities. */
export type ContractNeed =
  /** Delivers at least once, by leases that expire. */
  | 'leases'
  | 'lanePriority'
  | 'commandPriority'
  /** The head of a lane becomes more urgent as it waits. */
  | 'boost'
  /** Every command becomes more urgent as it waits. */
  | 'commandBoost'
  | 'delay'
  | 'results'
  /** Workers announce their lanes. */
  | 'lanes'
  /** Commands are found and cancelled by their ids. */
  | 'commands'
  /** Measures ages of commands with its own clock. */
  | 'ages'
  | 'keyOrder'
  | 'ownership'
  | 'rates'
  | 'slots'
  /** Groups of a lane take turns, within limits. */
  | 'groups'
  /** Payloads and results may be whatever a structured clone carries. */
  | 'clones'
  /** Refuses payloads past a size. */
  | 'maxBytes'

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

/** How a case differs from most. */
export interface CaseOptions extends Partial<ContractSettings> {
  readonly needs?: readonly ContractNeed[]
}

/**
 * A way to state sentences of the contract.
 *
 * @param options - How they differ from most.
 * @returns Takes the sentence, and what fails if an engine does not keep it.
 */
export function where(options: CaseOptions): (name: string, run: Play) => CaseOfContract {
  const { needs = [], ...settings } = options
  return (name, run) => ({ name, needs, settings, run })
}

/** Sentences for every engine. */
export const always = where({})

/** Sentences for engines that deliver at least once. */
export const leased = where({ needs: ['leases'] })

/** Sentences for engines that can keep commands back. */
export const delaying = where({ needs: ['delay'] })
