// Piscina: what runs a case against Piscina itself and against ours.

import { Piscina as Ours } from 'corelane/piscina'
import { Piscina as Theirs } from 'piscina'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { within } from './deadline.ts'
import { fixture } from './managers.ts'

type Pool = InstanceType<typeof Ours>
export type Class = typeof Ours

export const filename = fixture('piscina/tasks.cjs').pathname
export const opened: Pool[] = []
/** Of each class the pool of one thread that the cases of a file share. */
const shared = new Map<Class, Pool>()

async function destroyAll(pools: Iterable<Pool>): Promise<void> {
  for (const pool of pools) await within(pool.destroy(), 'destroy after the test')
}
afterEach(() => destroyAll(opened.splice(0)))
afterAll(() => destroyAll(shared.values()))

export const error = (reason: unknown): unknown => {
  if (!(reason instanceof Error)) return reason
  const { name, message, cause } = reason
  return cause === undefined ? { name, message } : { name, message, cause }
}
export const reasonOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then((value) => ({ resolved: value }), error)
export const turns = (ms = 10) => new Promise((resolve) => setTimeout(resolve, ms))
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await turns(2)
}
export function controllerOf(): { signal: AbortSignal; abort: () => void } {
  const controller = new AbortController()
  return { signal: controller.signal, abort: () => controller.abort() }
}
export function flagOf(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4))
}
export function release(flag: Int32Array): void {
  Atomics.store(flag, 0, 1)
  Atomics.notify(flag, 0)
}

/** Without options it gives the shared pool, for cases that leave it as it was. */
export type Make = (options?: ConstructorParameters<Class>[0]) => Pool
export type Case = (make: Make, Piscina: Class) => unknown

export function runOn(Piscina: Class, run: Case): Promise<unknown> {
  const make: Make = (options) => {
    if (options === undefined) {
      const pool = shared.get(Piscina) ?? new Piscina({ filename, minThreads: 1, maxThreads: 1 })
      shared.set(Piscina, pool)
      return pool
    }
    const pool = new Piscina({ filename, ...options })
    opened.push(pool)
    return pool
  }
  return within(Promise.resolve(run(make, Piscina)), 'case')
}

/** Runs each case on both, one after the other, and compares what they give. */
export function describeOnBoth(title: string, cases: Readonly<Record<string, Case>>): void {
  describe(title, () => {
    for (const [name, run] of Object.entries(cases)) {
      test(name, async () => {
        const theirs = await runOn(Theirs as unknown as Class, run)
        const ours = await runOn(Ours, run)
        expect(ours).toEqual(theirs)
      })
    }
  })
}
