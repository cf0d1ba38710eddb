// Goal: a lane never runs more than it allows, and a partition that waits for it is woken once the
// other gives something back.
// Method: interleavings of two partitions that run commands of one lane, with the real gate; time
// stands still but for timers. Broken protocols must be caught.

import { expect, test } from 'vitest'
import type { LaneCells } from '../../src/memory/layout.ts'
import type { Scenario } from './support/explorer.ts'
import { openExplorer, smallCommons, smallRegion } from './support/memories.ts'

const explorer = openExplorer()

const ONE_AT_A_TIME: LaneCells = { owners: 1, minConcurrency: 0, rate: undefined }
const RATE = { limit: 1, windowMs: 10, isSliding: false, isPerPartition: false }
const ONE_A_WINDOW: LaneCells = { owners: 0, minConcurrency: 0, rate: RATE }
const SLIDING: LaneCells = { ...ONE_A_WINDOW, rate: { ...RATE, isSliding: true } }
const BOTH: LaneCells = { ...ONE_AT_A_TIME, rate: RATE }

function laneGate(lane: LaneCells, options: Record<string, unknown>): Scenario {
  const lanes = [lane]
  return {
    name: 'lane gate',
    region: smallRegion(64, 64),
    commons: smallCommons(lanes),
    options: { count: 2, ...options, lanes },
  }
}

test('one slot is held by one partition at a time, and whoever waits for it gets it', () => {
  expect(explorer.explore(laneGate(ONE_AT_A_TIME, {}), 2).violation).toBeUndefined()
  expect(explorer.explore(laneGate(ONE_AT_A_TIME, { count: 1 }), 4).violation).toBeUndefined()
})

test('tokens are taken in turn, and whoever waits for one gets it', () => {
  for (const lane of [ONE_A_WINDOW, SLIDING]) {
    for (const timersFirst of [false, true]) {
      const scenario = laneGate(lane, { timersFirst })
      expect(explorer.explore(scenario, 1).violation).toBeUndefined()
    }
  }
})

test('a lane with a slot and a rate lets everybody through, whichever it lacked at which look', () => {
  expect(explorer.explore(laneGate(BOTH, { count: 1 }), 2).violation).toBeUndefined()
  expect(explorer.explore(laneGate(BOTH, {}), 1).violation).toBeUndefined()
})

function withThree(name: string, lane: LaneCells, options: Record<string, unknown>): Scenario {
  const lanes = [lane]
  return {
    name,
    region: smallRegion(64, 64),
    commons: smallCommons(lanes, 3),
    options: { count: 1, ...options, lanes, partitions: 3 },
  }
}

test('an idle partition gets what is freed, though a busy one that never looks waits before it', () => {
  for (const lane of [ONE_AT_A_TIME, ONE_A_WINDOW, SLIDING, BOTH]) {
    const scenario = withThree('busy waiter', lane, {})
    expect(explorer.explore(scenario, 2).violation).toBeUndefined()
  }
})

test.each([
  ['a slot', ONE_AT_A_TIME],
  ['a token', ONE_A_WINDOW],
])('the explorer catches a busy partition that waits for %s as an idle one does', (_, lane) => {
  const scenario = withThree('busy waiter', lane, { variant: 'busy as if idle' })
  expect(explorer.explore(scenario, 2).violation).toMatch(/^thread 0 sleeps for ever\nschedule/)
})

test('a partition that is woken while it turns busy passes its wake on', () => {
  const scenario = withThree('waiter that turns busy', ONE_AT_A_TIME, {})
  expect(explorer.explore(scenario, 3).violation).toBeUndefined()
})

test('the explorer catches a partition that forgets its wake when it turns busy', () => {
  const scenario = withThree('waiter that turns busy', ONE_AT_A_TIME, { variant: 'forgets a wake' })
  expect(explorer.explore(scenario, 2).violation).toMatch(/^thread 1 sleeps for ever\nschedule/)
})

test('a thread and the one that it takes over from wait beside each other and wake each other', () => {
  const lanes = [ONE_AT_A_TIME]
  const scenario = {
    ...laneGate(ONE_AT_A_TIME, { partitions: 1 }),
    name: 'threads of one partition',
    commons: smallCommons(lanes, 1),
  }
  expect(explorer.explore(scenario, 2).violation).toBeUndefined()
  const rated = { ...scenario, options: { ...scenario.options, count: 1, lanes: [BOTH] } }
  const commons = smallCommons([BOTH], 1)
  expect(explorer.explore({ ...rated, commons }, 2).violation).toBeUndefined()
})

test('the explorer catches threads of one partition that share a bit', () => {
  const options = { partitions: 1, variant: 'one bit' }
  const scenario = {
    ...laneGate(ONE_AT_A_TIME, options),
    name: 'threads of one partition',
    commons: smallCommons([ONE_AT_A_TIME], 1),
  }
  expect(explorer.explore(scenario, 2).violation).toMatch(/^thread \d sleeps for ever\nschedule/)
})

function changed(before: number, limit: number, options: Record<string, unknown>): Scenario {
  const lane = { owners: before, ownersMax: 2, minConcurrency: 0, rate: undefined }
  return { ...laneGate(lane, { count: 1, limit, ...options }), name: 'changed limit' }
}

test('a limit that is raised lets a partition in that waits, though no slot is given back', () => {
  expect(explorer.explore(changed(1, 2, { keeps: true }), 3).violation).toBeUndefined()
})

test('once a limit was lowered none starts beside as many as it allows, and all start', () => {
  expect(explorer.explore(changed(2, 1, { count: 2 }), 3).violation).toBeUndefined()
  expect(explorer.explore(changed(2, 1, { count: 1 }), 4).violation).toBeUndefined()
})

test('the explorer catches a limit that is raised without a wake', () => {
  const scenario = changed(1, 2, { keeps: true, variant: 'change without a wake' })
  expect(explorer.explore(scenario, 2).violation).toMatch(/^thread 1 sleeps for ever\nschedule/)
})

test.each(['no second look', 'free without handing on'])('the explorer catches "%s"', (variant) => {
  const { violation } = explorer.explore(laneGate(ONE_AT_A_TIME, { variant }), 2)
  expect(violation).toMatch(/^thread \d sleeps for ever\nschedule of lane gate/)
})
