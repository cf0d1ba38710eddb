// Met objects: numbers of the objects that an encoding has met, by which later ones refer to them.
// Owns: the list of the encoding that is under way.

// Up to so many objects are found by comparing with each; more are in a map.
const LISTED_MAX = 32

let met = 0
const listed: (object | undefined)[] = new Array(LISTED_MAX).fill(undefined)
let remembered: Map<object, number> | undefined

/** How many were met. */
export function countMet(): number {
  return met
}

/** The number of an object that was met before; -1 if it was not, and then it gets the next. */
export function indexOf(value: object): number {
  const count = met
  if (count < LISTED_MAX) {
    for (let i = 0; i < count; i++) if (listed[i] === value) return i
    listed[count] = value
    met = count + 1
    return -1
  }
  if (remembered === undefined) {
    remembered = new Map()
    for (let i = 0; i < LISTED_MAX; i++) remembered.set(listed[i]!, i)
  }
  const index = remembered.get(value)
  if (index !== undefined) return index
  remembered.set(value, met++)
  return -1
}

/** Forgets all objects but the first `count`. */
export function forgetMetAfter(count: number): void {
  met = count
  for (let i = met; i < LISTED_MAX; i++) listed[i] = undefined
  if (remembered === undefined) return
  for (const [object, index] of remembered) if (index >= met) remembered.delete(object)
}

/** Forgets all: what stays in the list would be kept alive until the next record. */
export function forgetMet(): void {
  remembered = undefined
  for (let i = Math.min(met, LISTED_MAX) - 1; i >= 0; i--) listed[i] = undefined
  met = 0
}

/**
 * Starts an empty list for an encoding within another.
 *
 * @returns Brings the list of the outer one back.
 */
export function suspendMet(): () => void {
  const outer = { met, remembered, listed: [...listed] }
  forgetMet()
  return () => {
    ;({ met, remembered } = outer)
    for (const [i, object] of outer.listed.entries()) listed[i] = object
  }
}
