// Held, over random walks through all transitions: counts are those of the deliveries, one of a key
// may start at a time and the oldest first, and nothing is left in the end.

import fc from 'fast-check'
import { expect } from 'vitest'
import { type HeldCommand, HeldCommands } from '../../src/distributed/work/held.ts'
import { WorkerLane } from '../../src/distributed/work/lane.ts'
import { planLane } from '../../src/model/lane.ts'
import { deliveryOf } from '../support/envelopes.ts'
import { lawOf } from '../support/law.ts'
import { UNHEARD } from '../support/worker-events.ts'

const law = lawOf(400)

const ENDS = ['unsubmit', 'end', 'giveBack', 'expire', 'take', 'settle', 'ask'] as const
type Kind = 'add' | 'submit' | (typeof ENDS)[number]

const STEP = fc.record({
  kind: fc.constantFrom<Kind>('add', 'add', 'submit', 'submit', ...ENDS),
  key: fc.constantFrom('a', 'b', undefined),
  pick: fc.nat(1000),
})

class Walk {
  readonly lane = new WorkerLane(planLane('lane', {}), false, undefined)
  readonly held = new HeldCommands(UNHEARD, 2, true)
  readonly all: HeldCommand[] = []
  /** Lost ones whose run goes on. */
  readonly detached = new Set<HeldCommand>()
  #isAsking = false

  step(kind: Kind, key: string | undefined, pick: number): void {
    const one = this.all[pick % Math.max(this.all.length, 1)]
    if (kind === 'add') this.add(key)
    else if (kind === 'ask') this.ask()
    else if (one === undefined) return
    else if (kind === 'submit' && one.state === 'READY') this.held.submit(one)
    else if (kind === 'unsubmit' && one.state === 'SUBMITTED') this.unsubmit(one)
    else if (kind === 'end') this.end(one)
    else if (kind === 'giveBack') this.giveBack(one)
    else if (kind === 'expire' || kind === 'take') this.lose(one, kind === 'take')
    else if (kind === 'settle') this.held.settled(one, 'done')
  }

  add(key: string | undefined): HeldCommand {
    const id = String(this.all.length)
    const members = { key, partitionId: this.all.length % 2 }
    const held = this.held.add(deliveryOf(id, members, { leasedUntilMs: 1 }), this.lane)
    this.all.push(held)
    return held
  }

  ask(): void {
    this.#isAsking = !this.#isAsking
    if (this.#isAsking) this.held.asking([0])
    else this.held.asked()
  }

  unsubmit(one: HeldCommand): void {
    this.held.runEnded()
    this.held.unsubmit(one)
  }

  end(one: HeldCommand): void {
    if (this.detached.delete(one)) {
      this.held.runEnded()
      if (one.isLeaving) this.held.end(one)
    } else if (one.state === 'READY' || one.state === 'SUBMITTED') {
      if (one.state === 'SUBMITTED') this.held.runEnded()
      this.held.end(one)
      this.held.passOn(one)
    }
  }

  giveBack(one: HeldCommand): void {
    if (one.state !== 'READY' && one.state !== 'SUBMITTED') return
    if (one.state === 'SUBMITTED') this.held.runEnded()
    const behind = this.held.leave(one)
    this.held.end(one)
    this.returnAll(behind)
  }

  lose(one: HeldCommand, isTaken: boolean): void {
    const { state } = one
    const behind = this.held.lose(one, isTaken)
    expect(behind === undefined).toBe(['ENDING', 'LOST', 'GONE'].includes(state))
    if (behind === undefined) return
    if (state === 'SUBMITTED') this.detached.add(one)
    else if (!isTaken) this.held.end(one)
    this.returnAll(behind)
  }

  returnAll(behind: readonly HeldCommand[]): void {
    for (const each of behind) {
      expect(this.held.leave(each)).toEqual([])
      this.held.end(each)
    }
  }

  check(): void {
    const { held, lane, all } = this
    const count = (...states: string[]) => all.filter(({ state }) => states.includes(state)).length
    const here = all.filter(({ isLost, state }) => !isLost && state !== 'GONE')
    expect(held.size).toBe(here.length)
    expect([...held.values()]).toEqual(here)
    expect(held.chained).toBe(count('CHAINED'))
    expect(lane.ready).toBe(count('READY', 'SUBMITTED'))
    expect(held.submitted).toBe(count('SUBMITTED') + this.detached.size)
    for (const partition of [0, 1]) {
      // Lost ones count too as long as they keep their key closed.
      const there = all.filter(
        ({ envelope, isLost, isLeaving, state }) =>
          envelope.partitionId === partition && state !== 'GONE' && (!isLost || isLeaving),
      )
      expect(held.countIn(partition)).toBe(there.length)
    }
    for (const key of ['a', 'b']) {
      const live = here.filter(({ envelope, state }) => envelope.key === key && state !== 'ENDING')
      const states = live.map(({ state }) => (state === 'CHAINED' ? 'CHAINED' : 'first'))
      expect(states).toEqual(live.map((_, i) => (i === 0 ? 'first' : 'CHAINED')))
    }
  }

  finish(): void {
    if (this.#isAsking) this.ask()
    for (let round = 0; round < this.all.length; round++) {
      for (const one of this.all) this.end(one)
      for (const one of this.all) this.held.settled(one, 'done')
    }
  }
}

const steps = fc.array(STEP, { maxLength: 60 })

law('whatever happens to deliveries, counts are right and nothing is left', [steps], (all) => {
  const walk = new Walk()
  for (const { kind, key, pick } of all) {
    walk.step(kind, key, pick)
    walk.check()
  }
  walk.finish()
  walk.check()
  expect([walk.held.size, walk.held.submitted, walk.held.isReordering]).toEqual([0, 0, false])
  for (const key of ['a', 'b']) {
    const fresh = walk.add(key)
    expect([fresh.state, walk.held.isClosed(fresh)]).toEqual(['READY', false])
  }
})
