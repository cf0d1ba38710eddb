import { expect, test } from 'vitest'
import { RINGS_OFFSET, SLOT_BITS, SLOT_COUNT, Word } from '../../../src/memory/layout.ts'
import { CoordinatorSlots, PartitionSlots, SlotState, slotOf } from '../../../src/memory/slots.ts'
import { viewsOf } from '../../../src/memory/views.ts'
import { range } from '../../support/range.ts'

const GENERATIONS = 2 ** (32 - SLOT_BITS)

function bothEnds() {
  const views = viewsOf(new SharedArrayBuffer(RINGS_OFFSET))
  return { views, coordinator: new CoordinatorSlots(views), partition: new PartitionSlots(views) }
}

test('all slots can be open at once, each with an id and a word of its own', () => {
  const { views, coordinator } = bothEnds()
  expect(coordinator.freeCount).toBe(SLOT_COUNT)
  const ids = range(SLOT_COUNT).map(() => coordinator.open())
  expect(coordinator.freeCount).toBe(0)
  expect(new Set(ids).size).toBe(SLOT_COUNT)
  expect(new Set(ids.map(slotOf)).size).toBe(SLOT_COUNT)
  for (const id of ids) expect(coordinator.stateOf(id)).toBe(SlotState.QUEUED)
  expect(views.words.subarray(0, Word.SLOTS).every((word) => word === 0)).toBe(true)
})

test('generations wrap after 2^22 uses of a slot, through negative ids, and ids stay Int32', () => {
  const { coordinator, partition } = bothEnds()
  const seen = new Set<number>()
  let previous = coordinator.open()
  const slot = slotOf(previous)
  const first = previous
  for (let use = 1; use <= GENERATIONS; use++) {
    coordinator.close(previous)
    const id = coordinator.open()
    if (id === previous || slotOf(id) !== slot || (id | 0) !== id) expect.unreachable(`id ${id}`)
    const isEdge = use < 4 || Math.abs(use - GENERATIONS / 2) < 4 || use > GENERATIONS - 4
    if (isEdge) {
      seen.add(Math.sign(id))
      expect(coordinator.isCurrent(id)).toBe(true)
      expect(coordinator.isCurrent(previous)).toBe(false)
      expect(partition.start(previous, 5)).toBe(false)
      expect(coordinator.stateOf(id)).toBe(SlotState.QUEUED)
      expect(partition.start(id, 5)).toBe(true)
      expect(coordinator.stateOf(id)).toBe(SlotState.RUNNING)
    }
    previous = id
  }
  expect(seen).toContain(-1)
  expect(seen).toContain(1)
  expect(previous).toBe(first)
})

test('the coordinator reads when each command was started, to a fraction of a millisecond', () => {
  const { views, coordinator, partition } = bothEnds()
  const ids = range(SLOT_COUNT).map(() => coordinator.open())
  for (const [i, id] of ids.entries()) partition.start(id, 1e9 + i + 0.25)
  expect(ids.map((id) => coordinator.startedAtMs(id))).toEqual(ids.map((_, i) => 1e9 + i + 0.25))
  // What is before and after them is left alone.
  for (const id of ids) expect(coordinator.stateOf(id)).toBe(SlotState.RUNNING)
  expect(views.words.subarray(Word.CREDITS).every((word) => word === 0)).toBe(true)
})

test('credit goes to one stream, wraps, and starts from 0 for the next in its slot', () => {
  const { coordinator, partition } = bothEnds()
  const [one, other] = [coordinator.open(), coordinator.open()]
  coordinator.grant(one, 512)
  expect([partition.creditOf(one), partition.creditOf(other)]).toEqual([512, 0])
  coordinator.grant(one, (2 ** 31 + 5) | 0)
  expect(partition.creditOf(one)).toBe(-(2 ** 31) + 5)
  coordinator.close(one)
  const next = coordinator.open()
  expect([slotOf(next), partition.creditOf(next)]).toEqual([slotOf(one), 0])
})

test("a paused run's time stands still, and goes on with what was left of it", () => {
  const { coordinator, partition } = bothEnds()
  const [one, other] = [coordinator.open(), coordinator.open()]
  for (const id of [one, other]) partition.start(id, 1000)
  expect([coordinator.runsSinceMs(one, 1100), coordinator.isPaused(one)]).toEqual([1000, false])
  partition.pause(one, 150.7)
  expect(coordinator.isPaused(one)).toBe(true)
  // However long it waits it has run for 150 ms.
  for (const now of [1151, 5000, 1e9]) expect(coordinator.runsSinceMs(one, now)).toBe(now - 150)
  partition.resume(one, 4000.2)
  expect([coordinator.runsSinceMs(one, 6000), coordinator.isPaused(one)]).toEqual([5001, false])
  expect([coordinator.runsSinceMs(other, 6000), coordinator.isPaused(other)]).toEqual([1000, false])
  expect(coordinator.startedAtMs(one)).toBe(1000)
  partition.pause(one, 0)
  expect([coordinator.runsSinceMs(one, 7000), coordinator.isPaused(one)]).toEqual([7000, true])
  // The next command in its slot has never paused.
  coordinator.close(one)
  const next = coordinator.open()
  partition.start(next, 8000)
  expect([slotOf(next), coordinator.runsSinceMs(next, 9000)]).toEqual([slotOf(one), 8000])
})

test('pauses of weeks do not wrap', () => {
  const { coordinator, partition } = bothEnds()
  const id = coordinator.open()
  partition.start(id, 0)
  partition.pause(id, 2 ** 40)
  expect(coordinator.runsSinceMs(id, 2 ** 41)).toBe(2 ** 41 - 2 ** 31 + 2)
  partition.resume(id, 2 ** 40)
  expect(coordinator.runsSinceMs(id, 2 ** 41)).toBe(2 ** 31 - 2)
})

test('the states of a word are told apart by its low bits', () => {
  expect(new Set(Object.values(SlotState)).size).toBe(4)
  for (const state of Object.values(SlotState)) expect(state).toBeLessThan(16)
})
