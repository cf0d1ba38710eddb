// Goal: what ships, put together, settles every command exactly once: the coordinator's bound
// window and result pump against the partition's duty cycle, window and outbox.
// Method: interleavings of the real loops on small rings; and the partition's death at every step.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { Explorer, type Scenario } from './support/explorer.ts'
import { COMMONS_BYTES, REGION_BYTES, smallCommons, smallRegion } from './support/memories.ts'

const explorer = new Explorer(REGION_BYTES, COMMONS_BYTES)
beforeAll(() => explorer.ready())
afterAll(() => explorer.close())

/** Six command records fit the command ring, three result records the result ring. */
const region = smallRegion(256, 128, -128)
const commons = smallCommons()

function wholePath(options: Record<string, unknown>): Scenario {
  // The partition sleeps when all is done: nobody tells it to end.
  return { name: 'whole path', region, commons, options, mustEnd: [0] }
}

test('every command is settled once, with its result', () => {
  expect(explorer.explore(wholePath({ count: 2 }), 2).violation).toBeUndefined()
})

test('more commands than the result ring holds are all settled', () => {
  let stalls = 0
  const verdict = (outcome: Int32Array) => {
    stalls += outcome[63]!
    return undefined
  }
  const scenario = { ...wholePath({ count: 5 }), verdict }
  expect(explorer.explore(scenario, 1).violation).toBeUndefined()
  // The partition did find the ring full.
  expect(stalls).toBeGreaterThan(0)
})

test('commands that are taken back and bound again run once', () => {
  expect(explorer.explore(wholePath({ count: 2, recalls: 1 }), 2).violation).toBeUndefined()
})

test('a death at any step leaves every command either settled or left behind as it was', () => {
  const count = 5
  const scenario: Scenario = {
    name: 'death',
    region,
    commons,
    options: { count },
    verdict: (outcome) => {
      const settled = outcome.subarray(0, count).join()
      return settled === '1,1,1,1,1' ? undefined : `settled or left behind: ${settled}`
    },
  }
  let steps = 0
  for (; ; steps++) {
    const { wasBusy, violation } = explorer.die(scenario, steps)
    expect(violation).toBeUndefined()
    if (!wasBusy) break
  }
  // It ran until its result ring was full and it slept.
  expect(steps).toBeGreaterThan(15)
})

test('no handler is entered while the coordinator sleeps beside a result', () => {
  const scenario = wholePath({ count: 5, isPrompt: true })
  const recalled = wholePath({ count: 3, recalls: 1, isPrompt: true })
  expect(explorer.explore(scenario, 1).violation).toBeUndefined()
  expect(explorer.explore(recalled, 1).violation).toBeUndefined()
})
