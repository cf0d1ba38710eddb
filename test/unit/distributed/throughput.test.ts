// Goal: a worker knows its rate soon, whatever the gaps between its commands.

import { expect, test } from 'vitest'
import { nowMs } from '../../../src/base/clock.ts'
import { Pace } from '../../../src/distributed/work/pacing.ts'

/** Ends so many commands, evenly, from a moment on. Gives the moment of the last. */
function burst(throughput: Pace, startMs: number, count: number, ms: number): number {
  throughput.resume(startMs)
  for (let i = 1; i <= count; i++) throughput.ended(startMs + (i * ms) / count)
  return startMs + ms
}

test('the first command already says something', () => {
  const throughput = new Pace({ working: 1 }, 1)
  const begunMs = nowMs()
  expect(throughput.perMs).toBe(0)
  throughput.resume(begunMs)
  throughput.ended(begunMs + 20)
  expect(throughput.perMs).toBeCloseTo(1 / 20, 6)
})

test('commands that come a few at a time, with gaps, are measured without the gaps', () => {
  const throughput = new Pace({ working: 1 }, 1)
  let atMs = nowMs()
  // Each takes 0.1 ms, three at a time, and the next three come two milliseconds later.
  for (let i = 0; i < 200; i++) atMs = burst(throughput, atMs, 3, 0.3) + 2
  expect(throughput.perMs).toBeGreaterThan(8)
  expect(throughput.perMs).toBeLessThan(12)
})

test('it follows a change of what the commands are', () => {
  const throughput = new Pace({ working: 1 }, 1)
  let atMs = nowMs()
  for (let i = 0; i < 50; i++) atMs = burst(throughput, atMs, 100, 10)
  expect(throughput.perMs).toBeGreaterThan(8)
  for (let i = 0; i < 50; i++) atMs = burst(throughput, atMs, 10, 20)
  expect(throughput.perMs).toBeGreaterThan(0.4)
  expect(throughput.perMs).toBeLessThan(0.6)
})

test('after a long pause it is careful', () => {
  const throughput = new Pace({ working: 1 }, 1)
  const atMs = burst(throughput, nowMs(), 1000, 100)
  const before = throughput.perMs
  throughput.resume(atMs + 5000)
  expect(throughput.perMs).toBeCloseTo(before / 2, 6)
})

test('commands that end at the very moment they came give no infinite rate', () => {
  const throughput = new Pace({ working: 1 }, 1)
  const atMs = nowMs()
  throughput.resume(atMs)
  for (let i = 0; i < 10; i++) throughput.ended(atMs)
  expect(Number.isFinite(throughput.perMs)).toBe(true)
})
