import { expect, test, vi } from 'vitest'
import { Bell, BellRinger, BellSleeper } from '../../../src/memory/doorbell.ts'

const WORD = 3

function bell() {
  const memory = new SharedArrayBuffer(64)
  const views = { words: new Int32Array(memory), stamps: new BigInt64Array(memory) }
  const woken = vi.fn()
  const sleeper = new BellSleeper(views, WORD, woken)
  const ringer = new BellRinger(views, WORD)
  return { views, woken, sleeper, ringer, state: () => views.words[WORD] }
}

/** Long enough for a wake-up that was sent to arrive: they come in the order of the event loop. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate)
}

test('a bell starts awake, and ringing it does nothing', () => {
  const { ringer, state } = bell()
  expect(ringer.isAwake).toBe(true)
  expect(ringer.ring(true)).toBe(false)
  expect(ringer.ring(false)).toBe(false)
  expect(state()).toBe(Bell.AWAKE)
})

test('any ring wakes one that is asleep, only an urgent one wakes one that dozes', () => {
  const { ringer, sleeper, state } = bell()
  sleeper.announce(Bell.ASLEEP)
  expect(ringer.isAwake).toBe(false)
  expect(ringer.ring(false)).toBe(true)
  expect(state()).toBe(Bell.AWAKE)
  sleeper.announce(Bell.DOZING)
  expect(ringer.isAwake).toBe(false)
  expect(ringer.ring(false)).toBe(false)
  expect(state()).toBe(Bell.DOZING)
  expect(ringer.ring(true)).toBe(true)
  expect(state()).toBe(Bell.AWAKE)
})

test('a wait ends when the bell is rung, in a turn of its own', async () => {
  const { ringer, sleeper, woken } = bell()
  sleeper.announce(Bell.ASLEEP)
  sleeper.wait()
  await settle()
  expect(woken).not.toHaveBeenCalled()
  ringer.ring(false)
  expect(woken).not.toHaveBeenCalled()
  await vi.waitFor(() => expect(woken).toHaveBeenCalledTimes(1))
})

test('a ring between the announcement and the wait is not lost', async () => {
  const { ringer, sleeper, woken } = bell()
  sleeper.announce(Bell.ASLEEP)
  ringer.ring(true)
  sleeper.wait()
  expect(woken).not.toHaveBeenCalled()
  await vi.waitFor(() => expect(woken).toHaveBeenCalledTimes(1))
})

test('an announcement that is taken back leaves the bell awake, rung or not', () => {
  const { ringer, sleeper, state } = bell()
  sleeper.announce(Bell.ASLEEP)
  sleeper.stayAwake()
  expect(state()).toBe(Bell.AWAKE)
  sleeper.announce(Bell.DOZING)
  ringer.ring(true)
  sleeper.stayAwake()
  expect(state()).toBe(Bell.AWAKE)
})

test('waiting again keeps the one wait that is outstanding, which the next ring ends once', async () => {
  const { ringer, sleeper, woken } = bell()
  sleeper.announce(Bell.DOZING)
  sleeper.wait()
  for (let i = 0; i < 5; i++) {
    sleeper.stayAwake()
    sleeper.announce(i % 2 === 0 ? Bell.ASLEEP : Bell.DOZING)
    sleeper.wait()
  }
  ringer.ring(true)
  await vi.waitFor(() => expect(woken).toHaveBeenCalledTimes(1))
  await settle()
  expect(woken).toHaveBeenCalledTimes(1)
})

test('after it was woken it can sleep and be woken again', async () => {
  const { ringer, sleeper, woken } = bell()
  for (let times = 1; times <= 3; times++) {
    sleeper.announce(Bell.ASLEEP)
    sleeper.wait()
    expect(ringer.ring(true)).toBe(true)
    await vi.waitFor(() => expect(woken).toHaveBeenCalledTimes(times))
  }
})

test('a bell wakes only those who wait on its own word', async () => {
  const { views, ringer, sleeper, woken } = bell()
  const otherWoken = vi.fn()
  const other = new BellSleeper(views, WORD + 1, otherWoken)
  for (const each of [sleeper, other]) {
    each.announce(Bell.ASLEEP)
    each.wait()
  }
  ringer.ring(true)
  await vi.waitFor(() => expect(woken).toHaveBeenCalledTimes(1))
  await settle()
  expect(otherWoken).not.toHaveBeenCalled()
  expect(views.words[WORD + 1]).toBe(Bell.ASLEEP)
})

test('a bell that is retired ends its wait, and a later ring does nothing', async () => {
  const { ringer, sleeper, woken } = bell()
  sleeper.announce(Bell.ASLEEP)
  sleeper.wait()
  sleeper.retire()
  await vi.waitFor(() => expect(woken).toHaveBeenCalledTimes(1))
  expect(ringer.ring(true)).toBe(false)
})
