import { expect, test } from 'vitest'
import { align8, distance, isPowerOfTwo } from '../../../src/base/bits.ts'

test('exactly the powers of two are powers of two', () => {
  for (let exponent = 0; exponent <= 30; exponent++) {
    expect(isPowerOfTwo(2 ** exponent)).toBe(true)
    if (exponent > 1) {
      expect(isPowerOfTwo(2 ** exponent - 1)).toBe(false)
      expect(isPowerOfTwo(2 ** exponent + 1)).toBe(false)
    }
  }
  expect(isPowerOfTwo(0)).toBe(false)
  expect(isPowerOfTwo(-8)).toBe(false)
})

test('alignment rounds up to the next multiple of 8 and leaves multiples alone', () => {
  expect([0, 1, 7, 8, 9, 15, 16, 17].map(align8)).toEqual([0, 8, 8, 8, 16, 16, 16, 24])
  expect(align8(2 ** 31 - 9)).toBe(2 ** 31 - 8)
})

test('the distance between positions is right across the wrap at 2^32 and the sign change at 2^31', () => {
  expect(distance(8, 0)).toBe(8)
  expect(distance(-8 + 24, -8)).toBe(24)
  expect(distance((2 ** 31 + 8) | 0, 2 ** 31 - 8)).toBe(16)
  expect(distance(0, -(2 ** 28))).toBe(2 ** 28)
  expect(distance(5, 5)).toBe(0)
})
