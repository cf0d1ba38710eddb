// Payload roads: every kind of value through real threads and back, by whatever road it takes. What
// each kind keeps in detail is tested with the codec.

import { isDeepStrictEqual } from 'node:util'
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { failure, rejection, within } from '../support/deadline.ts'
import { open, share } from '../support/managers.ts'
import { range } from '../support/range.ts'
import { strategies } from '../support/strategies.ts'

const KIB = 1024
const MIB = 1024 * KIB

const single = share('values.js', { partitions: { count: 1 } })

function bytes(length: number): Uint8Array<ArrayBuffer> {
  const filled = new Uint8Array(length)
  for (let i = 0; i < length; i += 997) filled[i] = i % 251
  return filled
}

function checksum(of: Uint8Array): { length: number; total: number } {
  let total = 0
  for (let i = 0; i < of.length; i += 4093) total = (total * 31 + of[i]!) >>> 0
  return { length: of.length, total }
}

function cycle(): unknown {
  const node: Record<string, unknown> = { name: 'cycle' }
  node.self = node
  node.list = [node]
  return node
}

const kinds: Record<string, unknown> = {
  undefined: undefined,
  null: null,
  true: true,
  false: false,
  zero: 0,
  'negative zero': -0,
  NaN: Number.NaN,
  infinity: Number.NEGATIVE_INFINITY,
  fraction: 0.1,
  bigint: -5n,
  'a bigint of 90 bits': 2n ** 90n,
  'an empty string': '',
  'a short string': 'short',
  'a string with wide characters': 'größer 🐎',
  'a lone surrogate': '\ud800',
  'a string of 64 KiB': 'x'.repeat(64 * KIB),
  'a wide string of 64 KiB': '→'.repeat(64 * KIB),
  'a string of 128 KiB': 'y'.repeat(128 * KIB),
  'a string of 2 MiB': 'z'.repeat(2 * MIB),
  'no bytes': new Uint8Array(0),
  bytes: bytes(100),
  'bytes of 1 MiB': bytes(MIB),
  'a buffer': Buffer.from('some bytes'),
  'an ArrayBuffer': bytes(16).buffer,
  'a typed array': new Float64Array([1.5, -0, Number.NaN]),
  'a small object': { id: 1, name: 'one', tags: ['a', 'b', 'c'] },
  'an object of 1 MiB': { blob: 'o'.repeat(MIB), list: range(1000) },
  array: [1, 'two', [3], { four: 4 }],
  map: new Map<unknown, unknown>([
    ['key', { value: 1 }],
    [2, new Map([[3, 4]])],
  ]),
  set: new Set([1, 'two', null]),
  date: new Date(86_400_000),
  regexp: /a+/giu,
  cycle: cycle(),
  error: new RangeError('as a value'),
}

/** Names of the kinds that did not come back as they went; vitest is slow with a million bytes. */
function changed(results: Record<string, unknown>): string[] {
  return Object.keys(kinds).filter((name) => !isDeepStrictEqual(results[name], kinds[name]))
}

test.each(strategies)('each kind of payload comes and goes under %s', async (_, partitions) => {
  const manager = await open('values.js', { partitions })
  // All at once, so that roads mix; then one at a time.
  const all = Object.entries(kinds).map(async ([name, value]) => [
    name,
    await manager.run('echo', value),
  ])
  expect(changed(Object.fromEntries(await within(Promise.all(all), 'all kinds')))).toEqual([])
  const again: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(kinds)) {
    again[name] = await within(manager.run('later', value), name)
  }
  expect(changed(again)).toEqual([])
})

test.each(strategies)('mixed payloads stay with their commands under %s', async (_, partitions) => {
  const manager = await open('values.js', { partitions, ringBytes: 16 * KIB })
  const payloads = range(600).map((index) => ({
    index,
    filler: 'f'.repeat(index % 7 === 0 ? 5 * KIB : index % 3),
    big: index % 50 === 0 ? bytes(70 * KIB) : null,
  }))
  const results = await within(manager.submitMany('query', 'echo', payloads), 'mixture')
  expect(isDeepStrictEqual(results, payloads)).toBe(true)
})

test('a payload of 64 MiB arrives whole, and so does a result of 64 MiB', async () => {
  const manager = single()
  const large = bytes(64 * MIB)
  expect(await within(manager.run('sum', large), 'sum of 64 MiB')).toEqual(checksum(large))
  expect(large.byteLength).toBe(64 * MIB)
  const made = (await within(
    manager.run('make', { length: 64 * MIB, fill: 7 }),
    '64 MiB result',
  )) as Uint8Array
  expect(made.length).toBe(64 * MIB)
  expect([made[0], made[32 * MIB], made.at(-1)]).toEqual([7, 7, 7])
})

test.each([10, 100 * KIB, 64 * MIB])('%i bytes of a transfer list are moved', async (length) => {
  const manager = single()
  const moved = bytes(length)
  const expected = checksum(moved)
  const result = manager.run('sum', moved, { transferList: [moved.buffer] })
  expect(await within(result, 'sum of moved bytes')).toEqual(expected)
  expect(moved.buffer.byteLength).toBe(0)
})

test.each(['give', 'giveInside'] as const)(
  'move() (%s) takes the memory from the partition',
  async (type) => {
    const manager = single()
    const result = (await within(manager.run(type, { length: MIB, fill: 3 }), type)) as unknown
    const given = type === 'give' ? result : (result as { bytes: Uint8Array }).bytes
    expect((given as Uint8Array).length).toBe(MIB)
    expect((given as Uint8Array).at(-1)).toBe(3)
    expect(await within(manager.run('remains'), 'remains')).toEqual({ length: 0, detached: true })
  },
)

test('a payload that submits when it is read comes before what it submits', async () => {
  const manager = await open('values.js', { partitions: strategies[0]![1] })
  const inner: Promise<unknown>[] = []
  const payload = {
    get read() {
      inner.push(manager.run('echo', `inner ${inner.length}`))
      return true
    },
    bytes: bytes(16),
  }
  const transferList = [payload.bytes.buffer]
  const outer = manager.run('echo', payload, { transferList })
  expect(await within(outer, 'the outer command')).toEqual({ read: true, bytes: bytes(16) })
  const texts = await within(Promise.all(inner), 'the inner commands')
  expect(texts.length).toBeGreaterThan(0)
  expect(texts).toEqual(inner.map((_, i) => `inner ${i}`))
})

test('a result that reports when it is read arrives, and so does what it reports', async () => {
  const manager = await open('values.js', { partitions: strategies[0]![1] })
  const reports: unknown[] = []
  const onProgress = (value: unknown) => reports.push(value)
  const given = manager.run('giveReporting', { length: 16, fill: 7 }, { onProgress })
  expect(await within(given, 'the result')).toEqual({
    read: true,
    bytes: new Uint8Array(16).fill(7),
  })
  expect(reports.length).toBeGreaterThan(0)
  expect(new Set(reports)).toEqual(new Set(['read']))
  expect(await within(manager.run('echo', 'after'), 'a later command')).toBe('after')
})

test('a MessagePort in the payload works on the other side', async () => {
  const manager = single()
  const { port1, port2 } = new MessageChannel()
  const received = new Promise((resolve) => port1.once('message', resolve))
  const sent = manager.run('greet', { port: port2, name: 'you' }, { transferList: [port2] })
  expect(await within(sent, 'greet')).toBe('sent')
  expect(await within(received, 'the greeting')).toBe('hello you')
  port1.close()
})

test('a MessagePort in a result works on this side', async () => {
  const manager = single()
  const { port } = (await within(manager.run('givePort'), 'givePort')) as unknown as {
    port: MessagePort
  }
  expect(receiveMessageOnPort(port)?.message).toBe('from the partition')
  port.close()
})

test('shared memory stays shared both ways', async () => {
  const manager = single()
  const shared = new SharedArrayBuffer(16)
  const back = (await within(manager.run('writeShared', shared), 'writeShared')) as never
  expect(new Int32Array(shared)[0]).toBe(42)
  new Int32Array(back)[1] = 7
  expect(new Int32Array(shared)[1]).toBe(7)
})

test('what a handler throws arrives as it was thrown', async () => {
  const bare = {
    string: 'a bare string',
    undefined,
    null: null,
    number: 0,
    object: { status: 404 },
  }
  const manager = single()
  for (const type of ['throwIt', 'rejectWith'] as const) {
    const error = await failure(manager.run(type, 'error'), type)
    expect(error).toBeInstanceOf(TypeError)
    expect(error).toMatchObject({ message: 'wrong', code: 'E_WRONG', extra: { list: [1, 2] } })
    expect(error.stack).toContain('values.js')
    expect((error.cause as Error).message).toBe('the cause')
    for (const [what, thrown] of Object.entries(bare)) {
      expect(await rejection(manager.run(type, what), type)).toStrictEqual(thrown)
    }
    expect((await failure(manager.run(type, 'frozen'), type)).message).toBe('frozen')
    const own = await failure(manager.run(type, 'class'), type)
    expect(own).toBeInstanceOf(RangeError)
    expect(own).toMatchObject({ name: 'TeapotError', message: 'short and stout', status: 418 })
  }
})
