// Command services: what contexts ask for, also when their runs are over.

import { expect, test } from 'vitest'
import { CommandServices } from '../../../src/partition/command-services.ts'
import { RunningSignals } from '../../../src/partition/run-context.ts'

test('a signal that is first read after the run is kept nowhere', () => {
  const running = new Set([1])
  const signals = new RunningSignals()
  const services = new CommandServices(
    { isAborted: () => false } as never,
    undefined as never,
    undefined as never,
    signals,
    { isRunning: (id) => running.has(id), kept: () => {}, waits: () => {} },
  )
  const signal = services.signalOf(1)
  expect(services.signalOf(1)).toBe(signal)
  running.clear()
  signals.end(1)
  const [late, later] = [services.signalOf(1), services.signalOf(1)]
  expect(late).not.toBe(later)
  signals.abortAll('the thread stops')
  expect([signal.aborted, late.aborted, later.aborted]).toEqual([false, false, false])
})
