import { afterEach, expect, test, vi } from 'vitest'
import { nowMs, timers } from '../../../src/base/clock.ts'

afterEach(() => {
  vi.useRealTimers()
})

test('time counts in milliseconds and never goes back', () => {
  const wallMs = Date.now()
  const first = nowMs()
  for (let last = first; Date.now() < wallMs + 5; ) {
    const now = nowMs()
    expect(now).toBeGreaterThanOrEqual(last)
    last = now
  }
  expect(nowMs() - first).toBeGreaterThan(3)
})

test('fake timers stop neither the clock nor the timers', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'setImmediate', 'performance', 'Date'] })
  const before = nowMs()
  await new Promise<void>((resolve) => timers.setTimeout(resolve, 2))
  await new Promise<void>((resolve) => timers.setImmediate(resolve))
  expect(nowMs()).toBeGreaterThan(before)
})

test('the captured timers cannot be replaced', () => {
  expect(Object.isFrozen(timers)).toBe(true)
})
