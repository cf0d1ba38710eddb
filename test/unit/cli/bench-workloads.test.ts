// Bench workloads: they are what their names say, and the same every time.

import { expect, test } from 'vitest'
import { builtInWorkloads, workloadOf } from '../../../src/cli/bench-workloads.ts'

function shares(name: string): number[] {
  const { commands } = builtInWorkloads().find((workload) => workload.name === name)!
  const counts = new Map<string | undefined, number>()
  for (const { key } of commands) counts.set(key, (counts.get(key) ?? 0) + 1)
  return [...counts.values()].map((count) => count / commands.length).sort((a, b) => b - a)
}

test('every run has the same commands', () => {
  expect(builtInWorkloads()).toEqual(builtInWorkloads())
})

test('uniform keys are about as frequent as each other', () => {
  const uniform = shares('uniform')
  expect(uniform.length).toBeGreaterThan(990)
  expect(uniform[0]).toBeLessThan(3 / 1000)
})

test("Zipf's first key comes 2^1.1 times as often as the second", () => {
  const zipf = shares('zipf')
  expect(zipf[0]! / zipf[1]!).toBeCloseTo(2 ** 1.1, 0)
  expect(zipf[0]! / zipf[9]!).toBeGreaterThan(8)
})

test('the hot key has its share', () => {
  expect(shares('hot key')[0]).toBeCloseTo(0.7, 1)
})

test('every twentieth command is long', () => {
  const { commands } = builtInWorkloads().find(({ name }) => name === 'long and short')!
  const shortest = Math.min(...commands.map(({ payload }) => payload as number))
  const long = commands.filter(({ payload }) => payload !== shortest)
  expect(long).toHaveLength(commands.length / 20)
})

test('lines are keys, or objects with a key and a payload', () => {
  const { commands, about } = workloadOf(
    ['a', '{"key":7,"payload":[1]}', '{"payload":null}'],
    'own',
  )
  expect(commands).toEqual([
    { key: 'a', payload: 'own' },
    { key: '7', payload: [1] },
    { key: undefined, payload: null },
  ])
  expect(about).toContain('3 commands of yours with 3 keys')
})

test('a line that begins an object and is none is named', () => {
  expect(() => workloadOf(['a', '{"key":'], undefined)).toThrow('line 2 of the keys')
})
