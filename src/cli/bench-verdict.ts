// Bench verdict: which strategy to choose, in a sentence.

import type { PartitionStrategy } from '../index.ts'
import type { TrialFigures } from './bench-trial.ts'

/** What the trials of one strategy with one workload gave: medians, and the range of the rate. */
export interface StrategyRow extends TrialFigures {
  readonly perSecondMin: number
  readonly perSecondMax: number
}

/** Figures of one workload, by strategy. */
export type StrategyFigures = Readonly<Partial<Record<PartitionStrategy, StrategyRow>>>

/** Waits that are closer than this, and than a millisecond, are the same. */
const SAME = 0.8
const SAME_MS = 1

/** Strategies that keep the order of a key. */
const ORDERED: readonly PartitionStrategy[] = ['hash', 'single']

function number(value: number): string {
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0
  return value.toLocaleString('en-US', { maximumFractionDigits: digits })
}

/**
 * Of some strategies those that no other beats: as fast as the fastest, as far as trials tell, and
 * with waits as short. The best is first.
 */
function leaders(
  figures: StrategyFigures,
  among: readonly PartitionStrategy[],
): readonly PartitionStrategy[] {
  const known = among.filter((name) => figures[name] !== undefined)
  const [fastest] = known.sort((a, b) => figures[b]!.perSecond - figures[a]!.perSecond)
  if (fastest === undefined) return []
  // The ranges of their trials overlap.
  const fast = known.filter((name) => figures[name]!.perSecondMax >= figures[fastest]!.perSecondMin)
  const least = Math.min(...fast.map((name) => figures[name]!.waitP99))
  return fast
    .filter((name) => {
      const { waitP99 } = figures[name]!
      return least >= waitP99 * SAME || waitP99 - least < SAME_MS
    })
    .sort((a, b) => figures[a]!.waitP99 - figures[b]!.waitP99)
}

/**
 * Says which strategy to choose and why.
 *
 * @param hasKeys - Whether commands have keys, so that their order may matter.
 * @param rounds - Trials of each.
 */
export function verdict(
  workload: string,
  figures: StrategyFigures,
  hasKeys: boolean,
  rounds: number,
): string {
  const all = Object.keys(figures) as PartitionStrategy[]
  const failed = all.find((name) => figures[name]!.failure !== undefined)
  if (failed !== undefined) {
    return `${workload}: no advice, since a command failed under ${failed}: ${figures[failed]!.failure}`
  }
  if (rounds < 2)
    return `${workload}: no advice from one round; see how far trials differ with --rounds 3.`
  const [chosen, ...others] = leaders(figures, all)
  if (chosen === undefined) return `${workload}: no strategy could run it.`
  const { perSecond } = figures[chosen]!
  const said = (name: PartitionStrategy) => {
    const { perSecondMin, perSecondMax, waitP99 } = figures[name]!
    return `${name} ${number(perSecondMin)} to ${number(perSecondMax)}/s, 99 % start within ${number(waitP99)} ms`
  }
  const [ordered] = leaders(figures, ORDERED)
  const keeps = ordered !== undefined && [chosen, ...others].find((name) => ORDERED.includes(name))
  if (others.length > 0) {
    const words = `${workload}: too close to call: ${[chosen, ...others].map(said).join('; ')}`
    if (!hasKeys || !keeps) return `${words}.`
    return `${words}. ${keeps} also keeps the order of each key.`
  }
  const [rival] = leaders(
    figures,
    all.filter((name) => name !== chosen),
  )
  const words = `${workload}: choose ${said(chosen)}${rival === undefined ? '' : ` (${said(rival)})`}`
  if (!hasKeys || ordered === undefined) return `${words}.`
  if (ordered === chosen) return `${words}, and the order of each key is kept.`
  const share = number((figures[ordered]!.perSecond / perSecond) * 100)
  return `${words}; where the commands of a key must run in order, choose ${ordered}, with ${share} % of that throughput.`
}
