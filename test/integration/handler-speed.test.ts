// Handler speed: a handler's tight loop takes as long as it takes without corelane, on every Node.

import { expect, test } from 'vitest'
import { describeOnNodes } from '../support/nodes.ts'

/** A loop that is stuck in the middle compiler takes 2.6 times as long. */
const RATIO_MAX = 1.6

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!
}

describeOnNodes((run) => {
  test('a handler of any form is as fast as the same function called directly', async () => {
    const forms: Record<string, number[]> = JSON.parse(await run('speed.js', 100_000))
    expect(Object.keys(forms)).toHaveLength(4)
    for (const [form, ratios] of Object.entries(forms)) {
      // The cliff comes after half a second, and stays.
      const late = ratios.slice(-3)
      expect(median(late), `${form}: ${ratios}`).toBeLessThan(RATIO_MAX)
    }
  }, 120_000)
})
