// Difference: compares two graphs more strictly than a test runner does: -0, holes, the order of
// members, prototypes, and that the same object stands in the same places. Of any realm.

import { types } from 'node:util'

/**
 * Finds the first place where two graphs differ.
 *
 * @param sent - What was encoded.
 * @param got - What was decoded.
 * @returns What differs and where; `undefined` if nothing does.
 */
export function findDifference(sent: unknown, got: unknown): string | undefined {
  return compare(sent, got, 'value', new Map(), new Map())
}

type Pairs = Map<object, object>

function compare(a: unknown, b: unknown, at: string, to: Pairs, from: Pairs): string | undefined {
  if (typeof a !== 'object' || a === null) {
    return Object.is(a, b) ? undefined : `${at}: sent ${String(a)}, got ${String(b)}`
  }
  if (typeof b !== 'object' || b === null) return `${at}: sent an object, got ${String(b)}`
  if (to.has(a) || from.has(b)) {
    return to.get(a) === b && from.get(b) === a ? undefined : `${at}: another identity`
  }
  to.set(a, b)
  from.set(b, a)
  if (a === b) return `${at}: the very same object`
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return `${at}: another prototype`
  if (types.isDate(a)) return Object.is(+a, +(b as Date)) ? undefined : `${at}: another time`
  if (types.isRegExp(a)) return String(a) === String(b) ? undefined : `${at}: another pattern`
  if (ArrayBuffer.isView(a)) return compareBytes(bytesOf(a), bytesOf(b as ArrayBufferView), at)
  if (types.isArrayBuffer(a)) {
    return compareBytes(new Uint8Array(a), new Uint8Array(b as ArrayBuffer), at)
  }
  if (types.isMap(a)) {
    return compareLists([...a].flat(), [...(b as typeof a)].flat(), `${at}.map`, to, from)
  }
  if (types.isSet(a)) return compareLists([...a], [...(b as typeof a)], `${at}.set`, to, from)
  if (types.isNativeError(a)) {
    for (const key of ['name', 'message', 'stack', 'cause', 'errors'] as const) {
      const one = (a as unknown as Record<string, unknown>)[key]
      const other = (b as unknown as Record<string, unknown>)[key]
      if (Object.hasOwn(a, 'cause') !== Object.hasOwn(b, 'cause')) return `${at}: cause or none`
      const found = compare(one, other, `${at}.${key}`, to, from)
      if (found !== undefined) return found
    }
  }
  if (Array.isArray(a) && a.length !== (b as unknown[]).length) return `${at}: another length`
  const keys = Object.keys(a)
  const others = Object.keys(b)
  if (keys.length !== others.length || keys.some((key, i) => key !== others[i])) {
    return `${at}: members ${JSON.stringify(keys)} became ${JSON.stringify(others)}`
  }
  for (const key of keys) {
    const found = compare(
      (a as Record<string, unknown>)[key],
      (b as Record<string, unknown>)[key],
      `${at}[${JSON.stringify(key)}]`,
      to,
      from,
    )
    if (found !== undefined) return found
  }
  return undefined
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}

function compareBytes(a: Uint8Array, b: Uint8Array, at: string): string | undefined {
  if (types.isSharedArrayBuffer(b.buffer)) return `${at}: lies in shared memory`
  if (b.length !== b.buffer.byteLength) return `${at}: shares its memory with others`
  return Buffer.compare(a, b) === 0 ? undefined : `${at}: other bytes`
}

function compareLists(
  a: readonly unknown[],
  b: readonly unknown[],
  at: string,
  to: Pairs,
  from: Pairs,
): string | undefined {
  if (a.length !== b.length) return `${at}: another size`
  for (let i = 0; i < a.length; i++) {
    const found = compare(a[i], b[i], `${at}[${i}]`, to, from)
    if (found !== undefined) return found
  }
  return undefined
}
