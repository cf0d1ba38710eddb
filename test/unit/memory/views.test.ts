import { expect, test } from 'vitest'
import { viewsOf } from '../../../src/memory/views.ts'

test('the three views show the same memory from its start to its end', () => {
  const memory = new SharedArrayBuffer(64)
  const { words, bytes, floats } = viewsOf(memory)
  expect([words.byteLength, bytes.byteLength, floats.byteLength]).toEqual([64, 64, 64])
  expect([words.buffer, bytes.buffer, floats.buffer]).toEqual([memory, memory, memory])
  expect([words.byteOffset, bytes.byteOffset, floats.byteOffset]).toEqual([0, 0, 0])
  floats[1] = 1.5
  expect(bytes.readDoubleLE(8)).toBe(1.5)
  words[4] = -2
  expect(bytes.readInt32LE(16)).toBe(-2)
})
