// Inline manager: the promises of a manager without threads, in virtual time.

import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { expect, test, vi } from 'vitest'
import { inlineManager } from '../../../src/coordinator/inline-manager.ts'
import type { CommandContext } from '../../../src/model/command.ts'
import { move } from '../../../src/model/handler-module.ts'
import { PartitionConfig } from '../../../src/model/partition-config.ts'
import { uncaughtBy } from '../../support/uncaught.ts'

class Point {
  readonly x: number
  constructor(x: number) {
    this.x = x
  }
  norm(): number {
    return Math.abs(this.x)
  }
}

let runs = 0
const handlers = {
  double: (n: number) => n * 2,
  point: (x: number) => new Point(x),
  closure: () => ({ at: () => 1 }),
  forever: (_: number, { signal }: CommandContext) =>
    new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error()))),
  flaky: () => {
    if (++runs < 3) throw new RangeError(`run ${runs}`)
    return runs
  },
  report: (to: number, context: CommandContext) => {
    for (let i = 1; i <= to; i++) context.progress(i)
    return context.submit('a', 'double', to)
  },
  *count(to: number) {
    for (let i = 0; i < to; i++) yield i
    return 'end'
  },
}

const make = () => inlineManager({ handlers, lanes: { a: {}, slow: { timeoutMs: 1_000 } } })

test('only a module or an object of functions is taken', async () => {
  for (const given of [undefined, null, new URL('file:///x.js'), './x.js', () => 1, [], Point]) {
    expect(() => inlineManager({ handlers: given as never })).toThrow(
      /^inlineManager\.handlers is .+; allowed: a module, as import\(\) gives it, or/,
    )
  }
  expect(() => inlineManager(undefined as never)).toThrow('inlineManager.handlers is undefined')
  const module = inlineManager({ handlers: await import('../../fixtures/typed.ts') })
  expect(await module.run('twice', 2)).toBe(4)
})

test('commands run at once, and what crosses is a copy', async () => {
  const manager = make()
  expect(await manager.run('double', 21)).toBe(42)
  expect(await manager.submit('slow', 'double', 2)).toBe(4)
  expect(await manager.handlers().double(3, { lane: 'slow' })).toBe(6)
  expect(await manager.handlers().double(3, { lane: undefined })).toBe(6)
  expect(await manager.submitMany('a', 'double', [1, 2])).toEqual([2, 4])
  const point = await manager.run('point', 3)
  expect(point).toEqual({ x: 3 })
  expect(point).not.toBeInstanceOf(Point)
  const refused = manager.run('closure')
  await expect(refused).rejects.toMatchObject({ code: 'CORELANE_UNSERIALIZABLE' })
  const outcome = await manager.execute('a', 'double', 1, { id: 'mine' })
  expect(outcome).toMatchObject({ ok: true, value: 2, info: { id: 'mine', lane: 'a', attempt: 1 } })
  const results: unknown[] = []
  for await (const one of manager.map('a', 'double', [1, 2])) results.push(one)
  expect(results).toEqual([2, 4])
})

class Refused extends TypeError {
  readonly at = new Point(3)
}

test('what a handler throws arrives as from another thread', async () => {
  const thrown = new Refused('no')
  const throws = (): number => {
    throw thrown
  }
  async function* throwsLater() {
    yield 1
    throw thrown
  }
  const giveSymbol = (): Promise<number> => Promise.reject(Symbol('s'))
  const manager = inlineManager({ handlers: { throws, throwsLater, giveSymbol }, lanes: { a: {} } })
  const error = await manager.run('throws').catch((reason) => reason)
  expect(error).toMatchObject({ name: 'Refused', message: 'no', at: { x: 3 }, stack: thrown.stack })
  expect([error instanceof TypeError, error instanceof Refused]).toEqual([true, false])
  const values = manager.stream('a', 'throwsLater')
  expect(await values.next()).toMatchObject({ value: 1 })
  const later = await values.next().catch((reason) => reason)
  expect([later.name, later instanceof Refused]).toEqual(['Refused', false])
  await expect(manager.run('giveSymbol')).rejects.toThrow(/threw Symbol\(s\)/)
})

test('wrong names, options and states are refused with the codes of a real manager', async () => {
  for (const bad of [null, 5, 'a']) {
    const code = 'CORELANE_INVALID_OPTION'
    await expect(make().run('double', 1, bad as never)).rejects.toMatchObject({ code })
  }
  const many = make().submitMany('a', 'double', 5 as never)
  await expect(many).rejects.toThrow(/^submitMany\.payloads is 5; allowed: .*iterated/)
  const manager = make()
  const codes: [Promise<unknown>, string][] = [
    [manager.run('double', 1, { lane: 'b' as never }), 'CORELANE_UNKNOWN_LANE'],
    [manager.run('triple' as never), 'CORELANE_UNKNOWN_TYPE'],
    [manager.run('double', 1, { retries: 2 } as never), 'CORELANE_INVALID_OPTION'],
    [manager.run('double', 1, { file: import.meta.url }), 'CORELANE_INVALID_OPTION'],
    [manager.stream('a', 'double' as never, 1).next(), 'CORELANE_NO_STREAM'],
  ]
  for (const [call, code] of codes) await expect(call).rejects.toMatchObject({ code })
  await manager.drain()
  await expect(manager.run('double', 1)).rejects.toMatchObject({ code: 'CORELANE_CLOSED' })
})

test('a key is refused where a manager of the strategy refuses it', async () => {
  const keyOf = (_: unknown, { key }: CommandContext) => key
  const code = 'CORELANE_INVALID_COMMAND'
  const options = { key: 'k' }
  for (const partitions of [undefined, 2, PartitionConfig.roundRobin()]) {
    const manager = inlineManager({ handlers: { keyOf }, partitions })
    await expect(manager.run('keyOf', 0, options)).rejects.toMatchObject({ code })
  }
  for (const partitions of [PartitionConfig.hash(), PartitionConfig.single()]) {
    expect(await inlineManager({ handlers: { keyOf }, partitions }).run('keyOf', 0, options)).toBe(
      'k',
    )
  }
})

test('transfer lists move, and so does move', async () => {
  const lengthOf = (bytes: Uint8Array) => bytes.length
  const made: ArrayBuffer[] = []
  const moves = () => {
    made.push(new ArrayBuffer(4))
    return move(made[0]!)
  }
  async function* chunks() {
    made.push(new ArrayBuffer(2))
    yield move(made[1]!)
  }
  const answers = (port: MessagePort) => port.postMessage('here')
  const manager = inlineManager({ handlers: { lengthOf, moves, chunks, answers } })
  const bytes = new Uint8Array(8)
  expect(await manager.run('lengthOf', bytes, { transferList: [bytes.buffer] })).toBe(8)
  expect(bytes.length).toBe(0)
  expect(await manager.run('moves')).toEqual(new ArrayBuffer(4))
  for await (const chunk of manager.stream('query', 'chunks')) {
    expect(chunk).toEqual(new ArrayBuffer(2))
  }
  expect(made.map(({ byteLength }) => byteLength)).toEqual([0, 0])
  const { port1, port2 } = new MessageChannel()
  const message = new Promise((resolve) => port1.once('message', resolve))
  await manager.run('answers', port2, { transferList: [port2] })
  expect(await message).toBe('here')
  port1.close()
  const again = { transferList: [new ArrayBuffer(1)], retry: { retries: 1 } }
  const refused = manager.run('lengthOf', bytes, again)
  await expect(refused).rejects.toMatchObject({ details: { field: 'transferList' } })
})

test('delays, time-outs and retries follow virtual time', async () => {
  const manager = make()
  const done = vi.fn()
  manager.run('double', 1, { delayMs: 60_000 }).then(done)
  await manager.advance(59_999)
  expect(done).not.toHaveBeenCalled()
  await manager.advance(1)
  expect(done).toHaveBeenCalledWith(2)

  const late = manager.submit('slow', 'forever', 1).catch((error) => error)
  await manager.advance(1_000)
  expect(await late).toMatchObject({ code: 'CORELANE_TIMEOUT', details: { timeoutMs: 1_000 } })

  runs = 0
  const retry = { retries: 2, delayMs: 100 }
  const flaky = manager.execute('a', 'flaky', undefined, { retry })
  await manager.advance(300)
  expect(await flaky).toMatchObject({ ok: true, value: 3, info: { attempt: 3 } })
  runs = 0
  await expect(manager.run('flaky')).rejects.toThrow(RangeError)
})

test('signals, progress, nested commands and streams work', async () => {
  const manager = make()
  const leaving = new AbortController()
  const aborted = manager.run('forever', 1, { signal: leaving.signal }).catch((error) => error)
  await manager.advance(0)
  leaving.abort('gone')
  expect(await aborted).toMatchObject({ code: 'CORELANE_ABORTED', cause: 'gone' })
  const onProgress = vi.fn()
  expect(await manager.run('report', 2, { onProgress })).toBe(4)
  expect(onProgress.mock.calls).toEqual([[1], [2]])
  const stream = manager.stream('a', 'count', 2)
  expect([await stream.next(), await stream.next(), await stream.next()]).toEqual([
    { value: 0, done: false },
    { value: 1, done: false },
    { value: 'end', done: true },
  ])
})

test('a spy holds the proxy of a manager', async () => {
  const api = make().handlers()
  const spy = vi.spyOn(api as { double(n: number): Promise<number> }, 'double')
  spy.mockResolvedValue(7)
  expect(await api.double(1)).toBe(7)
  spy.mockRestore()
  expect(await api.double(1)).toBe(2)
})

test('a signal that has aborted by then keeps the handler from being called', async () => {
  const called = vi.fn()
  const manager = inlineManager({ handlers: { called } })
  const before = manager.run('called', 1, { signal: AbortSignal.abort('gone') })
  await expect(before).rejects.toMatchObject({ code: 'CORELANE_ABORTED', cause: 'gone' })
  const controller = new AbortController()
  const after = manager.run('called', 1, { signal: controller.signal })
  controller.abort('gone')
  await expect(after).rejects.toMatchObject({ code: 'CORELANE_ABORTED', cause: 'gone' })
  await manager.advance(0)
  expect(called).not.toHaveBeenCalled()
})

test('close ends what has not ended, and drain lets handlers submit', async () => {
  const manager = make()
  const nested = manager.run('report', 2)
  const waiting = manager.run('double', 1, { delayMs: 1_000 }).catch((error) => error)
  const running = manager.run('forever', 1, { retry: { retries: 3 } }).catch((error) => error)
  const drained = vi.fn()
  manager.drain().then(drained)
  expect(await nested).toBe(4)
  expect(drained).not.toHaveBeenCalled()
  await manager.close()
  const code = 'CORELANE_COMMAND_DROPPED'
  expect(await waiting).toMatchObject({ code, details: { stage: 'waiting' } })
  expect(await running).toMatchObject({ code, details: { stage: 'running' } })
  await manager.advance(10_000)
  expect(drained).toHaveBeenCalled()
})

test('drain checks its time, and rejects once that is over', async () => {
  const manager = make()
  const error: unknown = await manager.drain(-1).catch((reason) => reason)
  expect(error).toMatchObject({ code: 'CORELANE_INVALID_OPTION' })
  const waiting = manager.submit('a', 'double', 1, { delayMs: 1_000 })
  const draining = manager.drain(100).catch((reason) => reason)
  await manager.advance(100)
  const details = { timeoutMs: 100, left: '1 in a', lanes: { a: 1 } }
  expect(await draining).toMatchObject({ code: 'CORELANE_DRAIN_TIMEOUT', details })
  const drained = manager.drain(2_000)
  await manager.advance(1_000)
  expect(await Promise.all([waiting, drained])).toEqual([2, undefined])
  await manager.advance(10_000)
})

test('leaving a stream ends its generator, and one that has ended is not ended again', async () => {
  const ended: string[] = []
  async function* counts({ name, count }: { name: string; count: number }) {
    try {
      for (let i = 0; i < count; i++) yield i
      if (name === 'failed') throw new Error('failed')
    } finally {
      ended.push(name)
    }
  }
  const manager = inlineManager({ handlers: { counts } })
  for await (const count of manager.stream('query', 'counts', { name: 'left', count: 9 })) {
    if (count === 1) break
  }
  expect(ended).toEqual(['left'])
  for await (const _ of manager.stream('query', 'counts', { name: 'whole', count: 2 }));
  const failing = manager.stream('query', 'counts', { name: 'failed', count: 0 })
  await expect(failing.next()).rejects.toThrow('failed')
  expect(ended).toEqual(['left', 'whole', 'failed'])
})

test('a time-out is final unless the policy counts it, and that of a nested command is a failure', async () => {
  const stuck = vi.fn((_: unknown) => new Promise(() => {}))
  const outer = (_: unknown, context: CommandContext) =>
    context.submit('query', 'stuck', 0, { timeoutMs: 10 })
  const manager = inlineManager({ handlers: { stuck, outer } })
  const retry = { retries: 2, delayMs: 1 }
  const withTimeouts = { ...retry, retryTimeouts: true }
  for (const [type, options, runs] of [
    ['stuck', { timeoutMs: 10, retry }, 1],
    ['stuck', { timeoutMs: 10, retry: withTimeouts }, 3],
    ['outer', { retry }, 3],
  ] as const) {
    stuck.mockClear()
    const error = manager.run(type, 0, options).catch((reason) => reason)
    await manager.advance(1_000)
    expect(await error).toMatchObject({ code: 'CORELANE_TIMEOUT' })
    expect(stuck).toHaveBeenCalledTimes(runs)
  }
})

test('a stream is never retried', async () => {
  let times = 0
  const breaks = (_: unknown): number[] => {
    throw new RangeError(`run ${++times}`)
  }
  const lanes = { a: { retry: { retries: 2, delayMs: 0 } } }
  const manager = inlineManager({ handlers: { breaks }, lanes })
  await expect(manager.stream('a', 'breaks', 0).next()).rejects.toThrow('run 1')
  const own = manager.stream('a', 'breaks', 0, { retry: { retries: 1 } })
  await expect(own.next()).rejects.toMatchObject({ details: { field: 'retry' } })
})

test('commands of handlers, broadcasts and advance are checked as those of a real manager', async () => {
  const moves = () => move(new ArrayBuffer(4))
  const asks = (given: readonly unknown[], context: CommandContext) =>
    context.submit(...(given as [string, string])).catch((error) => error.code)
  const manager = inlineManager({ handlers: { moves, asks }, lanes: { a: {} } })
  expect(await manager.run('asks', ['a', 'moves'])).toEqual(new ArrayBuffer(4))
  expect(await manager.run('asks', ['a', 'moves', 0, { wait: false }])).toBe(undefined)
  const option = 'CORELANE_INVALID_OPTION'
  for (const [given, code] of [
    [['b', 'moves', 0, { wait: false }], 'CORELANE_UNKNOWN_LANE'],
    [['a', 'moves', 0, null], option],
    [['a', 'moves', 0, { id: 'mine' }], option],
    [['a', 'moves', 0, { retry: { retries: 1 } }], option],
  ] as const) {
    expect(await manager.run('asks', given)).toBe(code)
  }
  for (const options of [{ key: 'k' }, { sticky: 1 }, null]) {
    const broadcast = manager.broadcast('moves', 0, options as never)
    await expect(broadcast).rejects.toMatchObject({ code: option })
  }
  for (const ms of [Number.NaN, Number.POSITIVE_INFINITY, -1, '5', undefined]) {
    await expect(manager.advance(ms as never)).rejects.toMatchObject({ code: option })
  }
  manager.shutdown()
  await expect(manager.room('a')).rejects.toMatchObject({ code: 'CORELANE_CLOSED' })
})

test('progress that cannot cross is refused, a listener fails on its own, and an end is one', async () => {
  let kept: CommandContext | undefined
  const reports = (value: number, context: CommandContext) => {
    kept = context
    context.progress(value)
    expect(() => context.progress(() => {})).toThrow(/function/)
    return 'done'
  }
  const manager = inlineManager({ handlers: { reports } })
  expect(await manager.run('reports', 1)).toBe('done')
  const onProgress = vi.fn(() => {
    throw new Error('of the listener')
  })
  const thrown = await uncaughtBy(async () => {
    expect(await manager.run('reports', 2, { onProgress })).toBe('done')
  })
  expect(thrown).toMatchObject([{ message: 'of the listener' }])
  kept!.progress(3)
  expect(onProgress.mock.calls).toEqual([[2]])
})

test('a deadline counts from the submit, and is that of the lane unless it is its own', async () => {
  const times: unknown[] = []
  const note = (_: unknown, { deadline, startedAt }: CommandContext): void => {
    times.push([startedAt, deadline])
    throw new Error('again')
  }
  const lanes = { a: { priorityBoost: { deadlineMs: 500 }, retry: { retries: 1, delayMs: 100 } } }
  const manager = inlineManager({ handlers: { note }, lanes })
  const ends = [{}, { deadlineMs: 50 }].map((options) => manager.execute('a', 'note', 0, options))
  await manager.advance(100)
  await Promise.all(ends)
  expect(times).toEqual([
    [0, 500],
    [0, 50],
    [100, 500],
    [100, 50],
  ])
})
