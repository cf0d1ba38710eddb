// Handlers: what every system of the benchmark runs, the same module for all.
// Thread: a system's threads, and main to compute what a result must be.   Owns: nothing.
// @ts-check

import { readFile } from 'node:fs/promises'

/**
 * Does nothing: gives its payload back.
 *
 * @template T
 * @param {T} payload - Anything.
 */
export function echo(payload) {
  return payload
}

/**
 * Gives numbers one by one.
 *
 * @param {number} count - How many.
 */
export function* stream(count) {
  for (let i = 0; i < count; i++) yield i
}

/**
 * The same from an asynchronous generator.
 *
 * @param {number} count - How many.
 */
export async function* asyncStream(count) {
  for (let i = 0; i < count; i++) yield i
}

/**
 * Burns a fixed amount of work, not of time: time would pass while the thread waits for a core.
 *
 * @param {number} iterations - See `spin-rate.js`.
 * @returns {number} Depends on every iteration.
 */
export function spin(iterations) {
  let hash = iterations | 0
  for (let i = 0; i < iterations; i++) hash = Math.imul(hash ^ i, 0x01000193)
  return hash
}

/**
 * The short command of a mix.
 *
 * @param {number} iterations - Of {@link spin}.
 * @returns {number} When it started, in milliseconds of {@link absoluteNow}.
 */
export function short(iterations) {
  const startedAt = absoluteNow()
  // Spread, so that Maglev does not inline it: a loop inlined there is never compiled by TurboFan, and
  // took 2.5 times as long on Node 24.
  spin(...[iterations])
  return startedAt
}

/**
 * The long command of a mix: the same work under a name of its own, for systems that learn by name.
 *
 * @param {number} iterations - Of {@link spin}.
 * @returns {number} When it started, in milliseconds of {@link absoluteNow}.
 */
export function long(iterations) {
  return short(iterations)
}

/**
 * Burns time by the clock.
 *
 * @param {number} ms - How long.
 * @returns {number} When it ended, in milliseconds of {@link absoluteNow}.
 */
export function burn(ms) {
  const endAt = performance.now() + ms
  while (performance.now() < endAt);
  return absoluteNow()
}

/**
 * Waits for a timer.
 *
 * @param {number} ms - How long.
 */
export async function wait(ms) {
  await new Promise((resolve) => setTimeout(resolve, ms))
  return ms
}

/**
 * Reads a file.
 *
 * @param {string} path - Of the file.
 * @returns Its length in bytes.
 */
export async function read(path) {
  return (await readFile(path)).length
}

/**
 * The comparison that poolifier publishes.
 *
 * @param {number} n - A positive integer.
 */
export function factorial(n) {
  let product = 1n
  for (let i = 2n; i <= n; i++) product *= i
  return product
}

/** Milliseconds since the epoch; agrees between threads within a microsecond or so. */
function absoluteNow() {
  return performance.timeOrigin + performance.now()
}
