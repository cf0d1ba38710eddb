import { expect, test } from 'vitest'
import { isMoved, move } from '../../../src/model/handler-module.ts'

test('a moved view moves the memory under it, a moved buffer itself', () => {
  const bytes = new Uint8Array(8).subarray(2)
  expect(move(bytes).transferList).toEqual([bytes.buffer])
  const buffer = new ArrayBuffer(8)
  expect(move(buffer).transferList).toEqual([buffer])
  expect(move(bytes).value).toBe(bytes)
})

test('a transfer list that is given is used as it is', () => {
  const inner = new ArrayBuffer(8)
  const list = [inner]
  expect(move({ inner }, list).transferList).toBe(list)
  expect(move({ inner }, []).transferList).toEqual([])
})

test('only what was made by move counts as moved, by whichever copy of the package', () => {
  expect(isMoved(move(new ArrayBuffer(1)))).toBe(true)
  expect(isMoved({ [Symbol.for('corelane.moved')]: true, value: 1, transferList: [] })).toBe(true)
  for (const other of [undefined, null, 1, 'x', {}, [], { value: 1, transferList: [] }, () => {}]) {
    expect(isMoved(other)).toBe(false)
  }
})
