// Goal: what is given out for the last time runs alone, and the worker comes back for it.

import { expect, test } from 'vitest'
import { Quarantine } from '../../../src/distributed/work/pacing.ts'
import { deliveryOf } from '../../support/envelopes.ts'

const delivery = (deliveries: number, partitionId = 0, laneId = 'lane') =>
  deliveryOf('a', { partitionId, laneId }, { deliveries })

test('only the last of several deliveries must be alone', () => {
  const quarantine = new Quarantine(3)
  expect([1, 2].map((count) => quarantine.admits(delivery(count), false))).toEqual([true, true])
  expect(quarantine.isOn).toBe(false)
  expect(quarantine.admits(delivery(3), false)).toBe(false)
  expect(quarantine.isOn).toBe(true)
  expect(quarantine.admitted).toBe(0)
})

test('where the first delivery is the last, nobody is a suspect', () => {
  const quarantine = new Quarantine(1)
  expect(quarantine.admits(delivery(1), false)).toBe(true)
  expect(quarantine.isOn).toBe(false)
})

test('one that comes alone runs at once, and nothing is taken beside it', () => {
  const quarantine = new Quarantine(2)
  expect(quarantine.admits(delivery(2), true)).toBe(true)
  expect(quarantine.isOn).toBe(true)
  expect(quarantine.next()).toBeUndefined()
  expect(quarantine.isOn).toBe(false)
  expect(quarantine.admitted).toBe(1)
})

test('while it is on, what comes beside is given back, and what has not started is in the way', () => {
  const quarantine = new Quarantine(2)
  const [other, suspect] = [delivery(1), delivery(2)]
  expect(quarantine.isInTheWay(other)).toBe(false)
  quarantine.admits(suspect, false)
  expect(quarantine.admits(other, false)).toBe(false)
  expect(quarantine.isInTheWay(other)).toBe(true)
  // What comes alone in its place runs alone, and counts as no suspect.
  expect(quarantine.admits(other, true)).toBe(true)
  expect([quarantine.isInTheWay(other), quarantine.isInTheWay(suspect)]).toEqual([false, true])
  expect(quarantine.admitted).toBe(0)
  quarantine.end()
  expect(quarantine.isInTheWay(suspect)).toBe(false)
})

test('those that were given back are asked for where they are, as many times as there were', () => {
  const quarantine = new Quarantine(2)
  quarantine.admits(delivery(2, 3, 'a'), false)
  quarantine.admits(delivery(2, 5, 'b'), false)
  const where = quarantine.next()!
  expect([...where.partitions]).toEqual([3, 5])
  expect([...where.lanes]).toEqual(['a', 'b'])
  quarantine.took(1)
  expect(quarantine.next()).toBeDefined()
  quarantine.took(1)
  expect(quarantine.next()).toBeUndefined()
})

test('when others have taken them it is over, and nothing of them is remembered', () => {
  const quarantine = new Quarantine(2)
  quarantine.admits(delivery(2, 3, 'a'), false)
  quarantine.end()
  expect(quarantine.isOn).toBe(false)
  quarantine.admits(delivery(2, 1, 'b'), false)
  const where = quarantine.next()!
  expect([...where.partitions]).toEqual([1])
  expect([...where.lanes]).toEqual(['b'])
})
