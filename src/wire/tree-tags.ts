// Tree tags: how a tree of plain objects and arrays lies in a record.
// Thread: any.   Owns: nothing.
//
// ```
//  0      4       8          body end      + text length        record's end
// +------+-------+ - - - - - + - - - - - - + - - - - - - - - - +
// | body | text  | body:     | text: short | shapes used for   |
// | end  | length| values    | strings     | the first time    |
// +------+-------+ - - - - - + - - - - - - + - - - - - - - - - +
// ```
//
// A value is a tag and what belongs to it. Short strings lie together in the text, one byte for a
// code unit, in the order in which the body names their lengths: one native call makes one string
// of it, and each is a slice of that. An object is the number of its shape, that is of the sequence
// of its keys, and its values; shapes are numbered on both ends in the order in which records use
// them first, and a record brings the keys of those, as JSON.

/** Tags below this are small integers: their value. */
export const SMALL_INTEGERS = 0x80

/** Strings in the text are shorter than this, so what a slice keeps alive is bounded. */
export const SHORT_TEXT_MAX = 64

/** Longest text of a record, in bytes. */
export const TEXT_BYTES_MAX = 4_096

/** Bytes before the body. */
export const TREE_HEAD_BYTES = 8

/** Objects with more keys take another codec. */
export const KEYS_MAX = 64

/** Shapes that both ends remember; past them both start afresh. */
export const SHAPES_MAX = 255

/** What a value is. Tags from 0 are small integers, those from `SHORT_TEXT` short strings. */
export const TreeTag = Object.freeze({
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
  /** And the length of the array, then values: 0xd0 to 0xdf. */
  SHORT_ARRAY: 0xd0,
})

/** Arrays shorter than this have their length in the tag. */
export const SHORT_ARRAY_MAX = 16
