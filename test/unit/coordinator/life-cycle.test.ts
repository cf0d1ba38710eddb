// Life cycle: from which state each step leads where, who is refused in which, what becomes of
// calls that wait for the threads, and when a drain ends.

import { describe, expect, test } from 'vitest'
import { AbortListeners } from '../../../src/base/abort-listeners.ts'
import type { LaneError } from '../../../src/base/errors.ts'
import { LifeCycle, type ManagerState } from '../../../src/coordinator/life-cycle.ts'
import { laneTable } from './support/rig.ts'

function world() {
  const lanes = laneTable({ lane: {} })
  const signals = new AbortListeners()
  const life = new LifeCycle(lanes, signals)
  const states: ManagerState[] = []
  /** A call that notes the state in which it is made. */
  const call = (act: () => void = () => {}) => {
    return async () => {
      states.push(life.state)
      act()
      return states.length
    }
  }
  return { life, lane: lanes.all[0]!, states, call, signals }
}

const ways: Readonly<Record<ManagerState, (life: LifeCycle) => void>> = {
  created: () => {},
  starting: (life) => life.begin(),
  running: (life) => {
    life.begin()
    life.ready()
  },
  shutdown: (life) => void life.shutDown(),
  closed: (life) => life.close('closed'),
}

/** What each step makes of each state; undefined where it is refused. */
const steps: readonly [ManagerState, Readonly<Record<string, ManagerState | undefined>>][] = [
  ['created', { begin: 'starting', ready: undefined, shutDown: 'shutdown', close: 'closed' }],
  ['starting', { begin: undefined, ready: 'running', shutDown: 'shutdown', close: 'closed' }],
  ['running', { begin: undefined, ready: undefined, shutDown: 'shutdown', close: 'closed' }],
  ['shutdown', { begin: undefined, ready: 'shutdown', shutDown: 'shutdown', close: 'closed' }],
  ['closed', { begin: undefined, ready: 'closed', shutDown: 'closed', close: 'closed' }],
]

test.each(steps)('from %s each step leads to one state or is refused', (state, expected) => {
  for (const [step, next] of Object.entries(expected)) {
    const { life } = world()
    ways[state](life)
    expect(life.state).toBe(state)
    const take = () => life[step as 'begin' | 'ready' | 'shutDown'].call(life)
    if (next === undefined) expect(take).toThrow()
    else take()
    expect(life.state).toBe(next ?? state)
  }
})

test('callers are taken while it runs, and those who were let in until it is closed', () => {
  const taken = Object.entries(ways).map(([state, way]) => {
    const { life } = world()
    way(life)
    return [false, true].map((isLetIn) => {
      try {
        life.refuseUnlessRunning(isLetIn)
        return true
      } catch (error) {
        expect(error).toMatchObject({ code: 'CORELANE_CLOSED', details: { state } })
        return false
      }
    })
  })
  expect(taken).toEqual([
    [false, true],
    [false, true],
    [true, true],
    [false, true],
    [false, false],
  ])
})

describe('calls that wait', () => {
  test('are made in order once all is ready, and find the state that it is', async () => {
    const { life, states, call } = world()
    life.begin()
    const calls = [1, 2, 3].map(() => life.wait(call(), false))
    expect(life.earlyCount).toBe(3)
    life.ready()
    expect(life.earlyCount).toBe(0)
    expect(await Promise.all(calls)).toEqual([1, 2, 3])
    expect(states).toEqual(['running', 'running', 'running'])
  })

  test('are made one by one while it starts, which it goes on doing', async () => {
    const { life, states, call } = world()
    life.begin()
    const calls = [life.wait(call(), true), life.wait(call(), false), life.wait(call(), true)]
    expect(life.isNextForOne()).toBe(true)
    life.callNext()
    // The next needs every thread, and none passes it.
    expect(life.isNextForOne()).toBe(false)
    expect([life.state, life.earlyCount]).toEqual(['starting', 2])
    life.ready()
    expect(await Promise.all(calls)).toEqual([1, 2, 3])
    expect(states).toEqual(['starting', 'running', 'running'])
  })

  test('are made after a shutdown, also one by one of them', async () => {
    const { life, states, call } = world()
    life.begin()
    const shutDown = () => void life.shutDown()
    const calls = [call(), call(shutDown), call()].map((one) => life.wait(one, false))
    life.ready()
    expect(await Promise.all(calls)).toEqual([1, 2, 3])
    expect(states).toEqual(['running', 'running', 'shutdown'])
    expect(life.state).toBe('shutdown')
  })

  test('are rejected by a close, also by one of them', async () => {
    const { life, states, call } = world()
    life.begin()
    const calls = [call(), call(() => life.close('over')), call()].map((one) =>
      life.wait(one, false),
    )
    life.ready()
    const ends = await Promise.allSettled(calls)
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected'])
    expect(ends[2]).toMatchObject({ reason: 'over' })
    expect([life.state, life.earlyCount, states.length]).toEqual(['closed', 0, 2])
  })

  test('may throw at once, which rejects that one', async () => {
    const { life, call } = world()
    life.begin()
    const broken = () => {
      throw new RangeError('broken')
    }
    const calls = [life.wait(broken, true), life.wait(call(), true)]
    life.ready()
    const [first, second] = await Promise.allSettled(calls)
    expect(first).toMatchObject({ status: 'rejected', reason: { message: 'broken' } })
    expect(second).toEqual({ status: 'fulfilled', value: 1 })
  })

  test('are told when they came', async () => {
    const { life } = world()
    life.begin()
    const before = performance.now()
    const calledAtMs = life.wait(async (atMs) => atMs, false)
    const after = performance.now()
    life.ready()
    expect(await calledAtMs).toBeGreaterThanOrEqual(before)
    expect(await calledAtMs).toBeLessThanOrEqual(after)
  })

  test('end by their signals, which are let go of, and none that waits is passed over', async () => {
    const { life, call, signals } = world()
    life.begin()
    const own = new AbortController()
    const other = new AbortController()
    const gone = new AbortController()
    gone.abort('before')
    const calls = [
      life.wait(call(), false, 'lane', own),
      life.wait(call(), true, 'lane', other),
      life.wait(call(), true, 'lane', gone),
      life.wait(call(), true, 'lane', { signal: 'none' } as never),
    ]
    expect(signals.size).toBe(2)
    own.abort('enough')
    expect(life.earlyCount).toBe(2)
    // The one that was aborted was the first, and needed every thread.
    while (life.isNextForOne()) life.callNext()
    const ends = await Promise.allSettled(calls)
    expect(ends.map((end) => (end.status === 'fulfilled' ? end.value : end.reason.cause))).toEqual([
      'enough',
      1,
      'before',
      2,
    ])
    expect([signals.size, life.earlyCount]).toEqual([0, 0])
  })
})

describe('a drain', () => {
  test('waits for calls and for what they submit', async () => {
    const { life, lane, call } = world()
    life.begin()
    void life.wait(
      call(() => {
        // Others may end meanwhile: its command is not submitted yet.
        life.settled()
        lane.submitted++
      }),
      true,
    )
    let isDrained = false
    const drained = life.drained(20_000).then(() => {
      isDrained = true
    })
    life.ready()
    await new Promise((resolve) => setImmediate(resolve))
    expect(isDrained).toBe(false)
    lane.completed++
    life.settled()
    await drained
  })

  test('does not wait for a call that was aborted', async () => {
    const { life, call } = world()
    life.begin()
    const own = new AbortController()
    const aborted = life.wait(call(), false, 'lane', own).catch((error) => error)
    const drained = life.drained(20_000)
    own.abort()
    await drained
    expect(await aborted).toMatchObject({ code: 'CORELANE_ABORTED' })
    await life.drained(0)
  })

  test('that runs out of time says how many calls wait', async () => {
    const { life, call, lane } = world()
    life.begin()
    void life.wait(call(), false)
    lane.submitted++
    const error: LaneError = await life.drained(1).catch((reason) => reason)
    expect(error).toMatchObject({ code: 'CORELANE_DRAIN_TIMEOUT', details: { lanes: { lane: 1 } } })
    expect(error.message).toContain('1 in lane, 1 before the start')
  })
})
