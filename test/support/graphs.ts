// Graphs: arbitrary values of every kind of data that crosses threads.

import fc from 'fast-check'

const key = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('id', 'name', 'tags', 'a', 'b', 'c', '0', '17') },
  { weight: 2, arbitrary: fc.string({ unit: 'binary' }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '__proto__',
      '__keys__',
      'constructor',
      'toString',
      'hasOwnProperty',
      'length',
      'buffer',
      '\u0000corelane',
      '\ud800',
      '\ufeffmark',
      '',
    ),
  },
)

const text = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc.constantFrom(
    '\ud800',
    'a\udfffb',
    `\ufeff${'x'.repeat(100)}`,
    'é'.repeat(70),
    '日'.repeat(40),
  ),
)

const memory = fc.uint8Array({ maxLength: 300 }).map((bytes) => bytes.slice())

const leaf = fc.oneof(
  { weight: 4, arbitrary: fc.integer() },
  { weight: 2, arbitrary: fc.double() },
  fc.constantFrom(
    0,
    -0,
    Number.NaN,
    2 ** 32,
    -(2 ** 31),
    2 ** 53,
    Number.MAX_VALUE,
    -33,
    63,
    64,
    128,
  ),
  { weight: 3, arbitrary: text },
  fc.boolean(),
  fc.constantFrom(null, undefined),
  fc.bigInt(),
  fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }),
  fc.bigInt({ min: -(2n ** 3000n), max: 2n ** 3000n }),
  fc.date({ noInvalidDate: false }),
  fc.constantFrom(/a+/giu, /\ud800/u, /(?:)/, /\n\//, /[é日]/y),
  memory,
  memory.map((bytes) => Buffer.from(bytes)),
  memory.map((bytes) => bytes.buffer),
  memory.map((bytes) => new DataView(bytes.buffer)),
  memory.map((bytes) => new Int16Array(bytes.buffer.slice(0, bytes.length & ~1))),
  memory.map((bytes) => new Float64Array(bytes.buffer.slice(0, bytes.length & ~7))),
  memory.map((bytes) => new BigUint64Array(bytes.buffer.slice(0, bytes.length & ~7))),
)

const error = fc
  .record({
    make: fc.constantFrom(Error, TypeError, RangeError, SyntaxError, URIError, EvalError),
    message: text,
    own: fc.dictionary(
      key.filter((k) => !['stack', 'message', 'name', '__proto__'].includes(k)),
      leaf,
      { maxKeys: 3 },
    ),
    cause: fc.option(leaf, { nil: undefined }),
  })
  .map(({ make, message, own, cause }) => Object.assign(new make(message, { cause }), own))

interface Tie {
  readonly value: unknown
}

/** An object of these members, whatever their names mean elsewhere. */
export function record(entries: readonly (readonly [string, unknown])[]): object {
  const object = {}
  for (const [name, value] of entries) {
    Object.defineProperty(object, name, {
      value,
      enumerable: true,
      writable: true,
      configurable: true,
    })
  }
  return object
}

function sparse(members: readonly unknown[], holes: readonly number[]): unknown[] {
  const array = [...members]
  for (const hole of holes) if (hole < array.length) delete array[hole]
  return array
}

const { value: tree } = fc.letrec<Tie>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, depthSize: 'medium' },
    { weight: 6, arbitrary: leaf },
    { weight: 3, arbitrary: fc.array(fc.tuple(key, tie('value')), { maxLength: 8 }).map(record) },
    { weight: 3, arbitrary: fc.array(tie('value'), { maxLength: 20 }) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.array(tie('value'), { maxLength: 6 }), fc.array(fc.nat(6), { maxLength: 2 }))
        .map(([members, holes]) => sparse(members, holes)),
    },
    {
      weight: 1,
      arbitrary: fc
        .array(fc.tuple(tie('value'), tie('value')), { maxLength: 5 })
        .map((entries) => new Map(entries)),
    },
    { weight: 1, arbitrary: fc.array(tie('value'), { maxLength: 5 }).map((all) => new Set(all)) },
    { weight: 1, arbitrary: error },
  ),
}))

/** Every object in a graph that can be given one more member. */
function holders(value: unknown, found = new Set<object>()): Set<object> {
  if (typeof value !== 'object' || value === null || found.has(value)) return found
  if (value instanceof Map || value instanceof Set) {
    found.add(value)
    for (const member of [...value].flat()) holders(member, found)
  } else if (
    value instanceof Error ||
    Array.isArray(value) ||
    Object.getPrototypeOf(value) === Object.prototype
  ) {
    found.add(value)
    for (const member of Object.values(value)) holders(member, found)
  }
  return found
}

function tieKnot(holder: object, target: object, n: number): void {
  if (Array.isArray(holder)) holder.push(target)
  else if (holder instanceof Map) n & 1 ? holder.set(target, n) : holder.set(`knot ${n}`, target)
  else if (holder instanceof Set) holder.add(target)
  else (holder as Record<string, unknown>)[`knot${n & 3}`] = target
}

/** Any value that crosses threads: trees of every kind of data, tied together here and there. */
export const graph: fc.Arbitrary<unknown> = fc
  .tuple(tree, fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 4 }))
  .map(([value, knots]) => {
    for (const [from, to] of knots) {
      const all = [...holders(value)]
      if (all.length > 0) tieKnot(all[from % all.length]!, all[to % all.length]!, from)
    }
    return value
  })
