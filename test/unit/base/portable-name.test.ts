// Portable names: what may name something between machines.

import { expect, test } from 'vitest'
import {
  isPortableName,
  PORTABLE_NAME_ALLOWED,
  portableName,
} from '../../../src/base/portable-name.ts'

test.each(['a', 'A-Z_0.9', 'x'.repeat(128)])('%s is a name', (name) => {
  expect(isPortableName(name)).toBe(true)
})

test.each(['', 'x'.repeat(129), 'a b', '{a}', 'a:b', 'ä', 'a\n', 7, undefined, null, ['a']])(
  '%j is none',
  (name) => {
    expect(isPortableName(name)).toBe(false)
  },
)

test('the rule of an option says what is allowed', () => {
  const rule = portableName('default')
  expect(rule).toMatchObject({ default: 'default', allowed: PORTABLE_NAME_ALLOWED })
  expect([rule.accepts('a'), rule.accepts('a b')]).toEqual([true, false])
})
