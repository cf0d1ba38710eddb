// Signals: which handlers are installed, and that they go. That a process ends as it should is in
// test/integration/signals.test.ts.

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

test('other signals can be named, and several managers share one handler for each', () => {
  const before = counts('SIGHUP')
  const [first, second] = [manager, manager].map((one) =>
    closeOnSignals(one, { signals: ['SIGHUP'] }),
  )
  expect(counts('SIGHUP')).toEqual([before[0]! + 1])
  first!()
  expect(counts('SIGHUP')).toEqual([before[0]! + 1])
  second!()
  expect(counts('SIGHUP')).toEqual(before)
})

test('a signal that another system has may be named', () => {
  closeOnSignals(manager, { signals: ['SIGTERM', 'SIGBREAK'] })()
})

test('handlers go with the block that they are used in', () => {
  const before = counts('SIGTERM')
  {
    using _handlers = closeOnSignals(manager)
    expect(counts('SIGTERM')).toEqual([before[0]! + 1])
  }
  expect(counts('SIGTERM')).toEqual(before)
})

test('a manager that is closed leaves no handler behind', async () => {
  const before = counts('SIGTERM', 'SIGINT', 'newListener' as NodeJS.Signals)
  let close!: () => void
  const closed = new Promise<void>((resolve) => {
    close = resolve
  })
  closeOnSignals({ ...manager, closed })
  expect(counts('SIGTERM')).toEqual([before[0]! + 1])
  close()
  await closed
  await null
  expect(counts('SIGTERM', 'SIGINT', 'newListener' as NodeJS.Signals)).toEqual(before)
})

test.each([
  [{ signals: 'SIGTERM' }, 'signals'],
  [{ signals: ['TERM'] }, 'signals'],
  [{ signals: ['SIGKIL'] }, 'signals'],
  [{ signals: ['SIGTERM', 'SIGKILL'] }, 'signals'],
  [{ drainTimeoutMs: -1 }, 'drainTimeoutMs'],
  [{ timeoutMs: 5 }, 'timeoutMs'],
])('options that are not allowed are refused, naming the option: %o', (options, option) => {
  const before = counts('SIGTERM')
  expect(() => closeOnSignals(manager, options as never)).toThrow(`closeOnSignals.${option}`)
  expect(counts('SIGTERM')).toEqual(before)
})
