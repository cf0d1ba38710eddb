// Describe: words for values and places in messages, safe for any value.

import { types } from 'node:util'
import { show } from '../base/errors.ts'

/** Shows any value, even one whose every trap throws. */
export function describe(value: unknown): string {
  try {
    return types.isProxy(value) ? 'a Proxy' : show(value)
  } catch {
    return 'a value that cannot be shown'
  }
}

/**
 * Names the way from a container to one of its members, as code would.
 *
 * @param holder - Object, array, Map or Set.
 * @param member - Name or index; for a Map twice the index of the entry, plus one for its value.
 */
export function stepTo(holder: object, member: string | number): string {
  if (types.isMap(holder)) {
    const entry = [...Map.prototype.entries.call(holder)][(member as number) >> 1]
    return (member as number) & 1
      ? `.get(${describe(entry?.[0])})`
      : `.<key ${(member as number) >> 1}>`
  }
  if (types.isSet(holder)) return `.<set ${member}>`
  if (typeof member === 'number') return `[${member}]`
  return /^[A-Za-z_$][\w$]*$/.test(member) ? `.${member}` : `[${describe(member)}]`
}
