// Bench verdict: the sentence follows from the figures.

import { expect, test } from 'vitest'
import { type StrategyRow, verdict } from '../../../src/cli/bench-verdict.ts'

function figures(perSecond: number, waitP99: number, spread = 0.01): StrategyRow {
  return {
    perSecond,
    perSecondMin: perSecond * (1 - spread),
    perSecondMax: perSecond * (1 + spread),
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
    { single: figures(100, 5), hash: figures(150, 9), balanced: figures(200, 4) },
    true,
    3,
  )
  expect(said).toBe(
    'zipf: choose balanced 198 to 202/s, 99 % start within 4 ms (hash 149 to 152/s, 99 % start within 9 ms); ' +
      'where the commands of a key must run in order, choose hash, with 75 % of that throughput.',
  )
})

test('of those whose trials overlap the one that waits least is chosen', () => {
  const rows = { roundRobin: figures(1000, 9, 0.05), hash: figures(960, 3) }
  const said = verdict('x', rows, true, 3)
  expect(said).toContain('choose hash 950 to 970/s')
  expect(said).toContain('the order of each key is kept')
})

test('one that is slower is not chosen for its short wait', () => {
  const said = verdict('x', { roundRobin: figures(1000, 9), hash: figures(900, 3) }, true, 3)
  expect(said).toContain('choose roundRobin')
})

test('where neither rate nor wait differs by more than trials do, nothing is chosen', () => {
  const rows = { roundRobin: figures(1000, 9, 0.05), hash: figures(990, 8.5, 0.05) }
  expect(verdict('x', rows, true, 3)).toBe(
    'x: too close to call: hash 941 to 1,040/s, 99 % start within 8.5 ms; ' +
      'roundRobin 950 to 1,050/s, 99 % start within 9 ms. hash also keeps the order of each key.',
  )
})

test('failures and one round are no evidence', () => {
  const failed = { single: { ...figures(5, 1), failure: 'Error: no' }, balanced: figures(9, 1) }
  expect(verdict('x', failed, true, 3)).toBe(
    'x: no advice, since a command failed under single: Error: no',
  )
  expect(verdict('x', { single: figures(5, 1) }, true, 1)).toContain('no advice from one round')
})

test('without keys nothing is said of their order', () => {
  const said = verdict('x', { single: figures(10, 1), balanced: figures(20, 1) }, false, 3)
  expect(said).not.toContain('key')
})

test('one thread alone is compared with nothing', () => {
  expect(verdict('x', { single: figures(0.5, 0.25, 0) }, false, 3)).toBe(
    'x: choose single 0.5 to 0.5/s, 99 % start within 0.25 ms.',
  )
  expect(verdict('x', {}, false, 3)).toBe('x: no strategy could run it.')
})
