// Dequeued: deliveries known by the id of their command, until they end or their lease is over.

import { expect, test } from 'vitest'
import { Dequeued } from '../../../src/distributed/dequeued.ts'
import type { Delivery } from '../../../src/distributed/distributed-queue.ts'

function delivery(id: string, leftMs: number): Delivery {
  const leasedUntilMs = performance.now() + leftMs
  return { envelope: { id }, fence: id, deliveries: 1, leasedUntilMs } as Delivery
}

async function ended(dequeued: Dequeued, id: string): Promise<Delivery[]> {
  const all: Delivery[] = []
  await dequeued.end(id, async (each) => all.push(each))
  return all
}

test('a delivery ends once, under the id of its command', async () => {
  const dequeued = new Dequeued()
  const one = delivery('a', 1000)
  dequeued.add(one)
  expect(await ended(dequeued, 'b')).toEqual([])
  expect(await ended(dequeued, 'a')).toEqual([one])
  expect(await ended(dequeued, 'a')).toEqual([])
})

test('one whose end was not told is known on', async () => {
  const dequeued = new Dequeued()
  const one = delivery('a', 1000)
  dequeued.add(one)
  const failing = dequeued.end('a', () => Promise.reject(new Error('no answer')))
  await expect(failing).rejects.toThrow('no answer')
  expect(await ended(dequeued, 'a')).toEqual([one])
})

test('those whose lease is over are forgotten when another comes', async () => {
  const dequeued = new Dequeued()
  dequeued.add(delivery('a', -1))
  const one = delivery('b', 1000)
  dequeued.add(one)
  expect(await ended(dequeued, 'a')).toEqual([])
  expect(await ended(dequeued, 'b')).toEqual([one])
})

test('the end of one does not forget a later one of the same command', async () => {
  const dequeued = new Dequeued()
  dequeued.add(delivery('a', 1000))
  const later = delivery('a', 1000)
  await dequeued.end('a', async () => dequeued.add(later))
  expect(await ended(dequeued, 'a')).toEqual([later])
})
