// Deadline: waits that end. A test that would hang fails with the name of what did not come.

import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'

/** Long enough for a machine with other things to do; reached only by a test that fails. */
const LIMIT_MS = 20_000
const POLL_MS = 2

/** Gives what a promise gives, or fails once the limit is over. */
export async function within<T>(promise: PromiseLike<T>, what: string, ms = LIMIT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Waits until something holds. */
export async function until(holds: () => boolean, what: string, ms = LIMIT_MS): Promise<void> {
  const end = performance.now() + ms
  while (!holds()) {
    if (performance.now() > end) throw new Error(`${what}: not within ${ms} ms`)
    await sleep(POLL_MS)
  }
}

/** Gives what a promise rejects with, and fails if it does not reject. */
export async function rejection(promise: PromiseLike<unknown>, what: string): Promise<unknown> {
  let value: unknown
  try {
    value = await within(promise, what)
  } catch (error) {
    if (error instanceof Error && error.message.startsWith(`${what}: not within`)) throw error
    return error
  }
  throw new Error(`${what}: resolved with ${String(value)} instead of rejecting`)
}

/** An error as its callers see it; `rejection` for those who look at the members of an error. */
export interface Seen extends Error {
  readonly code: string
  readonly details: Readonly<Record<string, unknown>>
  readonly started: boolean
  readonly cause: unknown
}

/** As {@link rejection}, for promises that reject with an error. */
export async function failure(promise: PromiseLike<unknown>, what: string): Promise<Seen> {
  const reason = await rejection(promise, what)
  if (!(reason instanceof Error)) throw new Error(`${what}: rejected with ${String(reason)}`)
  return reason as Seen
}

/** As {@link failure}, for an error of a code. */
export async function refused(promise: PromiseLike<unknown>, code: string): Promise<Seen> {
  const error = await failure(promise, code)
  expect(error).toMatchObject({ code })
  return error
}

/** Blocks this thread, so that its event loop does not turn. */
export function block(ms: number): void {
  const end = performance.now() + ms
  const words = new Int32Array(new SharedArrayBuffer(4))
  for (let left = ms; left > 0; left = end - performance.now()) Atomics.wait(words, 0, 0, left)
}
