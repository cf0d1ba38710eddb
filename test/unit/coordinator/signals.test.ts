// Signals: which handlers are installed, and that they go. That a process ends as it should is in
// test/integration/lanes-signals.test.ts.

import { expect, test } from 'vitest'
import { closeOnSignals } from '../../../src/coordinator/signals.ts'

const manager = { drain: async () => {}, close: async () => {} }
const counts = (...names: NodeJS.Signals[]) => names.map((name) => process.listenerCount(name))

test('by default SIGTERM and SIGINT are handled until the handlers are taken away', () => {
  const before = counts('SIGTERM', 'SIGINT', 'SIGHUP')
  const remove = closeOnSignals(manager)
  expect(counts('SIGTERM', 'SIGINT', 'SIGHUP')).toEqual([before[0]! + 1, before[1]! + 1, before[2]])
  remove()
  remove()
  expect(counts('SIGTERM', 'SIGINT', 'SIGHUP')).toEqual(before)
})

test('other signals can be named, and several managers can be ended together', () => {
  const before = counts('SIGHUP')
  const removes = [manager, manager].map((one) => closeOnSignals(one, { signals: ['SIGHUP'] }))
  expect(counts('SIGHUP')).toEqual([before[0]! + 2])
  for (const remove of removes) remove()
  expect(counts('SIGHUP')).toEqual(before)
})

test.each([
  [{ signals: 'SIGTERM' }, 'signals'],
  [{ signals: ['TERM'] }, 'signals'],
  [{ drainTimeoutMs: -1 }, 'drainTimeoutMs'],
  [{ timeoutMs: 5 }, 'timeoutMs'],
])('options that are not allowed are refused, naming the option: %o', (options, option) => {
  const before = counts('SIGTERM')
  expect(() => closeOnSignals(manager, options as never)).toThrow(`closeOnSignals.${option}`)
  expect(counts('SIGTERM')).toEqual(before)
})
