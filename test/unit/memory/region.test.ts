import { expect, test, vi } from 'vitest'
import { LaneError } from '../../../src/base/errors.ts'
import { attachCommons, CoordinatorCommons } from '../../../src/memory/commons.ts'
import { Bell } from '../../../src/memory/doorbell.ts'
import { LAYOUT_VERSION, regionBytes, Word } from '../../../src/memory/layout.ts'
import { CoordinatorEnd, createRegion, PartitionEnd } from '../../../src/memory/region.ts'
import type { RingReader, RingWriter } from '../../../src/memory/ring.ts'
import { viewsOf } from '../../../src/memory/views.ts'
import { range } from '../../support/range.ts'

function bothEnds() {
  const region = createRegion(1024, 2048)
  const commons = new CoordinatorCommons(1, [])
  const woken = vi.fn()
  const bell = commons.openBell(0)
  const coordinator = new CoordinatorEnd(region, bell)
  const { views } = attachCommons(commons.memory, 1, [])
  const partition = new PartitionEnd(region, views, bell.word, woken)
  return { region, commons, woken, coordinator, partition }
}

function send(writer: RingWriter, kind: number, length = 8): boolean {
  const offset = writer.tryClaim(length)
  if (offset === -1) return false
  writer.commit(offset, kind)
  writer.publish()
  return true
}

function take(reader: RingReader, limit = 1000): number[] {
  const kinds: number[] = []
  reader.read({ onRecord: (kind) => kinds.push(kind) }, limit)
  return kinds
}

test('a region is as long as its layout says, and zero but for its version and sizes', () => {
  const region = createRegion(1024, 2048)
  expect(region.byteLength).toBe(regionBytes(1024, 2048))
  const { words } = viewsOf(region)
  expect(words[Word.VERSION]).toBe(LAYOUT_VERSION)
  expect(words[Word.COMMAND_RING_BYTES]).toBe(1024)
  expect(words[Word.RESULT_RING_BYTES]).toBe(2048)
  expect(words.subarray(3).every((word) => word === 0)).toBe(true)
})

test('commands go one way and results the other, without mixing', () => {
  const { coordinator, partition } = bothEnds()
  for (let i = 0; i < 20; i++) {
    send(coordinator.commands, i)
    send(partition.results, 100 + i)
  }
  expect(take(partition.commands)).toEqual(range(20))
  expect(take(coordinator.results)).toEqual(range(20).map((i) => 100 + i))
})

test('both rings can be filled to the last byte without touching each other or the slots', () => {
  const { region, coordinator, partition } = bothEnds()
  const id = coordinator.slots.open()
  while (send(coordinator.commands, 1));
  while (send(partition.results, 2));
  expect(coordinator.commands.freeBytes()).toBe(0)
  expect(partition.results.freeBytes()).toBe(0)
  expect(new Set(take(partition.commands))).toEqual(new Set([1]))
  expect(new Set(take(coordinator.results))).toEqual(new Set([2]))
  expect(partition.slots.start(id, 5)).toBe(true)
  expect(viewsOf(region).words[Word.SPACE_WANTED]).toBe(0)
})

test("the coordinator rings the partition's bell, the partition the coordinator's", async () => {
  const { commons, woken, coordinator, partition } = bothEnds()
  const coordinatorWoken = vi.fn()
  const sleeper = commons.sleeper(coordinatorWoken)
  for (const bell of [partition.bell, sleeper]) {
    bell.announce(Bell.ASLEEP)
    bell.wait()
  }
  expect(coordinator.bell.ring(true)).toBe(true)
  await vi.waitFor(() => expect(woken).toHaveBeenCalledTimes(1))
  expect(coordinatorWoken).not.toHaveBeenCalled()
  expect(partition.coordinatorBell.ring(true)).toBe(true)
  await vi.waitFor(() => expect(coordinatorWoken).toHaveBeenCalledTimes(1))
  expect(woken).toHaveBeenCalledTimes(1)
})

test('room is granted only to a partition that wants it', () => {
  const { coordinator, partition } = bothEnds()
  partition.bell.announce(Bell.ASLEEP)
  coordinator.grantSpace()
  expect(coordinator.bell.isAwake).toBe(false)
})

test('room is granted once half the result ring is free, and the wish is cleared then', () => {
  const { region, coordinator, partition } = bothEnds()
  const { words } = viewsOf(region)
  while (send(partition.results, 1));
  partition.bell.announce(Bell.ASLEEP)
  partition.wantSpace()
  expect(words[Word.SPACE_WANTED]).toBe(1)
  // 2048 bytes hold 128 records of 16: after 63 reads a record more than half is left.
  take(coordinator.results, 63)
  coordinator.grantSpace()
  expect(coordinator.bell.isAwake).toBe(false)
  expect(words[Word.SPACE_WANTED]).toBe(1)
  take(coordinator.results, 1)
  coordinator.grantSpace()
  expect(coordinator.bell.isAwake).toBe(true)
  expect(words[Word.SPACE_WANTED]).toBe(0)
})

test('a wish of a partition that is awake is cleared without a ring', () => {
  const { region, coordinator, partition } = bothEnds()
  partition.wantSpace()
  coordinator.grantSpace()
  expect(viewsOf(region).words[Word.SPACE_WANTED]).toBe(0)
  expect(coordinator.bell.isAwake).toBe(true)
})

test('memory of another layout is refused by whoever attaches to it', () => {
  const foreign = createRegion(1024, 1024)
  viewsOf(foreign).words[Word.VERSION] = LAYOUT_VERSION + 1
  const commons = new CoordinatorCommons(1, [])
  const bell = commons.openBell(0)
  const { views } = attachCommons(commons.memory, 1, [])
  const attempts = [
    () => new CoordinatorEnd(foreign, bell),
    () => new PartitionEnd(foreign, views, bell.word, () => {}),
  ]
  for (const attempt of attempts) {
    expect(attempt).toThrow(LaneError)
    expect(attempt).toThrow(expect.objectContaining({ code: 'CORELANE_LAYOUT_MISMATCH' }))
  }
})

test('two regions share nothing', () => {
  const first = bothEnds()
  const second = bothEnds()
  send(first.coordinator.commands, 1)
  first.partition.bell.announce(Bell.ASLEEP)
  expect(second.partition.commands.isEmpty).toBe(true)
  expect(second.coordinator.bell.isAwake).toBe(true)
})
