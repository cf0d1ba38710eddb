// Goal: what is kept of ended commands is bounded, in number and in time. Method: an archive under
// a clock that the test turns.

import { expect, test } from 'vitest'
import { LocalArchive, LocalEntry } from '../../../src/distributed/local/local-archive.ts'
import { envelopeOf, resultOf } from '../../support/envelopes.ts'

function keep(archive: LocalArchive, id: string, value: unknown, nowMs: number, to?: string): void {
  const entry = new LocalEntry(id, undefined)
  archive.forget(id)
  archive.entries.set(id, entry)
  archive.keep(envelopeOf(id, { submitter: to }), resultOf(id, { value }), nowMs, entry)
}

function deadLetter(archive: LocalArchive, id: string): void {
  const result = resultOf(id, { value: 'v' })
  archive.deadLetter({ envelope: envelopeOf(id), reason: 'x', diedAt: 1, result })
}

test('results expire in their order', () => {
  const archive = new LocalArchive(100, 10, 10)
  keep(archive, 'a', 'v', 0)
  keep(archive, 'b', 'v', 50)
  archive.expire(99)
  expect([archive.knows('a'), archive.knows('b')]).toEqual([true, true])
  archive.expire(100)
  expect([archive.knows('a'), archive.knows('b')]).toEqual([false, true])
  archive.expire(1000)
  expect(archive.knows('b')).toBe(false)
})

test('a result that is kept again expires later', () => {
  const archive = new LocalArchive(100, 10, 10)
  keep(archive, 'a', 1, 0)
  keep(archive, 'b', 'v', 10)
  keep(archive, 'a', 2, 20, 'me')
  archive.expire(110)
  expect([archive.knows('a'), archive.knows('b')]).toEqual([true, false])
  expect(archive.resultOf('a')?.value).toBe(2)
})

test('past the bound the oldest result and the oldest dead command go', () => {
  const archive = new LocalArchive(100, 2, 2)
  for (const id of ['a', 'b', 'c']) {
    keep(archive, id, 'v', 0)
    deadLetter(archive, `dead-${id}`)
  }
  expect(['a', 'b', 'c'].map((id) => archive.knows(id))).toEqual([false, true, true])
  expect(archive.dead.size).toBe(2)
  expect(archive.listDead(10).map(({ envelope }) => envelope.id)).toEqual(['dead-b', 'dead-c'])
  expect(archive.listDead(1)).toHaveLength(1)
})

test('nothing is kept where nothing may be', () => {
  const archive = new LocalArchive(100, 0, 0)
  keep(archive, 'a', 'v', 0)
  deadLetter(archive, 'b')
  expect([archive.knows('a'), archive.knows('b')]).toEqual([false, false])
})

test('the value of a result that nobody asks for is not kept', () => {
  const archive = new LocalArchive(100, 10, 10)
  keep(archive, 'a', 'v', 0)
  keep(archive, 'b', 'v', 0, 'me')
  expect(archive.resultOf('a')).toMatchObject({ success: true, value: undefined })
  expect(archive.resultOf('b')?.value).toBe('v')
})

test('a dead command is known after its result has expired, until it is restored or dropped', () => {
  const archive = new LocalArchive(100, 10, 10)
  keep(archive, 'a', 'v', 0)
  deadLetter(archive, 'a')
  archive.expire(100)
  expect(archive.knows('a')).toBe(true)
  expect(archive.resultOf('a')?.success).toBe(true)
  expect(archive.restore('a')?.id).toBe('a')
  expect(archive.restore('a')).toBe(undefined)
  expect(archive.knows('a')).toBe(false)
  expect(archive.drop('a')).toBe(false)
})
