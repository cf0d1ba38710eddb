// Dequeued: deliveries known by the id of their command, until they end or their lease is over.

import { expect, test } from 'vitest'
import type { Delivery } from '../../../src/distributed/contract/distributed-queue.ts'
import { Dequeued } from '../../../src/distributed/contract/leased-engine.ts'

function delivery(id: string, leftMs: number): Delivery {
  const leasedUntilMs = performance.now() + leftMs
  return { envelope: { id }, fence: id, deliveries: 1, leasedUntilMs } as Delivery
}

/** What was ended under an id, or the code of the refusal. */
async function ended(dequeued: Dequeued, id: string): Promise<unknown> {
  let seen: Delivery | undefined
  try {
    await dequeued.end(id, async (each) => {
      seen = each
      return 'done'
    })
  } catch (error) {
    return (error as { code?: string }).code
  }
  return seen
}

const NOT_HELD = 'CORELANE_NOT_HELD'

test('a delivery ends once, under the id of its command', async () => {
  const dequeued = new Dequeued('w')
  const one = delivery('a', 1000)
  dequeued.add(one)
  expect(await ended(dequeued, 'b')).toBe(NOT_HELD)
  expect(await ended(dequeued, 'a')).toBe(one)
  expect(await ended(dequeued, 'a')).toBe(NOT_HELD)
})

test('one whose end was not told is known on', async () => {
  const dequeued = new Dequeued('w')
  const one = delivery('a', 1000)
  dequeued.add(one)
  const failing = dequeued.end('a', () => Promise.reject(new Error('no answer')))
  await expect(failing).rejects.toThrow('no answer')
  expect(await ended(dequeued, 'a')).toBe(one)
})

test('those whose lease is over are forgotten when another comes', async () => {
  const dequeued = new Dequeued('w')
  dequeued.add(delivery('a', -1))
  const one = delivery('b', 1000)
  dequeued.add(one)
  expect(await ended(dequeued, 'a')).toBe(NOT_HELD)
  expect(await ended(dequeued, 'b')).toBe(one)
})

test('the end of one does not forget a later one of the same command', async () => {
  const dequeued = new Dequeued('w')
  dequeued.add(delivery('a', 1000))
  const later = delivery('a', 1000)
  await dequeued.end('a', async () => {
    dequeued.add(later)
    return 'done'
  })
  expect(await ended(dequeued, 'a')).toBe(later)
})

test('one that another worker has by now is refused, and forgotten', async () => {
  const dequeued = new Dequeued('w')
  dequeued.add(delivery('a', 1000))
  const late = dequeued.end('a', async () => 'stale')
  await expect(late).rejects.toMatchObject({
    code: NOT_HELD,
    message: expect.stringContaining('worker w: its lease is over'),
  })
  expect(await ended(dequeued, 'a')).toBe(NOT_HELD)
})
