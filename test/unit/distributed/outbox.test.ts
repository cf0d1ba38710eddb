// Outbox. Goal: everything is sent, in order, until it is answered for, refused or given up.

import { expect, test } from 'vitest'
import { Outbox } from '../../../src/distributed/outbox.ts'
import { until, within } from '../../support/deadline.ts'
import { range } from '../../support/range.ts'

const CODES = {
  down: undefined,
  refused: 'CORELANE_ENVELOPE_TOO_LARGE',
  full: 'CORELANE_QUEUE_FULL',
}
type Answer = 'yes' | keyof typeof CODES

/** An outbox of numbers, with what was sent and what became of it. */
function world(answer: (items: readonly number[]) => Answer, batchMax = 4, patienceMs = () => 0) {
  const [calls, refused, failures]: [number[][], number[], unknown[]] = [[], [], []]
  const unwanted = new Set<number>()
  const outbox = new Outbox<number>({
    batchMax,
    send: async (items) => {
      calls.push([...items])
      const reply = answer(items)
      if (reply !== 'yes') throw Object.assign(new Error(reply), { code: CODES[reply] })
    },
    refused: (item) => void refused.push(item),
    failed: (error) => void failures.push(error),
    isWanted: (item) => !unwanted.has(item),
    patienceMs,
  })
  return { outbox, calls, refused, failures, unwanted }
}

const idle = (outbox: Outbox<number>) => within(outbox.idle(), 'the outbox')

/** The same, which sends up to 100 at once and waits for so many for so long. */
const patientWorld = (patienceMs: () => number) => world(() => 'yes', 100, patienceMs)

test('what comes in one turn goes in one call, and what comes meanwhile in the next', async () => {
  const { outbox, calls } = world(() => 'yes', 3)
  for (const item of [1, 2, 3, 4]) outbox.add(item)
  expect([calls.length, outbox.size]).toEqual([0, 4])
  await idle(outbox)
  outbox.add(5)
  await idle(outbox)
  expect(calls).toEqual([[1, 2, 3], [4], [5]])
  expect(outbox.size).toBe(0)
})

test('a call that fails is repeated until it does not, in order', async () => {
  let isDown = true
  const { outbox, calls, failures } = world(() => (isDown ? 'down' : 'yes'))
  outbox.add(1)
  await until(() => calls.length === 2, 'a second call')
  outbox.add(2)
  isDown = false
  await idle(outbox)
  expect(calls).toEqual([[1], [1], [1], [2]])
  expect(failures.length).toBe(2)
})

test('what nobody wants any more is not repeated', async () => {
  const { outbox, calls, unwanted } = world((items) => (items.includes(1) ? 'down' : 'yes'))
  outbox.add(1)
  outbox.add(2)
  await until(() => calls.length === 1, 'a call')
  unwanted.add(1)
  await idle(outbox)
  expect(calls).toEqual([[1, 2], [2]])
})

test('what nobody wants any more is let go though the queue stays down', async () => {
  const { outbox, calls, unwanted } = world(() => 'down', 2)
  for (const item of [1, 2, 3, 4, 5]) outbox.add(item)
  await until(() => calls.length === 1, 'a call')
  for (const item of [1, 3, 5]) unwanted.add(item)
  outbox.prune()
  // The two of the call that is repeated, and one that waits.
  expect(outbox.size).toBe(3)
  outbox.giveUp()
})

test('more than a queue has room for at once goes in several calls, in order', async () => {
  let isFull = true
  const { outbox, calls, failures } = world(
    ({ length }) => (length > 2 || isFull ? 'full' : 'yes'),
    8,
  )
  for (const item of range(8)) outbox.add(item)
  await until(() => failures.length > 0, 'a failure of a single one')
  isFull = false
  await idle(outbox)
  const taken = calls.slice(calls.findLastIndex((items) => items.length === 1 && items[0] === 0))
  expect(taken.filter(({ length }) => length < 3).flat()).toEqual(range(8))
  expect(failures.every((error) => (error as Error).message === 'full')).toBe(true)
})

test('those that are refused are found, and the others are sent', async () => {
  const bad = new Set([3, 9])
  const isBad = (items: readonly number[]) => items.some((item) => bad.has(item))
  const { outbox, calls, refused } = world((items) => (isBad(items) ? 'refused' : 'yes'), 16)
  const items = range(12)
  for (const item of items) outbox.add(item)
  await idle(outbox)
  expect(refused).toEqual([3, 9])
  const sent = calls.filter((call) => !isBad(call)).flat()
  expect(sent).toEqual(items.filter((item) => !bad.has(item)))
})

test('once it is given up nothing is tried any more', async () => {
  const { outbox, calls } = world(() => 'down')
  outbox.add(1)
  await until(() => calls.length === 1, 'a call')
  outbox.giveUp()
  await idle(outbox)
  outbox.add(2)
  await idle(outbox)
  expect(calls).toEqual([[1]])
})

test('what waits for others goes at once when it must hurry', async () => {
  const { outbox, calls } = patientWorld(() => 60_000)
  outbox.add(1)
  outbox.hurry()
  await idle(outbox)
  for (let item = 2; item < 66; item++) outbox.add(item)
  // So many go at the end of this turn.
  outbox.hurry()
  await idle(outbox)
  expect(calls.map((call) => call.length)).toEqual([1, 64])
})

test('what may wait goes with what comes meanwhile, and at once when nothing is to be waited for', async () => {
  let ms = 60_000
  const { outbox, calls } = patientWorld(() => ms)
  for (const item of [1, 2]) {
    outbox.add(item)
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect([calls.length, outbox.size]).toEqual([0, 2])
  ms = 0
  outbox.add(3)
  await idle(outbox)
  expect(calls).toEqual([[1, 2, 3]])
})

test('what waits goes when its time is up, or when there is a good batch of it', async () => {
  let ms = 5
  const { outbox, calls } = patientWorld(() => ms)
  outbox.add(1)
  await idle(outbox)
  expect(calls).toEqual([[1]])
  ms = 60_000
  for (let item = 0; item < 64; item++) outbox.add(item)
  await idle(outbox)
  expect(calls[1]).toHaveLength(64)
})

test('what comes while a call is under way may wait after it too', async () => {
  const { outbox, calls } = world(
    () => {
      if (calls.length === 1) {
        outbox.add(2)
        setTimeout(() => outbox.add(3), 5)
      }
      return 'yes'
    },
    100,
    () => (calls.length === 1 ? 20 : 0),
  )
  outbox.add(1)
  await until(() => calls.length === 1, 'a call')
  await idle(outbox)
  expect(calls[0]).toEqual([1])
  expect(calls.slice(1).flat()).toEqual([2, 3])
})

test('an outbox that is given up while something waits is idle, and sends nothing', async () => {
  const { outbox, calls } = patientWorld(() => 10)
  outbox.add(1)
  const ended = idle(outbox)
  outbox.giveUp()
  await ended
  await new Promise((resolve) => setTimeout(resolve, 30))
  expect(calls).toEqual([])
  expect(outbox.size).toBe(1)
})
