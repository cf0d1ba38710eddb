// Goal: results are late by a twentieth of their age at most, and no partition runs dry for it.
// Method: random submits, binds and pauses; ages against those that a list remembers.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Horizon, WORK_MS_MIN } from '../../src/coordinator/results/horizon.ts'
import { lawOf } from '../support/law.ts'

const law = lawOf(100)

const steps = fc.array(
  fc.record({
    passesMs: fc.double({ min: 0, max: 60, noNaN: true }),
    submits: fc.nat(20),
    binds: fc.nat(20),
    workMs: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 500, noNaN: true })),
    // A queue gives those that are submitted, which have waited there.
    waitedMs: fc.option(fc.nat(300)),
  }),
  { maxLength: 200 },
)

interface Step {
  passesMs: number
  submits: number
  binds: number
  workMs: number
  waitedMs: number | null
}

/** Submits and binds in order, as a lane of one priority does, and looks after each step. */
function walk(
  each: (horizon: Horizon, nowMs: number, realAgeMs: number, workMs: number) => void,
  list: Step[],
): void {
  const horizon = new Horizon()
  const submittedAtMs: number[] = []
  let nowMs = 1000
  let bound = 0
  for (const { passesMs, submits, binds, workMs, waitedMs } of list) {
    nowMs += passesMs
    const atMs = nowMs - (waitedMs ?? 0)
    const from = submittedAtMs.length
    for (let i = 0; i < submits; i++) submittedAtMs.push(atMs)
    if (waitedMs !== null) horizon.queued(from, submittedAtMs.length, atMs, nowMs)
    horizon.mark(nowMs, submittedAtMs.length)
    for (let i = 0; i < binds && bound < submittedAtMs.length; i++) horizon.bound(bound++)
    const realAgeMs = bound === 0 ? 0 : nowMs - Math.max(...submittedAtMs.slice(0, bound))
    each(horizon, nowMs, realAgeMs, workMs)
  }
}

law('takes no bound command for older than it is', [steps], (list) => {
  walk((horizon, nowMs, realAgeMs) => {
    expect(horizon.ageMs(nowMs)).toBeGreaterThanOrEqual(0)
    expect(horizon.ageMs(nowMs)).toBeLessThanOrEqual(realAgeMs + 1e-6)
  }, list)
})

law('a result is late by a twentieth of its age, and no partition runs dry', [steps], (list) => {
  walk((horizon, nowMs, realAgeMs, workMs) => {
    const ms = horizon.doze(nowMs, workMs)
    expect(ms).toBeGreaterThanOrEqual(1)
    expect(ms).toBeLessThanOrEqual(Math.max(1, workMs / 4))
    expect(ms).toBeLessThanOrEqual(Math.min(Math.max(4, realAgeMs / 20 + 1e-6), 15))
    expect(horizon.workUs(nowMs)).toBeGreaterThanOrEqual(WORK_MS_MIN * 1000)
    expect(horizon.workUs(nowMs)).toBeLessThanOrEqual(60_000)
  }, list)
})

test('commands of a queue are as old as the youngest was there', () => {
  const horizon = new Horizon()
  horizon.queued(0, 10, 900, 1000)
  horizon.bound(9)
  expect(horizon.ageMs(1000)).toBe(100)
  expect(horizon.doze(1000, 1000)).toBe(5)
  horizon.queued(10, 20, 700, 1000)
  horizon.bound(19)
  expect(horizon.ageMs(1100)).toBe(200)
  // The numbers from 20 to 24 are of others.
  horizon.queued(25, 30, 700, 1200)
  horizon.bound(29)
  expect(horizon.ageMs(1210)).toBe(10)
})

test('dozes long where commands have waited for long, and notices a younger one', () => {
  const horizon = new Horizon()
  horizon.mark(0, 1000)
  expect(horizon.ageMs(300)).toBe(0)
  for (let ms = 5; ms <= 300; ms += 5) horizon.mark(ms, 1000)
  horizon.bound(999)
  expect(horizon.ageMs(300)).toBe(300)
  expect(horizon.doze(300, 1000)).toBe(15)
  expect(horizon.hasYounger).toBe(false)
  horizon.bound(500)
  expect(horizon.hasYounger).toBe(false)
  horizon.bound(1000)
  expect(horizon.hasYounger).toBe(true)
  expect(horizon.doze(300, 1000)).toBe(4)
})
