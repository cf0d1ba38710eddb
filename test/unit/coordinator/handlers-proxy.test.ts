// Handlers proxy: what its members call, and what everything else that asks an object for members
// gets: loggers, JSON, templates, spies. Reading and printing never runs a command.

import { inspect } from 'node:util'
import { expect, test, vi } from 'vitest'
import { createHandlersProxy } from '../../../src/coordinator/handlers-proxy.ts'

interface Module {
  add(payload: { a: number }): number
  noop(): void
}

type Run = Parameters<typeof createHandlersProxy>[0]

const NONE = new Map()
const KNOWN = new Map(['add', 'noop'].map((name) => [name, name]))

/** A proxy whose module is loaded when `load` is called, and has those handlers then. */
function make<M = Module>(run: Run = async () => 0) {
  let types: ReadonlyMap<string, unknown> = NONE
  return {
    handlers: createHandlersProxy<M>(run, () => types),
    load: (...names: string[]) => {
      types = names.length === 0 ? KNOWN : new Map(names.map((name) => [name, name]))
    },
  }
}

test.each(['before', 'after'])('a member read %s the module loads is a call', async (when) => {
  const run = vi.fn(async () => 3)
  const { handlers, load } = make(run)
  if (when === 'after') load()
  const { add, noop } = handlers
  load()
  expect(await add({ a: 1 }, { lane: 'query' })).toBe(3)
  await noop()
  expect(run.mock.calls).toEqual([
    ['add', { a: 1 }, { lane: 'query' }],
    ['noop', undefined, undefined],
  ])
})

test('a member is the same function each time, named as its handler', () => {
  const { handlers, load } = make()
  const { add } = handlers
  load()
  expect(handlers.add).toBe(add)
  expect(handlers.add).not.toBe(handlers.noop)
  expect(add.name).toBe('add')
})

test('once the module is loaded, the proxy has its handlers and nothing else', () => {
  const { handlers, load } = make()
  load()
  expect(Object.keys(handlers)).toEqual(['add', 'noop'])
  expect({ ...handlers }).toEqual({ add: handlers.add, noop: handlers.noop })
  expect(['add' in handlers, 'sub' in handlers, 'then' in handlers]).toEqual([true, false, false])
  expect((handlers as { sub?: unknown }).sub).toBeUndefined()
  expect(Object.getOwnPropertyDescriptor(handlers, 'sub')).toBeUndefined()
})

test('another module after a reload brings its handlers and takes those it lacks', () => {
  const { handlers, load } = make()
  load('add', 'old')
  expect(Object.keys(handlers)).toEqual(['add', 'old'])
  load('add', 'new')
  expect(Object.keys(handlers)).toEqual(['add', 'new'])
  expect((handlers as { old?: unknown }).old).toBeUndefined()
})

test('names that every object inherits are handlers if the module has them', async () => {
  const run = vi.fn(async (type: string) => type)
  const { handlers, load } = make<Record<string, () => string>>(run)
  expect([handlers.constructor, handlers.toString]).toEqual([undefined, undefined])
  load('constructor', 'toString')
  expect(await handlers.constructor!()).toBe('constructor')
  expect(await handlers.toString!()).toBe('toString')
  expect(`${handlers}`).toBe('[object Handlers]')
})

test.each(['before', 'after'])('printing a proxy runs nothing, %s it is loaded', async (when) => {
  const run = vi.fn(async () => 0)
  const { handlers, load } = make(run)
  if (when === 'after') load()
  expect(JSON.stringify({ handlers })).toBe('{"handlers":{}}')
  expect(`${handlers}`).toBe('[object Handlers]')
  expect(inspect({ handlers })).toContain(when === 'after' ? '[Function: add]' : 'handlers: {}')
  expect(Object.prototype.toString.call(handlers)).toBe('[object Handlers]')
  expect(await handlers).toBe(handlers)
  expect(handlers).toEqual(handlers)
  expect({ handlers }).not.toEqual({ handlers: { other: 1 } })
  expect((handlers as never)[Symbol.iterator]).toBeUndefined()
  expect(() => structuredClone(handlers)).toThrow()
  expect(run).not.toHaveBeenCalled()
})

test.each(['before', 'after'])('a member can be spied on %s the module is loaded', async (when) => {
  const run = vi.fn(async () => 1)
  const { handlers, load } = make(run)
  if (when === 'after') load()
  const spy = vi.spyOn(handlers, 'add').mockResolvedValue(7)
  load()
  expect(await handlers.add({ a: 1 })).toBe(7)
  expect(spy).toHaveBeenCalledWith({ a: 1 })
  expect(run).not.toHaveBeenCalled()
  spy.mockRestore()
  expect(await handlers.add({ a: 1 })).toBe(1)
})

test('a proxy that was frozen before the module is loaded has its handlers all the same', async () => {
  const { handlers, load } = make(async () => 1)
  Object.freeze(handlers)
  load()
  expect(Object.keys(handlers)).toEqual([])
  expect(await handlers.add({ a: 1 })).toBe(1)
  expect((handlers as { sub?: unknown }).sub).toBeUndefined()
})
