// Bench verdict: which strategy to choose, in a sentence.
// Thread: main.   Owns: nothing.

import type { PartitionStrategy } from '../index.ts'
import type { TrialFigures } from './bench-trial.ts'

/** Figures of one workload, by strategy. */
export type StrategyFigures = Readonly<Partial<Record<PartitionStrategy, TrialFigures>>>

/** Throughputs closer than this are the same: the wait decides then. */
const SAME = 0.95

/** Strategies that keep the order of a key. */
const ORDERED: readonly PartitionStrategy[] = ['hash', 'none']

function number(value: number): string {
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0
  return value.toLocaleString('en-US', { maximumFractionDigits: digits })
}

/** Of some strategies the fastest, or among those as fast the one whose slowest wait least. */
function best(
  figures: StrategyFigures,
  among: readonly PartitionStrategy[],
): PartitionStrategy | undefined {
  const known = among.filter((name) => figures[name] !== undefined)
  const most = Math.max(...known.map((name) => figures[name]!.perSecond))
  const fast = known.filter((name) => figures[name]!.perSecond >= most * SAME)
  return fast.sort((a, b) => figures[a]!.waitP99 - figures[b]!.waitP99)[0]
}

/**
 * Says which strategy to choose and why.
 *
 * @param workload - Its name.
 * @param figures - By strategy; without a failure.
 * @param hasKeys - Whether commands have keys, so that their order may matter.
 */
export function verdict(workload: string, figures: StrategyFigures, hasKeys: boolean): string {
  const all = Object.keys(figures) as PartitionStrategy[]
  const chosen = best(figures, all)
  if (chosen === undefined) return `${workload}: no strategy could run it.`
  const { perSecond, waitP99 } = figures[chosen]!
  const why = `${number(perSecond)} commands/s, and 99 % of them start within ${number(waitP99)} ms`
  const rival = best(
    figures,
    all.filter((name) => name !== chosen && name !== 'none'),
  )
  const compared =
    rival === undefined
      ? ''
      : ` (${rival}: ${number(figures[rival]!.perSecond)}/s and ${number(figures[rival]!.waitP99)} ms)`
  const ordered = best(figures, ORDERED)
  if (!hasKeys || ordered === undefined) {
    return `${workload}: choose ${chosen}: ${why}${compared}.`
  }
  if (ORDERED.includes(chosen)) {
    return `${workload}: choose ${chosen}: ${why}${compared}, and the order of each key is kept.`
  }
  const share = figures[ordered]!.perSecond / perSecond
  const price = `${number(share * 100)} % of that throughput`
  return `${workload}: choose ${chosen}: ${why}${compared}; where the commands of a key must run in order, choose ${ordered}, with ${price}.`
}
