// Goal: a run that takes longer than it may is noticed at that very moment, if the watch is looked
// at when it asks to be, and nothing else is ever called late. The time of a stream that is paused
// stands still; after a pause it may be noticed a tenth of a second late.
// Method: random lives of commands with limits, in a window whose clock stops at every moment that
// the watch asks for, against a list of starts.

import fc from 'fast-check'
import { expect } from 'vitest'
import type { Command } from '../../src/coordinator/command.ts'
import { RunWatch } from '../../src/coordinator/threads/run-watch.ts'
import { RINGS_OFFSET, SLOT_COUNT } from '../../src/memory/layout.ts'
import { CoordinatorSlots, PartitionSlots, slotOf } from '../../src/memory/slots.ts'
import { viewsOf } from '../../src/memory/views.ts'
import { lawOf } from '../support/law.ts'

const law = lawOf(300)

/** How late a run that has paused may be noticed. */
const SLACK_MS = 100

interface Known {
  readonly id: number
  readonly limitMs: number
  startedAtMs: number | undefined
  pausedMs: number
  pausesSinceMs: number | undefined
}

function dueMs({ startedAtMs, limitMs, pausedMs, pausesSinceMs }: Known): number {
  if (startedAtMs === undefined) return Number.POSITIVE_INFINITY
  const atMs = startedAtMs + limitMs + pausedMs
  // Paused, it becomes late no more; it may be late already.
  return atMs <= (pausesSinceMs ?? atMs) ? atMs : Number.POSITIVE_INFINITY
}

class World {
  readonly watch = new RunWatch()
  readonly #views = viewsOf(new SharedArrayBuffer(RINGS_OFFSET))
  readonly #slots = new CoordinatorSlots(this.#views)
  readonly #partition = new PartitionSlots(this.#views)
  readonly #commands = new Array<Command | undefined>(SLOT_COUNT).fill(undefined)
  readonly #ids = new Int32Array(SLOT_COUNT)
  bound: Known[] = []
  readonly #graceMs: number
  now = 0

  constructor(graceMs: number) {
    this.#graceMs = graceMs
  }

  bind(limitMs: number): void {
    const id = this.#slots.open()
    this.#commands[slotOf(id)] = { timeoutMs: limitMs } as Command
    this.#ids[slotOf(id)] = id
    if (this.watch.isTighter(limitMs)) this.watch.tighten(limitMs, this.now)
    const waits = { startedAtMs: undefined, pausedMs: 0, pausesSinceMs: undefined }
    this.bound.push({ id, limitMs, ...waits })
  }

  start(one: Known): void {
    if (one.startedAtMs !== undefined) return
    one.startedAtMs = this.now
    this.#partition.start(one.id, this.now)
  }

  /** Pauses a run, or lets it go on. */
  toggle(one: Known): void {
    if (one.startedAtMs === undefined) return
    if (one.pausesSinceMs === undefined) {
      one.pausesSinceMs = this.now
      this.#partition.pause(one.id, this.now - one.startedAtMs - one.pausedMs)
    } else {
      one.pausedMs += this.now - one.pausesSinceMs
      one.pausesSinceMs = undefined
      this.#partition.resume(one.id, one.pausedMs)
    }
  }

  end(one: Known): void {
    this.bound = this.bound.filter((other) => other !== one)
    this.#commands[slotOf(one.id)] = undefined
    this.#slots.close(one.id)
  }

  /** Goes on to a moment, and looks whenever the watch asks for it. */
  moveTo(ms: number): void {
    while (this.watch.checkAtMs <= ms) {
      this.now = Math.max(this.now, this.watch.checkAtMs)
      this.look()
    }
    this.now = ms
    // What is late by now was noticed.
    for (const one of this.bound) {
      expect(dueMs(one)).toBeGreaterThan(one.pausedMs > 0 ? ms - SLACK_MS : ms)
    }
  }

  look(): void {
    const late = this.bound.filter((one) => dueMs(one) <= this.now)
    const found = this.watch.overdue(this.now, this.#commands, this.#ids, this.#slots)
    const bySlot = (a: number, b: number) => a - b
    expect(found.map(({ slot }) => slot).sort(bySlot)).toEqual(
      late.map(({ id }) => slotOf(id)).sort(bySlot),
    )
    for (const one of late) {
      // It is noticed when it becomes late, not after.
      if (one.pausedMs === 0) expect(dueMs(one)).toBe(this.now)
      else expect(dueMs(one)).toBeGreaterThanOrEqual(this.now - SLACK_MS)
      this.bound = this.bound.filter((other) => other !== one)
      this.#commands[slotOf(one.id)] = undefined
      const graceEndsMs = this.now + this.#graceMs
      this.watch.detach(slotOf(one.id), { graceEndsMs } as never)
    }
    // A run that goes on past its grace ends with its thread; here it just ends.
    for (let slot = 0; this.watch.stuckRun(this.now) !== undefined; slot++) this.watch.ended(slot)
    if (this.watch.checkAtMs <= this.now) {
      this.watch.overdue(this.now, this.#commands, this.#ids, this.#slots)
    }
  }
}

const TWICE = ['bind', 'start', 'pause', 'move']
const steps = fc.array(
  fc.record({
    what: fc.constantFrom('end', ...TWICE, ...TWICE),
    who: fc.nat(1000),
    ms: fc.constantFrom(1, 2, 5, 10, 20, 50, 300),
  }),
  { maxLength: 60, size: 'max' },
)

const graces = fc.constantFrom(0, 3, 1000, Infinity)

law('what runs too long is noticed at once, and nothing else', [steps, graces], (life, graceMs) => {
  const world = new World(graceMs)
  for (const { what, who, ms } of life) {
    const one = world.bound[who % Math.max(1, world.bound.length)]
    if (what === 'bind') world.bind(ms)
    if (what === 'start' && one !== undefined) world.start(one)
    if (what === 'pause' && one !== undefined) world.toggle(one)
    if (what === 'end' && one !== undefined) world.end(one)
    if (what === 'move') world.moveTo(world.now + ms)
  }
})
