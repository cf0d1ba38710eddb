// Piscina histogram: run and wait times in the shape that Piscina gives them.
// Owns: the recorded times.

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

const PERCENTILES = [
  0.001, 0.01, 0.1, 1, 2.5, 10, 25, 50, 75, 90, 97.5, 99, 99.9, 99.99, 99.999,
] as const

type PercentileName =
  | `p0_${'001' | '01' | '1'}`
  | `p${'1' | '2_5' | '10' | '25' | '50' | '75' | '90' | '97_5'}`
  | `p99${'' | '_9' | '_99' | '_999'}`

/** Times of many tasks, in milliseconds. */
export type PiscinaHistogramSummary = Record<
  'average' | 'mean' | 'stddev' | 'min' | 'max' | PercentileName,
  number
>

/** What a pool shows of its times. */
export interface PiscinaHistogram {
  readonly runTime: PiscinaHistogramSummary | undefined
  readonly waitTime: PiscinaHistogramSummary | undefined
  /** Forgets the run times. */
  resetRunTime(): void
  /** Forgets the wait times. */
  resetWaitTime(): void
}

/**
 * The figures of a histogram.
 *
 * @param histogram - In microseconds.
 */
export function summaryOf(histogram: RecordableHistogram): PiscinaHistogramSummary {
  const { mean, stddev, min, max } = histogram
  const figures: Record<string, number> = { average: mean, mean, stddev, min, max }
  for (const percent of PERCENTILES) {
    figures[`p${String(percent).replace('.', '_')}`] = histogram.percentile(percent)
  }
  for (const name of Object.keys(figures)) figures[name]! /= 1000
  return figures as PiscinaHistogramSummary
}

/**
 * Records a time.
 *
 * @param histogram - Where.
 * @param ms - The time in milliseconds.
 */
export function record(histogram: RecordableHistogram, ms: number): void {
  histogram.record(Math.max(1, Math.trunc(ms * 1000)))
}

/** Run and wait times of a pool. */
export class Times implements PiscinaHistogram {
  readonly run: RecordableHistogram = createHistogram()
  readonly wait: RecordableHistogram = createHistogram()

  get runTime(): PiscinaHistogramSummary {
    return summaryOf(this.run)
  }

  get waitTime(): PiscinaHistogramSummary {
    return summaryOf(this.wait)
  }

  resetRunTime(): void {
    this.run.reset()
  }

  resetWaitTime(): void {
    this.wait.reset()
  }
}
