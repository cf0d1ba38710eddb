// Bench verdict: the sentence follows from the figures.

import { expect, test } from 'vitest'
import type { TrialFigures } from '../../../src/cli/bench-trial.ts'
import { verdict } from '../../../src/cli/bench-verdict.ts'

function figures(perSecond: number, waitP99: number): TrialFigures {
  return {
    perSecond,
    waitP50: waitP99 / 2,
    waitP99,
    runP50: 1,
    runP99: 2,
    imbalance: 1,
    outOfOrder: 0,
    failure: undefined,
  }
}

test('the fastest is chosen, and what the order of keys costs is said', () => {
  const said = verdict(
    'zipf',
    { none: figures(100, 5), hash: figures(150, 9), balanced: figures(200, 4) },
    true,
  )
  expect(said).toBe(
    'zipf: choose balanced: 200 commands/s, and 99 % of them start within 4 ms (hash: 150/s and 9 ms); ' +
      'where the commands of a key must run in order, choose hash, with 75 % of that throughput.',
  )
})

test('of those as fast the one that waits least is chosen', () => {
  const said = verdict('x', { roundRobin: figures(1000, 9), hash: figures(960, 3) }, true)
  expect(said).toContain('choose hash: 960 commands/s')
  expect(said).toContain('the order of each key is kept')
})

test('one that is slower is not chosen for its short wait', () => {
  const said = verdict('x', { roundRobin: figures(1000, 9), hash: figures(900, 3) }, true)
  expect(said).toContain('choose roundRobin')
})

test('without keys nothing is said of their order', () => {
  const said = verdict('x', { none: figures(10, 1), balanced: figures(20, 1) }, false)
  expect(said).not.toContain('key')
})

test('one thread alone is compared with nothing', () => {
  expect(verdict('x', { none: figures(0.5, 0.25) }, false)).toBe(
    'x: choose none: 0.5 commands/s, and 99 % of them start within 0.25 ms.',
  )
  expect(verdict('x', {}, false)).toBe('x: no strategy could run it.')
})
