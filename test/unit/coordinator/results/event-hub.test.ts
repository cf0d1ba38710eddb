// Event hub: who is told, and whether anybody listens for starts.

import { expect, test } from 'vitest'
import { EventHub } from '../../../../src/coordinator/results/event-hub.ts'

function hubOf() {
  const listening: boolean[] = []
  const hub = new EventHub((isListening) => listening.push(isListening))
  return { hub, isListening: () => listening.at(-1) ?? false }
}

test('starts are listened for while at least one subscription wants them', async () => {
  const { hub, isListening } = hubOf()
  expect([hub.hasListeners, isListening()]).toEqual([false, false])
  const others = hub.subscribe({ events: ['queue.command.failed'] })
  expect([hub.hasListeners, isListening()]).toEqual([true, false])
  const all = hub.subscribe(undefined)
  const starts = hub.subscribe({ events: ['queue.command.started'] })
  expect(isListening()).toBe(true)
  await all.return()
  expect(isListening()).toBe(true)
  await starts.return()
  expect([hub.hasListeners, isListening()]).toEqual([true, false])
  await others.return()
  expect(hub.hasListeners).toBe(false)
})

test('what few commands tell costs all others nothing', () => {
  const { hub } = hubOf()
  hub.subscribe({ events: ['queue.command.timeout', 'queue.lane.idle', 'queue.partition.lost'] })
  expect(hub.hasListeners).toBe(false)
  hub.on('queue.command.progress', () => {})
  expect(hub.hasListeners).toBe(true)
})

test('events that are kept can be read after the end, and then the end is told for ever', async () => {
  const { hub } = hubOf()
  const subscription = hub.subscribe(undefined)
  hub.lane('queue.shutdown.started')
  hub.endAll()
  expect((await subscription.next()).value?.event).toBe('queue.shutdown.started')
  expect((await subscription.next()).done).toBe(true)
  expect((await subscription.next()).done).toBe(true)
  hub.lane('queue.shutdown.complete')
  expect((await subscription.next()).done).toBe(true)
})

test('a subscription that comes after the end has ended, and nobody is listened for', async () => {
  const { hub, isListening } = hubOf()
  hub.endAll()
  const late = hub.subscribe(undefined)
  expect((await late.next()).done).toBe(true)
  expect([hub.hasListeners, isListening()]).toEqual([false, false])
  await late.return()
})

test('readers that wait are served in the order in which they came', async () => {
  const { hub } = hubOf()
  const subscription = hub.subscribe(undefined)
  const readers = [subscription.next(), subscription.next()]
  hub.lane('queue.shutdown.started')
  hub.lane('queue.shutdown.complete')
  const seen = await Promise.all(readers)
  expect(seen.map(({ value }) => value?.event)).toEqual([
    'queue.shutdown.started',
    'queue.shutdown.complete',
  ])
})

test('beyond its capacity a subscription drops the oldest and counts them', async () => {
  const { hub } = hubOf()
  const subscription = hub.subscribe({ capacity: 2 })
  for (let i = 0; i < 5; i++) hub.lane('queue.shutdown.started')
  hub.lane('queue.shutdown.complete')
  expect(subscription.missed).toBe(4)
  expect((await subscription.next()).value?.event).toBe('queue.shutdown.started')
  expect((await subscription.next()).value?.event).toBe('queue.shutdown.complete')
})

test('a listener that takes itself off is called no more, also with what came in the same step', async () => {
  const { hub } = hubOf()
  const seen: string[] = []
  const once = ({ event }: { readonly event: string }) => {
    seen.push(event)
    hub.off('queue.shutdown.started', once)
  }
  hub.on('queue.shutdown.started', once)
  hub.on('queue.shutdown.complete', ({ event }) => seen.push(event))
  for (let i = 0; i < 3; i++) hub.lane('queue.shutdown.started')
  hub.lane('queue.shutdown.complete')
  await Promise.resolve()
  expect(seen).toEqual(['queue.shutdown.started', 'queue.shutdown.complete'])
})

test('an event costs the same whatever the capacity of a full subscription, and so does reading', async () => {
  const timeOf = async (capacity: number) => {
    const { hub } = hubOf()
    const subscription = hub.subscribe({ capacity })
    for (let i = 0; i < capacity; i++) hub.lane('queue.shutdown.started')
    const began = performance.now()
    for (let i = 0; i < 2_000; i++) hub.lane('queue.shutdown.complete')
    for (let i = 0; i < 1_000; i++) await subscription.next()
    const took = performance.now() - began
    expect(subscription.missed).toBe(2_000)
    return took
  }
  await timeOf(1_000)
  const leastOf = async (capacity: number) => {
    let least = Number.POSITIVE_INFINITY
    for (let i = 0; i < 5; i++) least = Math.min(least, await timeOf(capacity))
    return least
  }
  const small = await leastOf(1_000)
  // With an array that moves what it keeps for every event it took 50 times as long.
  expect(await leastOf(200_000)).toBeLessThan(30 * small + 5)
})
