// Goal: whatever both ends do in whatever order, a command is started or revoked at most once, is
// aborted only while it runs, and what comes too late for a slot's earlier command changes nothing.
// Method: random sequences of open, start, revoke, abort and close, late ones included, against a
// table.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RINGS_OFFSET, SLOT_COUNT } from '../../src/memory/layout.ts'
import {
  CoordinatorSlots,
  PartitionSlots,
  SlotState,
  type SlotStateValue,
  slotOf,
} from '../../src/memory/slots.ts'
import { viewsOf } from '../../src/memory/views.ts'

const RUNS = Number(process.env.CORELANE_PROPERTY_RUNS ?? 300)
const TIMEOUT_MS = 30_000 + RUNS * 30

interface Ends {
  readonly coordinator: CoordinatorSlots
  readonly partition: PartitionSlots
}

interface Model {
  /** Open commands, with their states. */
  readonly open: Map<number, SlotStateValue>
  /** Commands that were closed. */
  readonly past: number[]
  /** Those that were aborted. */
  readonly aborted: Set<number>
}

type Command = fc.Command<Model, Ends>

/** Chooses an id by a number, from the open ones or from the past. */
function pick(ids: Iterable<number>, choice: number): number | undefined {
  const all = [...ids]
  return all.length === 0 ? undefined : all[choice % all.length]
}

abstract class OnCommand implements Command {
  readonly choice: number
  readonly isLate: boolean

  constructor(choice: number, isLate: boolean) {
    this.choice = choice
    this.isLate = isLate
  }

  check(model: Readonly<Model>): boolean {
    return this.idIn(model) !== undefined
  }

  idIn({ open, past }: Readonly<Model>): number | undefined {
    return pick(this.isLate ? past : open.keys(), this.choice)
  }

  abstract step(model: Model, ends: Ends, id: number): void

  run(model: Model, ends: Ends): void {
    this.step(model, ends, this.idIn(model)!)
    for (const [id, state] of model.open) {
      expect(ends.coordinator.stateOf(id)).toBe(state)
      expect(ends.coordinator.isCurrent(id)).toBe(true)
      expect(ends.partition.isAborted(id)).toBe(model.aborted.has(id))
    }
    expect(ends.coordinator.freeCount).toBe(SLOT_COUNT - model.open.size)
  }
}

class Start extends OnCommand {
  override step(model: Model, { coordinator, partition }: Ends, id: number): void {
    const isQueued = model.open.get(id) === SlotState.QUEUED
    const startedAtMs = this.choice + 0.5
    expect(partition.start(id, startedAtMs)).toBe(isQueued)
    if (!isQueued) return
    model.open.set(id, SlotState.RUNNING)
    expect(coordinator.startedAtMs(id)).toBe(startedAtMs)
  }

  override toString(): string {
    return `start(${this.isLate ? 'late ' : ''}${this.choice})`
  }
}

class Revoke extends OnCommand {
  override step(model: Model, { coordinator }: Ends, id: number): void {
    const isQueued = model.open.get(id) === SlotState.QUEUED
    expect(coordinator.revoke(id)).toBe(isQueued)
    if (isQueued) model.open.set(id, SlotState.REVOKED)
  }

  override toString(): string {
    return `revoke(${this.isLate ? 'late ' : ''}${this.choice})`
  }
}

class Abort extends OnCommand {
  override step(model: Model, { coordinator }: Ends, id: number): void {
    const isRunning = model.open.get(id) === SlotState.RUNNING
    const isFirst = isRunning && !model.aborted.has(id)
    const isAborted = coordinator.abort(id)
    if (isRunning) model.aborted.add(id)
    // Of a slot that nobody has opened since, the word is still that of its last command.
    if (this.isLate && ![...model.open.keys()].some((one) => slotOf(one) === slotOf(id))) return
    expect(isAborted).toBe(isFirst)
  }

  override toString(): string {
    return `abort(${this.isLate ? 'late ' : ''}${this.choice})`
  }
}

/** Only what the partition has started or dropped sends a record, and only that closes a slot. */
class Close extends OnCommand {
  constructor(choice: number) {
    super(choice, false)
  }

  override idIn({ open }: Readonly<Model>): number | undefined {
    const ended = [...open].filter(([, state]) => state !== SlotState.QUEUED)
    return pick(
      ended.map(([id]) => id),
      this.choice,
    )
  }

  override step(model: Model, { coordinator }: Ends, id: number): void {
    coordinator.close(id)
    model.open.delete(id)
    model.past.push(id)
  }

  override toString(): string {
    return `close(${this.choice})`
  }
}

class Open implements Command {
  check(model: Readonly<Model>): boolean {
    return model.open.size < SLOT_COUNT
  }

  run(model: Model, { coordinator }: Ends): void {
    const id = coordinator.open()
    expect(model.open.has(id)).toBe(false)
    expect(model.past).not.toContain(id)
    for (const other of model.open.keys()) expect(slotOf(other)).not.toBe(slotOf(id))
    model.open.set(id, SlotState.QUEUED)
    for (const past of model.past) {
      if (slotOf(past) === slotOf(id)) expect(coordinator.isCurrent(past)).toBe(false)
    }
  }

  toString(): string {
    return 'open'
  }
}

test(
  'each command is started or revoked at most once, and late steps change nothing',
  () => {
    const choice = fc.nat(1000)
    const sequence = fc.commands(
      [
        fc.constant(new Open()),
        fc.constant(new Open()),
        fc.tuple(choice, fc.boolean()).map(([which, isLate]) => new Start(which, isLate)),
        fc.tuple(choice, fc.boolean()).map(([which, isLate]) => new Revoke(which, isLate)),
        fc.tuple(choice, fc.boolean()).map(([which, isLate]) => new Abort(which, isLate)),
        choice.map((which) => new Close(which)),
      ],
      { maxCommands: 100 },
    )
    fc.assert(
      fc.property(sequence, (steps) => {
        const views = viewsOf(new SharedArrayBuffer(RINGS_OFFSET))
        const real = {
          coordinator: new CoordinatorSlots(views),
          partition: new PartitionSlots(views),
        }
        fc.modelRun(
          () => ({ model: { open: new Map(), past: [], aborted: new Set<number>() }, real }),
          steps,
        )
      }),
      { numRuns: RUNS },
    )
  },
  TIMEOUT_MS,
)
