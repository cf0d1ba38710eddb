import { expect, test } from 'vitest'
import { Reported } from '../../../src/distributed/reported.ts'

test('a name is reported once, until thousands of others were', () => {
  const reported = new Reported()
  expect([reported.add('a'), reported.add('a')]).toEqual([true, false])
  reported.delete('a')
  expect(reported.add('a')).toBe(true)
  for (let i = 1; i < 10_000; i++) reported.add(`n${i}`)
  expect(reported.add('a')).toBe(false)
  expect(reported.add('one more')).toBe(true)
  expect(reported.add('a')).toBe(true)
})
