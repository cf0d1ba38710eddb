// Command record: every field comes back as it was written, whatever the others are.

import { expect, test } from 'vitest'
import { viewsOf } from '../../../src/memory/views.ts'
import { ATTEMPT_MAX } from '../../../src/model/command.ts'
import { CARRIER_CHARS_MAX } from '../../../src/model/command-trace.ts'
import {
  type CommandFields,
  CommandHead,
  commandHeadBytes,
  writeCommandHead,
} from '../../../src/wire/command-record.ts'

const FIELDS: CommandFields = {
  typeIndex: 3,
  laneIndex: 2,
  attempt: 1,
  sequence: 17,
  rank: 1234,
  key: undefined,
  name: undefined,
  isTimed: false,
  submittedAtMs: 0,
  deadlineMs: undefined,
  latestStartMs: Number.POSITIVE_INFINITY,
}

/** Writes a command with a payload of 8 bytes and reads it back. */
function travel(some: Partial<CommandFields>): CommandHead {
  const fields = { ...FIELDS, ...some }
  const views = viewsOf(new SharedArrayBuffer(8192))
  const length = commandHeadBytes(fields) + 8
  writeCommandHead(views, 64, -5, fields)
  const head = new CommandHead()
  head.read(views, 64, length)
  expect([head.payloadOffset, head.payloadLength]).toEqual([64 + length - 8, 8])
  return head
}

test.each<Partial<CommandFields>>([
  {},
  { typeIndex: 0xffff, laneIndex: 255, attempt: ATTEMPT_MAX },
  { key: 'k' },
  { name: 'the-name' },
  { name: 'n'.repeat(128), key: 'k'.repeat(1024) },
  // With the trace that a name may carry.
  { name: 'n'.repeat(254), key: 'key' },
  { name: 'n'.repeat(255), key: 'key' },
  { name: 'n'.repeat(256), key: 'key' },
  { name: 'n'.repeat(129 + CARRIER_CHARS_MAX), key: 'k'.repeat(1024) },
  { name: '!~', key: '日本', isTimed: true, submittedAtMs: 1, deadlineMs: 2 },
  { key: '日本\ud800'.repeat(99) },
  { isTimed: true, submittedAtMs: 1.25 },
  { isTimed: true, submittedAtMs: 1.25, latestStartMs: 9.75, name: 'n' },
  { isTimed: true, submittedAtMs: 1.25, deadlineMs: 7, key: 'key' },
  { name: 2 ** 40 },
  { name: 5, key: 'key', isTimed: true, submittedAtMs: 1.25 },
  { sequence: Number.MAX_SAFE_INTEGER, rank: 65_535 },
])('what was written is read: %o', (some) => {
  expect(travel(some)).toMatchObject({ ...FIELDS, ...some, id: -5 })
})

test('runs past the most that a record can count change nothing else', () => {
  for (const attempt of [ATTEMPT_MAX + 1, 255, 256, 100_000]) {
    const some = { attempt, typeIndex: 5, laneIndex: 7 }
    expect(travel(some)).toMatchObject({ ...FIELDS, ...some, attempt: ATTEMPT_MAX })
  }
})
