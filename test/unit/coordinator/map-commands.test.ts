import { inspect } from 'node:util'
import { expect, test, vi } from 'vitest'
import { checkOptions } from '../../../src/base/options.ts'
import {
  MAP_RULES,
  type MapPlan,
  mapCommands,
  mapInput,
} from '../../../src/coordinator/map-commands.ts'
import { collectGarbage } from '../../support/garbage.ts'

/** The plan of a call. */
function bounds(concurrency: number, ordered: boolean, settle = false): MapPlan {
  return { concurrency, ordered, settle }
}

/** Commands that are settled by hand. */
class Desk {
  readonly submitted: number[] = []
  readonly #settlers = new Map<number, (result: number | Promise<number>) => void>()

  readonly submit = (item: number): Promise<number> => {
    this.submitted.push(item)
    return new Promise((resolve) => this.#settlers.set(item, resolve))
  }

  complete(item: number): void {
    this.#settlers.get(item)!(item * 10)
  }

  fail(item: number): void {
    this.#settlers.get(item)!(Promise.reject(new Error(`item ${item}`)))
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
}

async function collect<R>(results: AsyncIterable<R>): Promise<R[]> {
  const all: R[] = []
  for await (const result of results) all.push(result)
  return all
}

/** Yields numbers and notes whether it was closed. */
function source(count: number) {
  const state = { read: 0, isClosed: false }
  const items = (async function* () {
    try {
      while (state.read < count) yield state.read++
    } finally {
      state.isClosed = true
    }
  })()
  return { state, items }
}

const double = async (item: number) => item * 2

test('results come in the order of the source, for iterables of both kinds', async () => {
  expect(await collect(mapCommands([1, 2, 3], bounds(2, true), double))).toEqual([2, 4, 6])
  expect(await collect(mapCommands(source(3).items, bounds(8, true), double))).toEqual([0, 2, 4])
  expect(await collect(mapCommands(new Set([5]), bounds(1, false), double))).toEqual([10])
})

test('an empty source gives nothing', async () => {
  expect(await collect(mapCommands([], bounds(4, true), double))).toEqual([])
  expect(await collect(mapCommands(source(0).items, bounds(4, false), double))).toEqual([])
})

test('never more commands are in flight than were allowed', async () => {
  const desk = new Desk()
  const results = collect(mapCommands([0, 1, 2, 3, 4], bounds(2, true), desk.submit))
  await settle()
  expect(desk.submitted).toEqual([0, 1])
  desk.complete(1)
  await settle()
  // In order: the second result waits for the first, and its place with it.
  expect(desk.submitted).toEqual([0, 1])
  desk.complete(0)
  await settle()
  expect(desk.submitted).toEqual([0, 1, 2, 3])
  for (const item of [2, 3]) desk.complete(item)
  await settle()
  desk.complete(4)
  expect(await results).toEqual([0, 10, 20, 30, 40])
})

test('out of order, each result comes when it is there', async () => {
  const desk = new Desk()
  const results = mapCommands([0, 1, 2], bounds(3, false), desk.submit)
  const first = results.next()
  await settle()
  desk.complete(2)
  expect(await first).toEqual({ done: false, value: 20 })
  desk.complete(1)
  expect((await results.next()).value).toBe(10)
  desk.complete(0)
  expect((await results.next()).value).toBe(0)
  expect((await results.next()).done).toBe(true)
})

test('the source is read only as fast as results are taken', async () => {
  const { state, items } = source(1000)
  const results = mapCommands(items, bounds(4, true), double)
  await settle()
  expect(state.read).toBe(0)
  await results.next()
  await settle()
  expect(state.read).toBeLessThanOrEqual(6)
  await results.return()
})

test('a slow source does not hold back a result that is there', async () => {
  async function* slow() {
    yield 1
    await new Promise(() => {})
  }
  for (const ordered of [true, false]) {
    const results = mapCommands(slow(), bounds(8, ordered), double)
    expect(await results.next()).toEqual({ done: false, value: 2 })
  }
})

test('a failure ends the iteration, closes the source, and no later result is unhandled', async () => {
  const desk = new Desk()
  const { state, items } = source(10)
  const results = collect(mapCommands(items, bounds(3, true), desk.submit))
  const failed = expect(results).rejects.toThrow('item 1')
  await settle()
  desk.complete(0)
  desk.fail(1)
  desk.fail(2)
  await failed
  expect(state.isClosed).toBe(true)
  // The rejection of item 2 has nobody to go to; an unhandled one would fail this file.
  await settle()
})

test('an early failure is kept until its turn comes, without being unhandled', async () => {
  const desk = new Desk()
  const results = mapCommands([0, 1], bounds(2, true), desk.submit)
  const first = results.next()
  await settle()
  desk.fail(1)
  await settle()
  desk.complete(0)
  expect((await first).value).toBe(0)
  await expect(results.next()).rejects.toThrow('item 1')
})

test('leaving the loop early closes the source', async () => {
  const { state, items } = source(10)
  for await (const result of mapCommands(items, bounds(2, true), double)) {
    expect(result).toBe(0)
    break
  }
  await settle()
  expect(state.isClosed).toBe(true)
})

test('leaving the loop early does not wait for an item that may never come', async () => {
  async function* stuck() {
    yield 1
    await new Promise(() => {})
  }
  for await (const _ of mapCommands(stuck(), bounds(4, true), double)) break
})

test('what the source throws ends the iteration', async () => {
  async function* broken() {
    yield 1
    throw new Error('source')
  }
  await expect(collect(mapCommands(broken(), bounds(1, true), double))).rejects.toThrow('source')
})

test.each([true, false])('results in flight come before it (ordered: %s)', async (ordered) => {
  const desk = new Desk()
  function* source() {
    yield* [1, 2]
    throw new Error('no more')
  }
  const results = mapCommands(source(), bounds(9, ordered), desk.submit)
  const first = results.next()
  await settle()
  desk.complete(1)
  expect((await first).value).toBe(10)
  const second = results.next()
  desk.complete(2)
  expect((await second).value).toBe(20)
  await expect(results.next()).rejects.toThrow('no more')
})

test.each([true, false])('with settle outcomes come before it (ordered: %s)', async (ordered) => {
  const desk = new Desk()
  function* source() {
    yield* [1, 2]
    throw new Error('no more')
  }
  const taken: unknown[] = []
  const mapped = (async () => {
    for await (const each of mapCommands(source(), bounds(9, ordered, true), desk.submit)) {
      taken.push(each)
    }
  })()
  await settle()
  desk.complete(1)
  desk.fail(2)
  await expect(mapped).rejects.toThrow('no more')
  expect(taken).toMatchObject([
    { index: 0, ok: true, value: 10 },
    { index: 1, ok: false, error: { message: 'item 2' } },
  ])
})

test('the failure of a command goes before what the source throws when it is closed', async () => {
  const fail = () => Promise.reject(new Error('command'))
  const next = async () => ({ done: false, value: 1 })
  const closes = () => {
    throw new Error('closing')
  }
  const items = { [Symbol.asyncIterator]: () => ({ next, return: closes }) }
  await expect(collect(mapCommands(items, bounds(1, true), fail))).rejects.toThrow('command')
  // Where nothing else failed it is the failure.
  const left = mapCommands(items, bounds(1, true), double)
  await left.next()
  await expect(left.return()).rejects.toThrow('closing')
})

test('a source whose next throws is not closed, as one that has ended is not', async () => {
  const closed = vi.fn()
  const fails = () => Promise.reject(new Error('source'))
  for (const next of [fails, async () => ({ done: true, value: undefined })]) {
    const items = { [Symbol.asyncIterator]: () => ({ next, return: closed }) }
    const results = collect(mapCommands(items as AsyncIterable<number>, bounds(1, true), double))
    await results.catch((error) => expect(error.message).toBe('source'))
  }
  expect(closed).not.toHaveBeenCalled()
})

test('what submit throws ends the iteration and closes the source', async () => {
  const { state, items } = source(3)
  const refuse = () => {
    throw new Error('refused')
  }
  await expect(collect(mapCommands(items, bounds(2, true), refuse))).rejects.toThrow('refused')
  expect(state.isClosed).toBe(true)
})

test('concurrency is 128 unless told, from 1 to 65,536, and order is kept unless told', () => {
  const check = (options: object) => checkOptions('map', options, MAP_RULES)
  expect(check({})).toEqual({ concurrency: 128, ordered: true, settle: false })
  check({ concurrency: 65_536, ordered: false })
  for (const concurrency of [0, 65_537, 1.5, Number.NaN]) {
    expect(() => check({ concurrency })).toThrow('map.concurrency is')
  }
})

test.each([true, false])('items cost the same however many are in flight (%s)', async (ordered) => {
  const items = 4_000
  const perItem = async (concurrency: number) => {
    const began = performance.now()
    for await (const _ of mapCommands(Array(items).keys(), bounds(concurrency, ordered), double));
    return performance.now() - began
  }
  await perItem(8)
  const few = Math.min(await perItem(8), await perItem(8), await perItem(8))
  const many = Math.min(await perItem(2_000), await perItem(2_000), await perItem(2_000))
  // With a race of all flights for every item it took 200 times as long.
  expect(many).toBeLessThan(10 * few + 5)
})

test('a result that was taken leaves nothing behind while another is awaited', async () => {
  const taken: WeakRef<object>[] = []
  const submit = (item: number) =>
    item === 0 ? new Promise<object>(() => {}) : Promise.resolve({ item })
  const results = mapCommands(Array(200).keys(), bounds(4, false), submit)
  for (let i = 1; i < 200; i++) taken.push(new WeakRef((await results.next()).value as object))
  await settle()
  collectGarbage()
  // The last ones may still be on the stack of this test.
  expect(taken.filter((ref) => ref.deref() !== undefined).length).toBeLessThan(5)
})

test('a failure says which input it was, and can be an outcome among others', async () => {
  const odd = async (n: number) => {
    if (n % 2 === 1) throw new RangeError(`odd ${n}`)
    return n * 2
  }
  const error = await collect(mapCommands([4, 6, 7], bounds(2, true), odd)).catch((e) => e)
  expect(error).toBeInstanceOf(RangeError)
  expect(error[mapInput]).toEqual({ index: 2, input: 7 })
  expect(inspect(error)).toContain('index: 2, input: 7')
  expect(await collect(mapCommands([4, 7], bounds(1, true, true), odd))).toEqual([
    { input: 4, index: 0, ok: true, value: 8 },
    { input: 7, index: 1, ok: false, error: new RangeError('odd 7') },
  ])
})

test('a failure that takes no more members is thrown as it is', async () => {
  const refuse = () => Promise.reject(Object.freeze(new Error('frozen')))
  await expect(collect(mapCommands([1], bounds(1, true), refuse))).rejects.toThrow('frozen')
})

test('the characters of a string are a source too', async () => {
  const submit = async (item: string) => item.toUpperCase()
  expect(await collect(mapCommands('abc', bounds(2, true), submit))).toEqual(['A', 'B', 'C'])
})
