// Stream reader: what its caller sees of values, ends and failures, and what its producer gets.

import { expect, test } from 'vitest'
import { LEFT, StreamReader } from '../../../../src/coordinator/results/stream-reader.ts'
import { CREDIT_MAX } from '../../../../src/wire/result-record.ts'
import { collectGarbage } from '../../../support/garbage.ts'

const LOT = CREDIT_MAX / 2

/** A reader whose command the test plays. */
function world() {
  const state = { submits: 0 }
  const granted: number[] = []
  const aborted: unknown[] = []
  const source = {
    grant: (credit: number) => granted.push(credit),
    abort: (reason: unknown) => aborted.push(reason),
  }
  let resolve!: (value: unknown) => void
  let reject!: (error: unknown) => void
  const outcome = new Promise<unknown>((accept, refuse) => {
    resolve = accept
    reject = refuse
  })
  const reader = new StreamReader(() => {
    state.submits++
    return outcome
  })
  return { reader, source, state, granted, aborted, resolve, reject }
}

/** The same after its command was accepted, with its first `next` outstanding. */
function begun() {
  const made = world()
  const first = made.reader.next()
  made.reader.attach(made.source)
  return { ...made, first }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))
const value = (of: unknown) => ({ value: of, done: false })
const over = (of?: unknown) => ({ value: of, done: true })

test('the command is submitted when the first value is asked for, and once', async () => {
  const { reader, state, source, resolve } = world()
  expect(state.submits).toBe(0)
  const asked = [reader.next(), reader.next()]
  expect(state.submits).toBe(1)
  reader.attach(source)
  resolve('end')
  expect(await Promise.all(asked)).toEqual([over('end'), over()])
  await reader.next()
  expect(state.submits).toBe(1)
})

test('values come in order, whether they are awaited or arrive before', async () => {
  const { reader, first, resolve } = begun()
  const second = reader.next()
  for (const each of [1, 2, 3, 4]) reader.push(each, 1)
  expect(await Promise.all([first, second, reader.next(), reader.next()])).toEqual(
    [1, 2, 3, 4].map(value),
  )
  resolve('returned')
  expect(await reader.next()).toEqual(over('returned'))
  expect(await reader.next()).toEqual(over())
})

test('what has arrived can be taken after the end, and the end comes after it', async () => {
  const { reader, first, resolve } = begun()
  for (const each of [1, 2, 3]) reader.push(each, 1)
  resolve('end')
  await settled()
  expect(await first).toEqual(value(1))
  const rest = [reader.next(), reader.next(), reader.next(), reader.next()]
  expect(await Promise.all(rest)).toEqual([value(2), value(3), over('end'), over()])
})

test('a failure comes after the values before it, once', async () => {
  const { reader, first, reject } = begun()
  for (const each of [1, 2]) reader.push(each, 1)
  reject(new RangeError('broken'))
  await settled()
  expect(await first).toEqual(value(1))
  expect(await reader.next()).toEqual(value(2))
  await expect(reader.next()).rejects.toThrow('broken')
  expect(await reader.next()).toEqual(over())
})

test('of several that wait, the first is told of a failure and the others that it is over', async () => {
  const { reader, first, reject } = begun()
  const others = [reader.next(), reader.next()]
  reject(new RangeError('broken'))
  await expect(first).rejects.toThrow('broken')
  expect(await Promise.all(others)).toEqual([over(), over()])
})

test('credit is given back in lots, as values are taken and not as they arrive', async () => {
  const { reader, granted } = begun()
  for (let i = 0; i < LOT; i++) reader.push(i, 1)
  expect(granted).toEqual([])
  for (let i = 2; i < LOT; i++) await reader.next()
  expect(granted).toEqual([])
  await reader.next()
  expect(granted).toEqual([LOT])
})

test('heavy values count for what they took, also those that were awaited', async () => {
  const { reader, first, granted } = begun()
  reader.push('a', LOT)
  await first
  expect(granted).toEqual([LOT])
  const second = reader.next()
  reader.push('b', 2 * LOT)
  await second
  expect(granted).toEqual([LOT, 3 * LOT])
})

test('credit is counted modulo 2^32 and goes on past it', async () => {
  const { reader, first, granted } = begun()
  reader.push('a', 2 ** 31 - 1)
  await first
  for (let i = 0; i < 3; i++) {
    const next = reader.next()
    reader.push(i, LOT)
    await next
  }
  expect(granted).toEqual([2 ** 31 - 1, ...[1, 2, 3].map((lots) => (2 ** 31 - 1 + lots * LOT) | 0)])
})

test('a command that has ended is given no credit', async () => {
  const { reader, first, granted, resolve } = begun()
  for (let i = 0; i < LOT; i++) reader.push(i, 1)
  resolve(undefined)
  await settled()
  await first
  for (let i = 1; i < LOT; i++) await reader.next()
  expect(granted).toEqual([])
})

test('leaving ends the generator, once, and what had arrived is gone', async () => {
  const { reader, first, aborted } = begun()
  for (const each of [1, 2]) reader.push(each, 1)
  await first
  expect(await reader.return('mine')).toEqual(over('mine'))
  expect(aborted).toEqual([LEFT])
  expect(await reader.next()).toEqual(over())
  expect(await reader.return()).toEqual(over())
  expect(aborted).toEqual([LEFT])
})

test("leaving settles all that wait, and how the command ends is nobody's business", async () => {
  const { reader, first, reject } = begun()
  const second = reader.next()
  await reader.return()
  expect(await Promise.all([first, second])).toEqual([over(), over()])
  reject(new Error('aborted'))
  await settled()
  expect(await reader.next()).toEqual(over())
})

test('one that is left before it begins submits nothing', async () => {
  const { reader, state } = world()
  await reader.return()
  expect(await reader.next()).toEqual(over())
  expect(state.submits).toBe(0)
})

test('one that is left while its command waits for room ends the command once it is accepted', async () => {
  const { reader, source, aborted } = world()
  const first = reader.next()
  await reader.return()
  expect(await first).toEqual(over())
  expect(aborted).toEqual([])
  reader.attach(source)
  expect(aborted).toEqual([LEFT])
})

test('leaving after the end ends nothing', async () => {
  const { reader, first, resolve, aborted } = begun()
  resolve('end')
  await first
  await reader.return()
  expect(aborted).toEqual([])
})

test('throwing into it ends the generator and rejects with what was thrown', async () => {
  const { reader, aborted } = begun()
  const error = new Error('mine')
  await expect(reader.throw(error)).rejects.toBe(error)
  expect(aborted).toEqual([LEFT])
})

test('a loop that breaks, and a scope that ends, leave it', async () => {
  const looped = begun()
  for (const each of [1, 2, 3]) looped.reader.push(each, 1)
  await looped.first
  for await (const each of looped.reader) if (each === 2) break
  expect(looped.aborted).toEqual([LEFT])
  const scoped = begun()
  await scoped.reader[Symbol.asyncDispose]()
  expect(scoped.aborted).toEqual([LEFT])
})

test('a submit that is refused rejects the first that waits', async () => {
  const reader = new StreamReader(() => Promise.reject(new Error('closed')))
  await expect(reader.next()).rejects.toThrow('closed')
  expect(await reader.next()).toEqual(over())
})

test('a stream without end is read in memory that does not grow', async () => {
  const { reader, first } = begun()
  reader.push('first', 1)
  await first
  const taken: WeakRef<object>[] = []
  const push = (i: number) => {
    const made = { i }
    if (i % 1000 === 0) taken.push(new WeakRef(made))
    reader.push(made, 1)
  }
  // A slow reader is always some values behind.
  for (let i = 1; i < 100; i++) push(i)
  for (let i = 100; i <= 20_000; i++) {
    push(i)
    await reader.next()
  }
  await settled()
  collectGarbage()
  const kept = taken.flatMap((ref) => ref.deref() ?? [])
  expect(taken).toHaveLength(20)
  // Taken values are let go in lots: of those pushed a thousand ago one may be left, and the last
  // was not taken.
  expect(kept.length).toBeLessThanOrEqual(2)
})
