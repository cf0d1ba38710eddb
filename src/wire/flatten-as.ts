// Flatten as: flattening for a role, with failures of the user's getters as errors of ours.
// Thread: any.   Owns: nothing.

import { laneError } from '../base/errors.ts'
import { describe } from './describe.ts'
import { type FlatGraph, type FlattenOptions, flatten } from './marked-graph.ts'

/**
 * Flattens a surveyed value.
 *
 * @param value - The value.
 * @param role - What it is, for the error.
 * @param options - The road it takes.
 * @throws SerializationError `CORELANE_UNSERIALIZABLE` if it answers otherwise than before.
 */
export function flattenAs(value: unknown, role: string, options: FlattenOptions): FlatGraph {
  try {
    return flatten(value, options)
  } catch (thrown) {
    throw refusedWhileRead(role, thrown)
  }
}

/**
 * The error for a value that the survey found in order and that then threw while it was encoded.
 *
 * @param role - What it is.
 * @param thrown - What it threw.
 */
export function refusedWhileRead(role: string, thrown: unknown): Error {
  const received = `a value that changes while it is read (${describe(thrown)})`
  return laneError('CORELANE_UNSERIALIZABLE', { role, path: role, received }, thrown)
}
