// Payloads: what commands carry, made before the clock starts, and how results are checked.
// Thread: main.   Owns: nothing.
// @ts-check

/** How many different payloads a load cycles through. */
const VARIANTS = 256

/**
 * @typedef {object} Payloads
 * @property {readonly unknown[]} values - Sent in turn.
 * @property {(value: any) => number} digest - An integer that tells one value from another.
 */

/**
 * @param {(index: number) => unknown} make
 * @param {(value: any) => number} digest
 * @param {number} [count]
 * @returns {Payloads}
 */
function payloads(make, digest, count = VARIANTS) {
  return { values: Array.from({ length: count }, (_, index) => make(index)), digest }
}

/** Numbers, among them such as are no small integers. */
export function numbers() {
  return payloads(
    (i) => (i % 4 === 0 ? i + 0.5 : i),
    (value) => Math.trunc(value * 2),
  )
}

/** The object of every comparison: an id, a name, three tags. */
export function smallObjects() {
  return payloads(smallObject, digestOfObject)
}

/** @param {number} id */
export function smallObject(id) {
  return { id, name: `user-${id}`, tags: [id, id + 1, id + 2] }
}

/** Objects of about 100 bytes as JSON. */
export function objectsOf100Bytes() {
  return payloads(
    (id) => ({ ...smallObject(id), email: `user-${id}@example.org`, active: true, score: id / 8 }),
    digestOfObject,
  )
}

/** Objects of about 1 KiB as JSON: a record with ten smaller ones in it. */
export function objectsOf1KiB() {
  return payloads(
    (id) => ({
      ...smallObject(id),
      items: Array.from({ length: 10 }, (_, index) => ({
        sku: `item-${id}-${index}`,
        title: 'A thing that somebody ordered',
        quantity: index + 1,
        price: index * 1.25,
        inStock: true,
      })),
    }),
    (value) => digestOfObject(value) + value.items[9].quantity + value.items.length,
  )
}

/** @param {{ id: number, name: string, tags: number[] }} value */
function digestOfObject({ id, name, tags }) {
  return id * 8 + name.length + /** @type {number} */ (tags[2])
}

/**
 * Bytes.
 *
 * @param {number} length - Of each, in bytes.
 */
export function bytes(length) {
  return payloads(
    (index) => new Uint8Array(length).fill(index),
    (value) => value.length + value[0] * 3 + value[length - 1] * 5,
    8,
  )
}

/**
 * Strings of one byte a character.
 *
 * @param {number} length - Of each, in characters.
 */
export function strings(length) {
  return payloads(
    // Out of bytes, so that it is one flat string and not a tree of pieces.
    (index) => Buffer.alloc(length, 97 + index).toString('latin1'),
    (value) => value.length + value.charCodeAt(0) * 3 + value.charCodeAt(length - 1) * 5,
    8,
  )
}
