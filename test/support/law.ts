// Law: a test of something that holds for all inputs. fast-check looks for one that breaks it, and
// prints its seed.

import fc from 'fast-check'
import { test } from 'vitest'

/**
 * Makes laws that are tried with so many inputs each.
 *
 * @param runs - How many, unless CORELANE_PROPERTY_RUNS says otherwise.
 * @returns What defines a law by its name, arbitraries of its inputs, and a function that throws
 *   for inputs with which it does not hold.
 */
export function lawOf(runs: number) {
  const numRuns = Number(process.env.CORELANE_PROPERTY_RUNS ?? runs)
  return <T extends [unknown, ...unknown[]]>(
    name: string,
    inputs: [...{ [K in keyof T]: fc.Arbitrary<T[K]> }],
    holds: (...given: T) => unknown,
    more: fc.Parameters<T> = {},
  ): void => {
    const property = fc.asyncProperty<T>(...inputs, async (...given) => {
      await holds(...given)
    })
    test(name, () => fc.assert(property, { numRuns, ...more }), 30_000 + numRuns * 100)
  }
}

/**
 * One of the steps that a law is tried with, for `fc.oneof`.
 *
 * @param weight - How often, in proportion to the others.
 * @param kind - Its name.
 * @param members - Arbitraries of the rest of it.
 */
export function deed<K extends string, T extends object>(
  weight: number,
  kind: K,
  members = {} as { [P in keyof T]: fc.Arbitrary<T[P]> },
) {
  const arbitrary = fc.record({ kind: fc.constant(kind), ...members })
  return { weight, arbitrary: arbitrary as unknown as fc.Arbitrary<{ readonly kind: K } & T> }
}
