// Transferable: the marks of values that Piscina's `move` moves, as tasks and as results.
// Owns: nothing; data only.

import { types } from 'node:util'

/** Under this symbol a transferable has the object to transfer. */
export const transferableSymbol: unique symbol = Symbol.for('Piscina.transferable') as never
/** Under this symbol a transferable has the value to send. */
export const valueSymbol: unique symbol = Symbol.for('Piscina.valueOf') as never
/** On what {@link move} of any copy of the package has returned. */
const movableSymbol: unique symbol = Symbol.for('corelane.movable') as never

/** An object that names the value to send and the object to transfer. */
export interface Transferable {
  readonly [transferableSymbol]: object
  readonly [valueSymbol]: object
}

/**
 * Marks a value so that its memory is moved instead of copied, as a task or as a result.
 *
 * @param value - An array buffer, a view of one, a port, or a {@link Transferable}.
 */
export function move<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  let movable: object = value
  if (!(transferableSymbol in value && valueSymbol in value)) {
    const transferred = types.isArrayBufferView(value) ? value.buffer : value
    movable = Object.create(null, {
      [transferableSymbol]: { value: transferred },
      [valueSymbol]: { value },
    })
  }
  Object.defineProperty(movable, movableSymbol, { value: true, configurable: true, writable: true })
  return movable as T
}

/** A value as a transferable, if `move` has marked it: ours, or that of a copy of Piscina. */
export function movedBy(value: unknown): Transferable | undefined {
  if (typeof value !== 'object' || value === null || !(transferableSymbol in value))
    return undefined
  const marks = Object.getOwnPropertySymbols(value)
  // Each copy of Piscina marks by a symbol of its own.
  const isMarked = ({ description }: symbol) => description === 'Piscina.kMovable'
  const isMoved = movableSymbol in value || marks.some(isMarked)
  return isMoved ? (value as Transferable) : undefined
}
