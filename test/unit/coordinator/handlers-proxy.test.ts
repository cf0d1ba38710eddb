import { expect, test, vi } from 'vitest'
import { createHandlersProxy } from '../../../src/coordinator/handlers-proxy.ts'

interface Module {
  add(payload: { a: number }): number
  noop(): void
}

test('a member calls the handler of its name with payload and options', async () => {
  const run = vi.fn(async () => 3)
  const handlers = createHandlersProxy<Module>(run)
  expect(await handlers.add({ a: 1 }, { lane: 'query' })).toBe(3)
  await handlers.noop()
  expect(run.mock.calls).toEqual([
    ['add', { a: 1 }, { lane: 'query' }],
    ['noop', undefined, undefined],
  ])
})

test('a member is the same function each time, so it can be passed about', () => {
  const handlers = createHandlersProxy<Module>(async () => 0)
  expect(handlers.add).toBe(handlers.add)
  expect(handlers.add).not.toBe(handlers.noop)
})

test('a proxy is no promise: awaiting it gives itself and calls nothing', async () => {
  const run = vi.fn(async () => 0)
  const handlers = createHandlersProxy<Module>(run)
  expect(await handlers).toBe(handlers)
  expect(run).not.toHaveBeenCalled()
})

test('symbols are no handlers, and nothing can be set', () => {
  const handlers = createHandlersProxy<Module>(async () => 0)
  expect((handlers as never)[Symbol.iterator]).toBeUndefined()
  expect((handlers as never)[Symbol.toPrimitive]).toBeUndefined()
  expect(() => Object.assign(handlers, { add: 1 })).toThrow(TypeError)
})

test('names that every object inherits are calls like any other', async () => {
  const run = vi.fn(async (type: string) => type)
  const handlers = createHandlersProxy<Record<string, () => string>>(run)
  expect(await handlers.constructor!()).toBe('constructor')
  expect(await handlers.toString!()).toBe('toString')
})
