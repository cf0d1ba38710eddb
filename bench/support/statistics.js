// Statistics: medians, quartiles and percentiles.
// Thread: any.   Owns: nothing.
// @ts-check

/**
 * A percentile by linear interpolation between the closest ranks.
 *
 * @param {ArrayLike<number>} sorted - Ascending, at least one.
 * @param {number} share - 0 to 1.
 */
export function percentile(sorted, share) {
  const rank = (sorted.length - 1) * share
  const below = /** @type {number} */ (sorted[Math.floor(rank)])
  const above = /** @type {number} */ (sorted[Math.ceil(rank)])
  return below + (above - below) * (rank - Math.floor(rank))
}

/**
 * Median and quartiles.
 *
 * @param {readonly number[]} values - At least one, in any order.
 */
export function summarize(values) {
  const sorted = values.toSorted((a, b) => a - b)
  return {
    median: percentile(sorted, 0.5),
    p25: percentile(sorted, 0.25),
    p75: percentile(sorted, 0.75),
  }
}

/**
 * How two systems compare: the median of the ratios round by round. Both were measured within the
 * same second of each round, so a machine that slows down meanwhile spoils the figures, not these.
 *
 * @param {readonly number[]} ours - By round.
 * @param {readonly number[]} theirs - By round.
 */
export function medianRatio(ours, theirs) {
  const ratios = ours.slice(0, theirs.length).map((value, i) => value / (theirs[i] ?? Number.NaN))
  return ratios.length === 0 ? Number.NaN : summarize(ratios).median
}
