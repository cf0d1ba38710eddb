// Outbox. Goal: everything is sent, in order, until it is answered for, refused or given up.

import { expect, test } from 'vitest'
import { Outbox } from '../../../src/distributed/outbox.ts'
import { until, within } from '../../support/deadline.ts'

type Answer = 'yes' | 'down' | 'refused'

/** An outbox of numbers, with what was sent and what became of it. */
function world(answer: (items: readonly number[]) => Answer, batchMax = 4) {
  const [calls, refused, failures]: [number[][], number[], unknown[]] = [[], [], []]
  const unwanted = new Set<number>()
  const outbox = new Outbox<number>({
    owner: 'test',
    batchMax,
    send: async (items) => {
      calls.push([...items])
      const reply = answer(items)
      if (reply === 'down') throw new Error('down')
      if (reply === 'refused') {
        throw Object.assign(new Error('refused'), { code: 'CORELANE_ENVELOPE_TOO_LARGE' })
      }
    },
    refused: (item) => void refused.push(item),
    failed: (error) => void failures.push(error),
    isWanted: (item) => !unwanted.has(item),
  })
  return { outbox, calls, refused, failures, unwanted }
}

test('what comes in one turn goes in one call, and what comes meanwhile in the next', async () => {
  const { outbox, calls } = world(() => 'yes', 3)
  for (const item of [1, 2, 3, 4]) outbox.add(item)
  expect([calls.length, outbox.size]).toEqual([0, 4])
  await within(outbox.idle(), 'the outbox')
  outbox.add(5)
  await within(outbox.idle(), 'the outbox')
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
  await within(outbox.idle(), 'the outbox')
  expect(calls).toEqual([[1], [1], [1], [2]])
  expect(failures.length).toBe(2)
})

test('what nobody wants any more is not repeated', async () => {
  const { outbox, calls, unwanted } = world((items) => (items.includes(1) ? 'down' : 'yes'))
  outbox.add(1)
  outbox.add(2)
  await until(() => calls.length === 1, 'a call')
  unwanted.add(1)
  await within(outbox.idle(), 'the outbox')
  expect(calls).toEqual([[1, 2], [2]])
})

test('those that are refused are found, and the others are sent', async () => {
  const bad = new Set([3, 9])
  const isBad = (items: readonly number[]) => items.some((item) => bad.has(item))
  const { outbox, calls, refused } = world((items) => (isBad(items) ? 'refused' : 'yes'), 16)
  const items = Array.from({ length: 12 }, (_, i) => i)
  for (const item of items) outbox.add(item)
  await within(outbox.idle(), 'the outbox')
  expect(refused).toEqual([3, 9])
  const sent = calls.filter((call) => !isBad(call)).flat()
  expect(sent).toEqual(items.filter((item) => !bad.has(item)))
})

test('once it is given up nothing is tried any more', async () => {
  const { outbox, calls } = world(() => 'down')
  outbox.add(1)
  await until(() => calls.length === 1, 'a call')
  outbox.giveUp()
  await within(outbox.idle(), 'the outbox')
  outbox.add(2)
  await within(outbox.idle(), 'the outbox')
  expect(calls).toEqual([[1]])
})
