import { afterEach, expect, test, vi } from 'vitest'
import { nowMs, timers, whenSettled } from '../../../src/base/clock.ts'

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

/** A promise with a member `then` of its own, which `await` does not call. */
function withThen(promise: Promise<unknown>, value: unknown): Promise<unknown> {
  return Object.defineProperty(promise, 'then', { value })
}

test('a promise is followed by its state, as await does, whatever its own then does', async () => {
  const twice = (settled: (value: unknown) => void) => [1, 2].forEach(settled)
  const thrower = () => {
    throw new Error('then throws')
  }
  for (const then of [twice, thrower, () => undefined]) {
    const settled = vi.fn((value: unknown) => value)
    const followed = whenSettled(withThen(Promise.resolve('state'), then), settled)
    expect(settled).not.toHaveBeenCalled()
    expect(await followed).toBe('state')
    expect(settled).toHaveBeenCalledTimes(1)
  }
  const failed = withThen(Promise.reject(new Error('state')), twice)
  expect(await whenSettled(failed, String, String)).toBe('Error: state')
  await expect(whenSettled(failed, String)).rejects.toThrow('state')
  const thenable = Object.defineProperty({}, 'then', { value: twice }) as PromiseLike<unknown>
  expect(await whenSettled(thenable, String)).toBe('1')
  expect(await whenSettled(5, String)).toBe('5')
})
