// Portable name: what ids, lanes, types, submitters, workers and queues may be called between
// machines.

import { anything, type OptionRule } from './options.ts'

const PORTABLE_NAME = /^[A-Za-z0-9._-]{1,128}$/

/** What is allowed, in words, for errors. */
export const PORTABLE_NAME_ALLOWED = '1 to 128 of A-Z a-z 0-9 . _ -'

/** Whether something is such a name. */
export function isPortableName(value: unknown): value is string {
  return typeof value === 'string' && PORTABLE_NAME.test(value)
}

/**
 * The rule of an option that is such a name.
 *
 * @param fallback - Default.
 */
export function portableName(fallback: string | undefined): OptionRule {
  return anything(fallback, PORTABLE_NAME_ALLOWED, isPortableName)
}
