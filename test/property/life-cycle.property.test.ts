// Life cycle: in every order of start, calls, aborts, late calls, shutdown, drain and close, also
// from inside a call, the state goes one way, calls are made in their order and end once, and a
// drain ends when nothing is left.

import fc from 'fast-check'
import { expect } from 'vitest'
import { AbortListeners } from '../../src/base/abort-listeners.ts'
import { LifeCycle } from '../../src/coordinator/life-cycle.ts'
import { lawOf } from '../support/law.ts'
import { laneTable } from '../unit/coordinator/support/rig.ts'

const law = lawOf(300)

const ORDER = ['created', 'starting', 'running', 'shutdown', 'closed']

/** A call does one of these while it is made. */
const DEEDS = ['nothing', 'throws', 'shuts down', 'closes', 'aborts', 'calls'] as const
type Deed = (typeof DEEDS)[number]

/** A life cycle, and what has become of its calls. */
class Life {
  readonly cycle = new LifeCycle(laneTable({ lane: {} }), new AbortListeners())
  readonly made: number[] = []
  readonly ends: number[] = []
  readonly controllers: AbortController[] = []
  drains = 0
  #reached = 0

  /** A reader at any moment sees it go one way. */
  look(): void {
    const reached = ORDER.indexOf(this.cycle.state)
    expect(reached).toBeGreaterThanOrEqual(this.#reached)
    this.#reached = reached
  }

  call(isOne: boolean, deed: Deed): void {
    const { cycle } = this
    if (cycle.state === 'created') cycle.begin()
    if (cycle.state !== 'starting') return
    const number = this.controllers.length
    const controller = new AbortController()
    this.controllers.push(controller)
    this.ends.push(0)
    const end = () => {
      this.ends[number]!++
    }
    const run = () => {
      this.made.push(number)
      this.look()
      if (deed === 'throws') throw new Error('it throws')
      if (deed === 'shuts down') cycle.shutDown()
      if (deed === 'closes') cycle.close('closed')
      if (deed === 'aborts') for (const one of this.controllers) one.abort()
      if (deed === 'calls') this.call(true, 'nothing')
      this.look()
      return Promise.resolve()
    }
    const startWithinMs = number % 3 === 0 ? 1 : undefined
    const options = { signal: controller.signal, startWithinMs }
    cycle.wait(run, isOne, 'lane', options).then(end, end)
  }

  drain(): void {
    this.drains++
    const end = () => this.drains--
    this.cycle.drained(2 ** 31 - 1).then(end, end)
  }

  ready(): void {
    if (this.cycle.state !== 'starting' && this.cycle.state !== 'shutdown') return
    this.cycle.ready()
    expect(this.cycle.earlyCount).toBe(0)
  }
}

const steps = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(fc.constant('call'), fc.boolean(), fc.constantFrom(...DEEDS)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('abort'), fc.nat(20)) },
  { weight: 3, arbitrary: fc.constant(['next'] as const) },
  { weight: 2, arbitrary: fc.constantFrom(['ready'], ['shutDown'], ['drain'], ['close']) },
)

const lists = fc.array(steps, { maxLength: 30 })

law('the life goes one way and every call ends once, in any order', [lists], async (all) => {
  const life = new Life()
  const { cycle, controllers } = life
  for (const [step, what, deed] of all) {
    if (step === 'call') life.call(what as boolean, deed as Deed)
    else if (step === 'abort') controllers[what as number]?.abort()
    else if (step === 'next' && cycle.isNextForOne()) cycle.callNext()
    else if (step === 'ready') life.ready()
    else if (step === 'shutDown') cycle.shutDown()
    else if (step === 'drain') life.drain()
    else if (step === 'close') cycle.close('closed')
    life.look()
    // As the manager does after what it does; an abort comes from elsewhere.
    if (step !== 'abort') cycle.settled()
    await new Promise((resolve) => setImmediate(resolve))
    const waiting = life.ends.filter((count) => count === 0).length
    expect(cycle.earlyCount).toBe(waiting)
    if (waiting === 0) expect(life.drains).toBe(0)
  }
  cycle.close('closed')
  await new Promise((resolve) => setImmediate(resolve))
  expect(life.ends).toEqual(life.ends.map(() => 1))
  expect(life.made).toEqual([...new Set(life.made)].sort((a, b) => a - b))
  expect(cycle.earlyCount).toBe(0)
})
