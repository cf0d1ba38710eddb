// Line splitter: the same lines, however the bytes are cut.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Line, LineSplitter } from '../../../src/cli/line-splitter.ts'

function split(chunks: readonly Buffer[], lineBytesMax = 1000): Line[] {
  const splitter = new LineSplitter(lineBytesMax)
  const lines = chunks.flatMap((chunk) => [...splitter.push(chunk)])
  const last = splitter.end()
  return last === undefined ? lines : [...lines, last]
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = places.map((place) => place % (bytes.length + 1)).toSorted((a, b) => a - b)
  return [0, ...sorted].map((start, at) => bytes.subarray(start, sorted[at] ?? bytes.length))
}

test('lines and their numbers do not depend on how the bytes are cut', () => {
  const places = fc.array(fc.nat(), { maxLength: 20 })
  const character = fc.constantFrom('\n', 'a', 'ö', '€', '😀', '\r', ' ')
  fc.assert(
    fc.property(fc.string({ unit: character, maxLength: 60 }), places, (text, where) => {
      const expected = text.split('\n')
      if (expected.at(-1) === '') expected.pop()
      const lines = split(cut(Buffer.from(text), where))
      expect(lines.map((line) => line.text)).toEqual(expected)
      expect(lines.map((line) => line.number)).toEqual(expected.map((_, at) => at + 1))
      const bytes = lines.reduce((sum, line) => sum + line.bytes, 0)
      expect(bytes).toBe(Buffer.byteLength(text))
    }),
  )
})

test('a line of exactly the limit passes and one byte more is refused, cut or whole', () => {
  const input = Buffer.from(`${'a'.repeat(10)}\n${'b'.repeat(11)}\nc\n`)
  for (const chunks of [[input], cut(input, [3, 15, 21])]) {
    expect(split(chunks, 10)).toEqual([
      { number: 1, text: 'a'.repeat(10), bytes: 11, fault: undefined },
      { number: 2, text: '', bytes: 12, fault: 'too long' },
      { number: 3, text: 'c', bytes: 2, fault: undefined },
    ])
  }
})

test('a last line that is too long is refused without its newline', () => {
  expect(split([Buffer.from('abc')], 2)).toEqual([
    { number: 1, text: '', bytes: 3, fault: 'too long' },
  ])
  expect(split([Buffer.from('ab')], 2)[0]?.text).toBe('ab')
})

test('bytes that are not UTF-8 are a fault of their line alone', () => {
  const input = Buffer.concat([Buffer.from([0xc3, 0x0a]), Buffer.from('fine\n')])
  expect(split([input]).map(({ fault, text }) => [fault, text])).toEqual([
    ['not UTF-8', ''],
    [undefined, 'fine'],
  ])
})

test('a byte order mark is dropped at the start of the input and nowhere else', () => {
  expect(split([Buffer.from('\uFEFFa\n\uFEFFb\n')]).map(({ text }) => text)).toEqual([
    'a',
    '\uFEFFb',
  ])
})
