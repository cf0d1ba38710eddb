// Side value: the form of a value for the side port, in which structured clone spoils nothing.
// Thread: any.   Owns: nothing.

import { laneError } from '../base/errors.ts'
import { describe } from './describe.ts'
import { flattenAs } from './flatten-as.ts'
import { revive } from './marked-graph.ts'
import { Finding, survey } from './survey.ts'

/** A value in the form in which it goes through a MessagePort. */
export interface SideValue {
  readonly value: unknown
  /** Whether errors and Buffers in it are marked. */
  readonly marked: boolean
}

/**
 * Makes the form of a value for the side port, in which structured clone spoils nothing.
 *
 * @param value - Anything.
 * @param role - What the value is, for the path in an error.
 * @param transferList - What will be transferred along; it stays as it is.
 * @returns To be posted, with the same transfer list.
 * @throws SerializationError `CORELANE_UNSERIALIZABLE` if something in it can cross by no road.
 */
export function toSideValue(
  value: unknown,
  role: string,
  transferList: readonly object[] = [],
): SideValue {
  survey(value, role)
  return flattenAs(value, role, { forPort: true, transferred: new Set(transferList) })
}

/**
 * Makes the form of a value for a call of the other side, whose port refuses without a word of why.
 *
 * @param value - Anything.
 * @param role - What the value is, for the path in an error.
 * @returns A member of the message, with nothing to transfer.
 * @throws SerializationError if it cannot cross.
 */
export function toCallValue(value: unknown, role: string): SideValue {
  const { findings } = survey(value, role)
  const side = flattenAs(value, role, { forPort: true })
  // Plain data always passes, and is copied once; of the rest only the engine can tell.
  if (findings & Finding.HOST) {
    try {
      structuredClone(side.value)
    } catch (thrown) {
      throw sideRefused(role, thrown)
    }
  }
  return side
}

/**
 * Turns what arrived on the side port into the value.
 *
 * @param side - From {@link toSideValue}, after structured clone.
 */
export function fromSideValue(side: SideValue): unknown {
  return side.marked ? revive(side.value) : side.value
}

/**
 * The error for a value that a MessagePort refused.
 *
 * @param role - What the value is.
 * @param thrown - What `postMessage` threw.
 */
export function sideRefused(role: string, thrown: unknown): Error {
  const received = `refused by structured clone (${describe(thrown)})`
  return laneError('CORELANE_UNSERIALIZABLE', { role, path: role, received }, thrown)
}
