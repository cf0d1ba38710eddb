// Value tags: how a value lies in a record.
//
// ```
//  0      4       8          body end      + text length        record's end
// +------+-------+ - - - - - + - - - - - - + - - - - - - - - - +
// | body | text  | body:     | text: short | keys of shapes    |
// | end  | length| values    | strings     | the first time    |
// +------+-------+ - - - - - + - - - - - - + - - - - - - - - - +
// ```
//
// A value is a tag and what belongs to it. Short strings lie together in the text, one byte for a
// code unit, in the order in which the body names their lengths: one native call makes one string
// of it, and each is a slice of that. An object is the number of its shape, that is of the sequence
// of its keys, and its values; shapes are numbered on both ends in the order in which records use
// them first, and a record brings the keys of those, as JSON: `[fresh shapes, shapes used once]`.
//
// Objects of every kind are numbered in a record in the order in which they begin. One that is met
// again is its number; bit 31 of the text's length says that there are such. A value that
// only a MessagePort can carry lies beside the record, in a list.

/** Tags below this are small integers: their value. */
export const SMALL_INTEGERS = 0x80

/** Strings in the text are shorter than this, so what a slice keeps alive is bounded. */
export const SHORT_TEXT_MAX = 64

/** Longest text of a record, in bytes. */
export const TEXT_BYTES_MAX = 4_096

/** Bytes before the body. */
export const HEAD_BYTES = 8

/** In the word with the text's length: some object is met twice. */
export const HAS_REFERENCES: number = 1 << 31

/** The keys of an object with more of them are not remembered. */
export const KEYS_MAX = 64

/** Shapes that both ends remember; past them both start afresh. */
export const SHAPES_MAX = 255

/** Stands for the number of a shape that is used once, and not remembered. */
export const USED_ONCE = 255

/** What a value is. Tags from 0 are small integers, those from `SHORT_TEXT` short strings. */
export const ValueTag = Object.freeze({
  /** And the length of the string: 0x80 to 0xbf. */
  SHORT_TEXT: 0x80,
  NULL: 0xc0,
  UNDEFINED: 0xc1,
  TRUE: 0xc2,
  FALSE: 0xc3,
  /** 4 bytes, little-endian. */
  INTEGER: 0xc4,
  /** Padding to a multiple of 8, then a double. */
  FLOAT: 0xc5,
  /** Length in 4 bytes, then one byte for each code unit. */
  ONE_BYTE_TEXT: 0xc6,
  /** Length in 4 bytes, then two bytes for each code unit. */
  TWO_BYTE_TEXT: 0xc7,
  /** Length in 4 bytes, then values. */
  ARRAY: 0xc8,
  /** Length in 4 bytes, padding to a multiple of 8, then doubles. */
  NUMBERS: 0xc9,
  /** Number of the shape in a byte, then values. */
  OBJECT: 0xca,
  /** So many members that an array does not have, in 4 bytes. */
  HOLES: 0xcb,
  /** Number of an object before, in 4 bytes. */
  REFERENCE: 0xcc,
  /** Number of entries in 4 bytes, then keys and values. */
  MAP: 0xcd,
  /** Number of members in 4 bytes, then values. */
  SET: 0xce,
  /** And the length of the array, then values: 0xd0 to 0xdf. */
  SHORT_ARRAY: 0xd0,
  /** A number: the time. */
  DATE: 0xe0,
  /** Two strings: source and flags. */
  REGEXP: 0xe1,
  /** 8 bytes, little-endian, signed. */
  BIGINT: 0xe2,
  /** A string of hexadecimal digits, perhaps after a minus sign. */
  LONG_BIGINT: 0xe3,
  /** A primitive. */
  BOXED: 0xe4,
  /**
   * Class in a byte, length in 4 bytes, padding to a multiple of 8, bytes. Where they are not
   * aligned, V8 copies out of shared memory byte by byte.
   */
  BINARY: 0xe5,
  /** A number: the most length; then BINARY. */
  RESIZABLE_BUFFER: 0xe6,
  /** Of its memory the number beside the record in 4 bytes, class in a byte, offset and length. */
  VIEW: 0xe7,
  /** An object with what there is at once, and one with what may lead back to it. */
  ERROR: 0xe8,
  /** Number in the list beside the record, in 4 bytes. */
  BESIDE: 0xe9,
})

/** Arrays shorter than this have their length in the tag. */
export const SHORT_ARRAY_MAX = 16

/** Classes of binary data; a record names them by their place here. */
export const BINARY_CLASSES = Object.freeze([
  'ArrayBuffer',
  'Buffer',
  'DataView',
  'Int8Array',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
  'Float16Array',
] as const)

/** Shorter memory is copied by a port faster than it is copied here and moved. */
export const MOVED_BYTES_MIN = 32_768

/** What lies beside a record. */
export interface Beside {
  /** Carried by a port, in the order in which the record names them. */
  readonly values: unknown[]
  /** Memory that was copied for this alone, so it may be moved. */
  readonly copies: ArrayBuffer[]
  /** Objects that are to be transferred. */
  readonly transferred: ReadonlySet<unknown>
}

/** An error to be thrown often. The frames of its stack would keep the text of the program. */
function ending(message: string): Error {
  const error = new Error(message)
  error.stack = message
  return error
}

/** Ends an encoding: the record would be too long. */
export const TOO_LONG: Error = ending('the record is too long')
/** Ends an encoding: something can only lie beside the record, which is not possible here. */
export const ONLY_BESIDE: Error = ending('only a port carries it')
/** Ends an encoding, or that of an error's member. */
export const REFUSED: Error = ending('it cannot cross threads')
