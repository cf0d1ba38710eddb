// Goal: whatever both ends do in whatever order, a command is started or revoked at most once, is
// aborted only while it runs, and what comes too late for a slot's earlier command changes nothing.
// Method: random sequences of open, start, revoke, abort and close, late ones included, against a
// table.

import fc from 'fast-check'
import { expect } from 'vitest'
import { RINGS_OFFSET, SLOT_COUNT } from '../../src/memory/layout.ts'
import {
  CoordinatorSlots,
  PartitionSlots,
  SlotState,
  type SlotStateValue,
  slotOf,
} from '../../src/memory/slots.ts'
import { viewsOf } from '../../src/memory/views.ts'
import { lawOf } from '../support/law.ts'

const law = lawOf(300)

const step = fc.record({
  kind: fc.constantFrom('open', 'open', 'start', 'revoke', 'abort', 'close'),
  /** Chooses among the open commands, or among those of the past. */
  choice: fc.nat(1000),
  isLate: fc.boolean(),
})
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

/** Both ends, beside a table of what they did. */
class World {
  readonly #views = viewsOf(new SharedArrayBuffer(RINGS_OFFSET))
  readonly coordinator = new CoordinatorSlots(this.#views)
  readonly partition = new PartitionSlots(this.#views)
  readonly open = new Map<number, SlotStateValue>()
  readonly past: number[] = []
  readonly aborted = new Set<number>()

  play({ kind, choice, isLate }: Step): void {
    // Only what the partition has started or dropped sends a record, and only that closes a slot.
    const ended = [...this.open].filter(([, state]) => state !== SlotState.QUEUED)
    const open = kind === 'close' ? ended.map(([id]) => id) : [...this.open.keys()]
    const ids = isLate && kind !== 'close' ? this.past : open
    if (kind === 'open') this.#open()
    else if (ids.length > 0) this.#step(kind, ids[choice % ids.length]!, choice + 0.5)
    for (const [id, state] of this.open) {
      expect(this.coordinator.stateOf(id)).toBe(state)
      expect(this.coordinator.isCurrent(id)).toBe(true)
      expect(this.partition.isAborted(id)).toBe(this.aborted.has(id))
      expect(this.partition.isRevoked(id)).toBe(state === SlotState.REVOKED)
    }
    expect(this.coordinator.freeCount).toBe(SLOT_COUNT - this.open.size)
  }

  #open(): void {
    const { coordinator, partition, open, past } = this
    const id = coordinator.open()
    expect([id | 0, open.has(id), past.includes(id)]).toEqual([id, false, false])
    for (const other of open.keys()) expect(slotOf(other)).not.toBe(slotOf(id))
    open.set(id, SlotState.QUEUED)
    for (const gone of past) {
      if (slotOf(gone) !== slotOf(id)) continue
      const seen = [
        coordinator.isCurrent(gone),
        partition.isRevoked(gone),
        partition.isAborted(gone),
      ]
      expect(seen).toEqual([false, false, false])
    }
  }

  #step(kind: string, id: number, startedAtMs: number): void {
    const { coordinator, partition, open, aborted } = this
    const isQueued = open.get(id) === SlotState.QUEUED
    if (kind === 'start') {
      expect(partition.start(id, startedAtMs)).toBe(isQueued)
      if (isQueued) {
        open.set(id, SlotState.RUNNING)
        expect(coordinator.startedAtMs(id)).toBe(startedAtMs)
      }
    } else if (kind === 'revoke') {
      expect(coordinator.revoke(id)).toBe(isQueued)
      if (isQueued) open.set(id, SlotState.REVOKED)
    } else if (kind === 'close') {
      coordinator.close(id)
      open.delete(id)
      this.past.push(id)
    } else {
      const isRunning = open.get(id) === SlotState.RUNNING
      const isFirst = isRunning && !aborted.has(id)
      const isAborted = coordinator.abort(id)
      if (isRunning) aborted.add(id)
      // Of a slot that nobody has opened since, the word is still that of its last command.
      const isReused = [...open.keys()].some((one) => slotOf(one) === slotOf(id))
      if (isReused) expect(isAborted).toBe(isFirst)
    }
  }
}

const lists = fc.array(step, { maxLength: 100 })

law('each command starts or is revoked once, and late steps change nothing', [lists], (steps) => {
  const world = new World()
  for (const one of steps) world.play(one)
})
