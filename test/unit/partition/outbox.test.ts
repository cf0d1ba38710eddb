// Outbox: what becomes of outcomes, reports and values of streams when the result ring is full.
// Method: both ends of a region on one thread; the coordinator's end is read by hand.

import { expect, test } from 'vitest'
import { attachCommons, CoordinatorCommons } from '../../../src/memory/commons.ts'
import { CoordinatorEnd, createRegion, PartitionEnd } from '../../../src/memory/region.ts'
import { move } from '../../../src/model/handler-module.ts'
import { Outbox } from '../../../src/partition/outbox.ts'
import { payloadKindOf, ResultStatus, resetsOf, statusOf } from '../../../src/wire/record-kind.ts'
import { RESULT_HEAD_BYTES, resultId, resultWeight } from '../../../src/wire/result-record.ts'
import { PayloadDecoder, PayloadKind } from '../../../src/wire/ring-payload.ts'
import { fromSideValue, type SideParcel, type SidePort } from '../../../src/wire/side-payload.ts'

const { DONE, FAILED, CHUNK, PROGRESS } = ResultStatus
const RING_BYTES = 1024
const TEXT = 'x'.repeat(280)
const UNSENDABLE = { f: () => 1 }

function world() {
  const region = createRegion(RING_BYTES, RING_BYTES)
  const commons = new CoordinatorCommons(1, [])
  const bell = commons.openBell(0)
  const coordinator = new CoordinatorEnd(region, bell)
  const { views } = attachCommons(commons.memory, 1, [])
  const end = new PartitionEnd(region, views, bell.word, () => {})
  const side: unknown[] = []
  const sidePort = {
    post: (id: number, _: string, { side: sent }: SideParcel) =>
      side.push([id, fromSideValue(sent)]),
  }
  const outbox = new Outbox(end, sidePort as never as SidePort, {
    inlineBytesMax: 400,
    fileCall: 'context',
  })
  const decoder = new PayloadDecoder()
  /** Takes records: what each is, of which command, and its value. */
  const take = (limit = 100) => {
    const records: [number, number, unknown][] = []
    const onRecord = (kind: number, offset: number, length: number) => {
      const id = resultId(coordinator.views, offset)
      const from = offset + RESULT_HEAD_BYTES
      const payloadKind = payloadKindOf(kind)
      const value =
        payloadKind === PayloadKind.SIDE
          ? 'at the side'
          : decoder.decode(
              payloadKind,
              resetsOf(kind),
              coordinator.views,
              from,
              length - RESULT_HEAD_BYTES,
            )
      records.push([statusOf(kind), id, value])
      weights.push(resultWeight(coordinator.views, offset))
    }
    coordinator.results.read({ onRecord }, limit)
    return records
  }
  const weights: number[] = []
  /** Fills the ring with outcomes of a command until only something small fits. */
  const fill = () => {
    let sent = 0
    for (; end.results.freeBytes() > TEXT.length; sent++) outbox.send(99, DONE, TEXT, 0, 0)
    expect(end.results.freeBytes()).toBeGreaterThan(48)
    return sent
  }
  return { outbox, take, fill, side, weights }
}

test('while there is room everything goes at once and in order', () => {
  const { outbox, take } = world()
  outbox.sendProgress(1, 'half')
  expect(outbox.sendChunk(1, 'value')).toBe(1)
  outbox.send(1, DONE, 'end', 0, 0)
  expect(outbox.flush()).toBe(true)
  expect(take()).toEqual([
    [PROGRESS, 1, 'half'],
    [CHUNK, 1, 'value'],
    [DONE, 1, 'end'],
  ])
})

test('outcomes that find the ring full are kept in order and sent once each', () => {
  const { outbox, take, fill } = world()
  const sent = fill()
  for (const id of [1, 2, 3, 4]) outbox.send(id, DONE, TEXT, 0, 0)
  expect(outbox.flush()).toBe(false)
  expect(take()).toHaveLength(sent)
  expect(outbox.flush()).toBe(false)
  const first = take()
  expect(outbox.flush()).toBe(true)
  expect([...first, ...take()]).toEqual([1, 2, 3, 4].map((id) => [DONE, id, TEXT]))
  expect([outbox.flush(), take()]).toEqual([true, []])
})

test('nothing that is small goes past an outcome that is kept', () => {
  const { outbox, take, fill } = world()
  const sent = fill()
  outbox.send(1, DONE, TEXT, 0, 0)
  outbox.send(2, DONE, 0, 0, 0)
  expect(outbox.sendChunk(3, 0)).toBe(0)
  take(sent)
  expect(outbox.flush()).toBe(true)
  expect(take().map(([, id]) => id)).toEqual([1, 2])
})

test('of what a command reports while the ring is full only the latest is kept', () => {
  const { outbox, take, fill } = world()
  const sent = fill()
  for (let i = 0; i < 1000; i++) {
    outbox.sendProgress(1, `${TEXT}${i}`)
    outbox.sendProgress(2, `${TEXT}${-i}`)
  }
  expect(outbox.flush()).toBe(false)
  expect(take()).toHaveLength(sent)
  expect(outbox.flush()).toBe(true)
  expect(take()).toEqual([
    [PROGRESS, 1, `${TEXT}999`],
    [PROGRESS, 2, `${TEXT}-999`],
  ])
})

test('a report that a getter makes while the one before it is sent is not lost', () => {
  const { outbox, take, fill } = world()
  fill()
  outbox.sendProgress(1, TEXT)
  outbox.sendProgress(1, {
    get old() {
      outbox.sendProgress(1, 'new')
      return TEXT
    },
  })
  outbox.send(1, DONE, 'end', 0, 0)
  take()
  expect(outbox.flush()).toBe(true)
  expect(take()).toEqual([
    [PROGRESS, 1, { old: TEXT }],
    [PROGRESS, 1, 'new'],
    [DONE, 1, 'end'],
  ])
})

test('a report that was kept comes before the end of its command', () => {
  const { outbox, take, fill } = world()
  const sent = fill()
  outbox.sendProgress(1, TEXT)
  outbox.send(1, DONE, 'end', 0, 0)
  take(sent)
  outbox.flush()
  expect(take()).toEqual([
    [PROGRESS, 1, TEXT],
    [DONE, 1, 'end'],
  ])
})

test('a report that cannot be sent is refused, and a kept one that no longer can is dropped', () => {
  const { outbox, take, fill } = world()
  expect(() => outbox.sendProgress(1, UNSENDABLE)).toThrow(
    expect.objectContaining({ code: 'CORELANE_UNSERIALIZABLE' }),
  )
  const sent = fill()
  const report: Record<string, unknown> = { text: TEXT }
  outbox.sendProgress(1, report)
  report.text = UNSENDABLE
  outbox.send(2, DONE, 'after', 0, 0)
  take(sent)
  expect(outbox.flush()).toBe(true)
  expect(take()).toEqual([[DONE, 2, 'after']])
})

test('a value of a stream waits for room that is its own, and takes nothing meanwhile', () => {
  const { outbox, take, fill } = world()
  const sent = fill()
  expect(outbox.sendChunk(1, TEXT)).toBe(0)
  // Something smaller would fit, and must not keep it from its room.
  expect(outbox.sendChunk(2, 0)).toBe(0)
  outbox.send(3, DONE, 0, 0, 0)
  expect([outbox.flush(), outbox.sendChunk(1, TEXT)]).toEqual([false, 0])
  // What has ended goes first, where it fits.
  expect(take().slice(sent)).toEqual([[DONE, 3, 0]])
  expect(outbox.flush()).toBe(true)
  expect([outbox.sendChunk(1, TEXT), outbox.sendChunk(2, 0)]).toEqual([1, 1])
  expect(take()).toEqual([
    [CHUNK, 1, TEXT],
    [CHUNK, 2, 0],
  ])
})

test('a value weighs by its length, and 128 KiB at most or where that is not known', () => {
  const { outbox, take, side, weights } = world()
  expect(outbox.sendChunk(1, TEXT)).toBe(1)
  const long = 'y'.repeat(2000)
  expect(outbox.sendChunk(1, long)).toBe(2)
  expect(outbox.sendChunk(1, { long })).toBe(128)
  expect(outbox.sendChunk(1, new Uint8Array(2 ** 20))).toBe(128)
  take()
  expect(weights).toEqual([1, 2, 128, 128])
  expect(side).toEqual([
    [1, long],
    [1, { long }],
    [1, new Uint8Array(2 ** 20)],
  ])
})

test('a result that reports while it is read has its record after what it reported', () => {
  const { outbox, take, side } = world()
  const bytes = new Uint8Array(8)
  const result = {
    get read() {
      outbox.sendProgress(1, 'read')
      return true
    },
    bytes,
  }
  outbox.send(1, DONE, move(result, [bytes.buffer]), 0, 0)
  expect(side).toEqual([[1, { read: true, bytes }]])
  const records = take()
  expect(records.pop()).toEqual([DONE, 1, 'at the side'])
  expect(records.length).toBeGreaterThan(0)
  for (const record of records) expect(record).toEqual([PROGRESS, 1, 'read'])
})

test('a kept result that reports while it is read is sent once', () => {
  const { outbox, take, fill } = world()
  fill()
  outbox.send(99, DONE, TEXT, 0, 0)
  let reads = 0
  const result = {
    get member() {
      if (++reads > 20) throw new Error('read again and again')
      outbox.sendProgress(1, 'late')
      return 5
    },
  }
  outbox.send(1, DONE, result, 0, 0)
  take()
  outbox.flush()
  outbox.flush()
  const records = take().filter(([, id]) => id === 1)
  expect(records).toEqual([
    [DONE, 1, { member: 5 }],
    [PROGRESS, 1, 'late'],
  ])
  expect([reads, outbox.isClear]).toEqual([1, true])
})

test('a value that cannot be sent is refused, and those after it are sent', () => {
  const { outbox, take } = world()
  outbox.sendChunk(1, { a: 1 })
  expect(() => outbox.sendChunk(1, UNSENDABLE)).toThrow(
    expect.objectContaining({ code: 'CORELANE_UNSERIALIZABLE' }),
  )
  expect(outbox.sendChunk(1, { a: 2 })).toBe(1)
  expect(take()).toEqual([
    [CHUNK, 1, { a: 1 }],
    [CHUNK, 1, { a: 2 }],
  ])
})

test('what was thrown and cannot be sent is described, and named as what the handler threw', () => {
  const { outbox, take, side } = world()
  let reads = 0
  const changing = {
    get member() {
      return ++reads % 2 === 0 ? () => 1 : 1
    },
  }
  const trapped = new Proxy(
    {},
    {
      has() {
        throw new Error('no')
      },
    },
  )
  for (const thrown of [UNSENDABLE, Symbol('s'), () => 1, trapped, changing]) {
    outbox.send(1, FAILED, thrown, 0, 0)
    const [record, ...others] = take()
    expect(others).toEqual([])
    expect(record).toMatchObject([FAILED, 1, expect.anything()])
  }
  outbox.send(2, FAILED, UNSENDABLE, 0, 0)
  expect(take()).toEqual([[FAILED, 2, 'at the side']])
  const [, error] = side.at(-1) as [number, Error]
  expect(error.message).toMatch(/^The handler threw \{ f: .* error\.f is a function/)
  expect(error).not.toHaveProperty('code')
})

test('a result that cannot be sent fails its command, also once it was kept', () => {
  const { outbox, take, fill } = world()
  outbox.send(1, DONE, UNSENDABLE, 0, 0)
  expect(take().map(([status, id]) => [status, id])).toEqual([[FAILED, 1]])
  const sent = fill()
  outbox.send(2, DONE, TEXT, 0, 0)
  outbox.send(3, DONE, UNSENDABLE, 0, 0)
  take(sent)
  expect(outbox.flush()).toBe(true)
  expect(take().map(([status, id]) => [status, id])).toEqual([
    [DONE, 2],
    [FAILED, 3],
  ])
})
