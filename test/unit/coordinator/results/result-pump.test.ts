// Result pump: when it looks at the rings. The bell and the clock are real; rings are counts.

import { expect, test } from 'vitest'
import { ResultPump } from '../../../../src/coordinator/results/result-pump.ts'
import { AwakeThreads, awakeMemory } from '../../../../src/memory/awake-threads.ts'
import { attachCommons, CoordinatorCommons } from '../../../../src/memory/commons.ts'
import { Bell, BellRinger } from '../../../../src/memory/doorbell.ts'
import { CommonsWord } from '../../../../src/memory/layout.ts'
import { until } from '../../../support/deadline.ts'

/** A pump beside one ring that the test fills, for a doze that would outlast the test. */
function dozing(cores: number) {
  const state = {
    results: 0,
    taken: 0,
    dozes: 0,
    progressed: 0,
    hasYounger: false,
    isBusy: true,
    isWorthLooking: true,
    onTaken: () => {},
  }
  const results = {
    get hasResults() {
      return state.results > 0
    },
    drain() {
      const count = state.results
      state.results = 0
      state.taken += count
      if (count > 0) state.onTaken()
      return count
    },
  }
  const awake = new AwakeThreads(awakeMemory(), 0, cores)
  const commons = new CoordinatorCommons(1, [])
  const pump = new ResultPump(commons, awake, [{ results }], {
    progressed: () => state.progressed++,
    isBusy: () => state.isBusy,
    idled: () => state.isWorthLooking,
    doze: () => {
      state.dozes++
      return 3_600_000
    },
    hasYounger: () => state.hasYounger,
  })
  const { views } = attachCommons(commons.memory, 1, [])
  return { pump, state, words: views.words, bell: new BellRinger(views, CommonsWord.BELL) }
}

test('a long doze ends early once a young command is bound', async () => {
  const { pump, state } = dozing(1)
  state.results = 1
  pump.expect(false)
  await until(() => state.dozes === 1, 'the doze')
  // No bell rings for it: the partition has more to do.
  state.results = 1
  pump.expect(false)
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(state.taken, 'an old command leaves the doze as it is').toBe(1)
  state.hasYounger = true
  pump.expect(false)
  await until(() => state.taken === 2, 'the result')
  pump.stop()
})

test('a lone result is taken in the turn of its submit, and the manager acts in the next', async () => {
  const { pump, state } = dozing(1024)
  state.results = 1
  pump.waitForOne(true)
  expect(state.taken).toBe(1)
  expect(state.progressed).toBe(0)
  await until(() => state.progressed === 1, 'the manager')
  pump.stop()
})

test('a result that has come is taken where spinning does not pay, or there is no core for it', async () => {
  const { pump, state } = dozing(0)
  pump.waitForOne(true)
  expect(state.taken).toBe(0)
  state.results = 1
  pump.waitForOne(true)
  expect(state.taken).toBe(1)
  await until(() => state.progressed === 1, 'the manager')
  pump.stop()
})

test.each([
  ['short, where no core is to spare', true, 0],
  ['not short', false, 1024],
])('a lone command that is %s is waited for asleep, without a look', async (_, isShort, cores) => {
  const { pump, state, words, bell } = dozing(cores)
  state.results = 1
  pump.expect(false)
  await until(() => state.dozes === 1, 'the doze, from which the pump goes to sleep')
  pump.expect(true)
  pump.waitForOne(isShort)
  expect(Atomics.load(words, CommonsWord.BELL)).toBe(Bell.ASLEEP)
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(state.dozes).toBe(1)
  state.results = 1
  expect(bell.ring(false), 'the pump has not looked by itself').toBe(true)
  await until(() => state.taken === 2, 'the result')
  pump.stop()
})

test('a second command ends the sleep in which a lone one is waited for', async () => {
  const { pump, state } = dozing(0)
  pump.expect(true)
  pump.waitForOne(false)
  // No bell rings: the commands behind the first may have to move.
  pump.expect(false)
  await until(() => state.dozes === 1, 'a look, and a doze')
  pump.stop()
})

test('a partition that answers before the queued turn need not ring', async () => {
  const { pump, state, words, bell } = dozing(1)
  state.isBusy = false
  pump.expect(false)
  await until(() => Atomics.load(words, CommonsWord.BELL) === Bell.ASLEEP, 'sleep')
  state.isBusy = true
  pump.expect(false)
  state.results = 1
  expect(bell.ring(true)).toBe(false)
  await until(() => state.taken === 1, 'the result')
  pump.stop()
})

test('a result that wakes the pump reaches its caller before the manager acts', async () => {
  const { pump, state, words, bell } = dozing(1)
  const order: string[] = []
  state.isWorthLooking = false
  state.results = 1
  pump.expect(false)
  await until(() => state.dozes === 1, 'the doze')
  // The doze ends by an urgent ring; nothing has come, so the pump sleeps.
  bell.ring(true)
  await until(() => Atomics.load(words, CommonsWord.BELL) === Bell.ASLEEP, 'sleep')
  const progressed = state.progressed
  state.onTaken = () =>
    void Promise.resolve().then(() => order.push(`${state.progressed - progressed}`))
  state.results = 1
  bell.ring(false)
  await until(() => state.progressed > progressed, 'the manager')
  expect(order).toEqual(['0'])
  pump.stop()
})
