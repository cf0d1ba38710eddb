// Layout picture: src/memory/README.md says of the shared memory what src/memory/layout.ts says.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Bell } from '../../src/memory/doorbell.ts'
import {
  CACHE_LINE_BYTES,
  CommonsWord,
  Counter,
  PADDING_KIND,
  RECORD_HEADER_BYTES,
  RINGS_OFFSET,
  SLOT_BITS,
  SLOT_COUNT,
  Word,
} from '../../src/memory/layout.ts'
import { CoordinatorSlots, SlotState } from '../../src/memory/slots.ts'
import { viewsOf } from '../../src/memory/views.ts'

const folder = join(import.meta.dirname, '../../src/memory')
const readme = readFileSync(join(folder, 'README.md'), 'utf8')
const pictures = [...readme.matchAll(/^```\n(.*?)^```$/gms)].map((match) => match[1]!)

/** What a picture places at a byte offset, by name. */
function placesIn(picture: string): Record<string, number> {
  const rows = picture.matchAll(/^ *(\d+) {2}\| ([A-Za-z_ ]+?) *\|/gm)
  return Object.fromEntries([...rows].map(([, offset, name]) => [name, Number(offset)]))
}

function bytesOf(words: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(words).map(([name, index]) => [name, index * 4]))
}

/** Rows of the table under a heading, as cells without their backticks. */
function tableAfter(heading: string): string[][] {
  const part = readme.slice(readme.indexOf(heading))
  const table = /^\|.*\n\|[-|]+\n((?:\|.*\n)+)/m.exec(part)!
  return table[1]!
    .trimEnd()
    .split('\n')
    .map((row) => row.split('|').slice(1, -1))
    .map((cells) => cells.map((cell) => cell.replaceAll('`', '').trim()))
}

test('the picture of the region has every word at its offset, then the rings', () => {
  expect(placesIn(pictures[0]!)).toEqual({ ...bytesOf(Word), 'command ring': RINGS_OFFSET })
  expect(pictures[0]).toContain(`${SLOT_COUNT.toLocaleString('en-US')} words`)
  expect(readme).toContain(`never shares a line of\n${CACHE_LINE_BYTES} bytes`)
})

test('the picture of the commons has every word at its offset', () => {
  expect(placesIn(pictures[1]!)).toEqual(bytesOf(CommonsWord))
})

test('the picture of a record has its fields at their offsets', () => {
  const [ruler, , fields] = pictures[2]!.split('\n')
  const starts = [...ruler!.matchAll(/\d+/g)].map((mark) => [Number(mark[0]), mark.index])
  const columns = [...fields!.matchAll(/\|/g)].map(({ index }) => index)
  expect(columns).toEqual(starts.map(([, column]) => column))
  expect(starts.map(([offset]) => offset)).toEqual([0, 4, RECORD_HEADER_BYTES])
  expect(readme).toContain(`a record of kind ${PADDING_KIND} (padding)`)
})

test('the table of words has a row for every word and every counter', () => {
  const named = tableAfter('Every word has one writer').map(([words]) => words!.split(/[,:] /))
  expect(named.flat().sort()).toEqual([...Object.keys(Word), ...Object.keys(Counter)].sort())
})

test('the table of words in layout.ts says the same of each word', () => {
  const source = readFileSync(join(folder, 'layout.ts'), 'utf8')
  for (const name of Object.keys(Word))
    expect(source).toMatch(new RegExp(`^ \\* \\|.*\\b${name}\\b`, 'm'))
})

test('the table of slot states has every state with its value', () => {
  const rows = tableAfter('## Who owns a command').map(([state, value]) => [state, Number(value)])
  expect(Object.fromEntries(rows)).toEqual(SlotState)
})

test('the table of bell states has every state with its value', () => {
  const rows = tableAfter('## How a thread sleeps').map(([state, value]) => [state, Number(value)])
  expect(Object.fromEntries(rows)).toEqual(Bell)
})

test('ids and slot words are packed as it says', () => {
  const [, idShift, wordShift] =
    /id is `generation << (\d+) \| slot`; its word is `generation << (\d+) \| state`/.exec(readme)!
  expect(Number(idShift)).toBe(SLOT_BITS)
  const views = viewsOf(new SharedArrayBuffer(RINGS_OFFSET))
  const slots = new CoordinatorSlots(views)
  for (let generation = 1; generation < 4; generation++) {
    const id = slots.open()
    const word = views.words[Word.SLOTS + (id & (SLOT_COUNT - 1))]
    expect(id >>> Number(idShift)).toBe(generation)
    expect(word).toBe((generation << Number(wordShift)) | SlotState.QUEUED)
    slots.close(id)
  }
})

test('every tag of an atomic effect is named where its protocol is argued', () => {
  const tags = new Set<string>()
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.ts'))) {
    const source = readFileSync(join(folder, file), 'utf8')
    for (const [, tag] of source.matchAll(/\b(?:PUBLISH|OBSERVE)\(([a-z-]+)\)/g)) tags.add(tag!)
  }
  const named = new Set([...readme.matchAll(/`([a-z]+-[a-z]+)`/g)].map((match) => match[1]))
  expect([...named].sort()).toEqual([...tags].sort())
})
