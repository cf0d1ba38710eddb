// Bad input: what a caller or a handler may get wrong. Each mistake costs that one call, with a
// message that says what was received and what is allowed; the manager goes on.

import { join } from 'node:path'
import {
  closeOnSignals,
  LaneConfig,
  LocalDistributedQueue,
  PartitionConfig,
  PriorityBoostConfig,
  QueueManager,
  QueueManagerBuilder,
  QueueMonitor,
  RetryPolicy,
  Submitter,
  WorkerPool,
} from 'corelane'
import { RedisDistributedQueue } from 'corelane/redis'
import { describe, expect, test } from 'vitest'
import { failure, refused, rejection, within } from '../support/deadline.ts'
import { fixture, open, share } from '../support/managers.ts'
import { runProgram } from '../support/programs.ts'
import { range } from '../support/range.ts'

const one = { partitions: { count: 1 } } as const
const handlers = fixture('values.js')
const shared = share('values.js', { partitions: PartitionConfig.hash(1) })

function refusal(options: unknown): { code: string; message: string } {
  try {
    QueueManager.create(options as never)
  } catch (error) {
    return error as never
  }
  throw new Error('it was not refused')
}

// Each rule by itself: unit/coordinator/options, unit/model/lane, unit/model/partition-config.
test.each<[says: RegExp, options: unknown]>([
  [/QueueManager\.handlers is missing; allowed: a URL or a path/, undefined],
  [/QueueManager options is null/, null],
  [/QueueManager\.handlers is missing/, {}],
  [/QueueManager\.retries is not an option; allowed: handlers, /, { handlers, retries: 3 }],
  [/\.partitions is "2"; allowed: a number of threads/, { handlers, partitions: '2' }],
  [/lanes\.a options is an array of 0; allowed: an object/, { handlers, lanes: { a: [] } }],
  [
    /lanes\.a\.groupWeights is an object \{ g \}/,
    { handlers, lanes: { a: { groupWeights: { g: 0 } } } },
  ],
  [/PartitionConfig\.count is 0; allowed: an integer from 1 to 256/, { handlers, partitions: 0 }],
  [
    /\.size is not an option \(did you mean "count"\?\); allowed: strategy, count/,
    { handlers, partitions: { size: 2 } },
  ],
  [/lanes is 0 lanes; allowed: 1 to 256 lanes/, { handlers, lanes: {} }],
  [/QueueManager\.lanes is an array of 1/, { handlers, lanes: ['a'] }],
  [/lanes\.a options is 1; allowed: an object/, { handlers, lanes: { a: 1 } }],
  [/lanes\.a\.priority is 256/, { handlers, lanes: { a: { priority: 256 } } }],
  [
    /lanes\.api\.retry\.retries is 101; allowed: an integer from 0 to 100/,
    { handlers, lanes: { api: { retry: { retries: 101 } } } },
  ],
  [/maxCrashes is 0; allowed: an integer from 1/, { handlers, maxCrashes: 0 }],
  [/terminatingMax is 5/, { handlers, terminatingMax: 5 }],
])('create refuses bad options: %s', (says, options) => {
  const error = refusal(options)
  expect(error).toMatchObject({ name: 'ConfigError', code: 'CORELANE_INVALID_OPTION' })
  expect(error.message).toMatch(says)
})

test('the builder refuses what create refuses, as a rejection', async () => {
  const builder = new QueueManagerBuilder().withHandlers(handlers).withPartitions({ count: 0 })
  const error = await failure(builder.build(), 'build')
  expect(error.message).toContain('PartitionConfig.count is 0')
  const missing = await failure(new QueueManagerBuilder().build(), 'build')
  expect(missing.message).toContain('QueueManager.handlers is missing')
  expect(() => new QueueManager(undefined as never)).toThrow('QueueManager.handlers is missing')
})

test('parts of options are refused where they are made, if they are no objects', () => {
  for (const given of [null, 5, 'text', [], new Map(), new URL('file:///x')]) {
    const says = / options is .+; allowed: an object$/
    expect(() => new RetryPolicy(given as never)).toThrow(says)
    expect(() => new LaneConfig(1, 2, given as never)).toThrow(says)
    expect(() => new QueueManagerBuilder(given as never)).toThrow(says)
    expect(() => new QueueManagerBuilder().withOptions(given as never)).toThrow(says)
  }
})

test.each<[make: new (...given: never[]) => unknown, instead: string]>([
  [RedisDistributedQueue as never, 'await RedisDistributedQueue.open(options)'],
  [PriorityBoostConfig as never, 'its static methods'],
])('a private constructor of %s says what to call', (Class, instead) => {
  const message = `new ${Class.name}() is a private constructor; allowed: ${instead}`
  const error = { name: 'ConfigError', code: 'CORELANE_INVALID_OPTION', message }
  for (const given of [[], [{ handlers, deadlineMs: 1 }]]) {
    expect(() => new Class(...(given as never[]))).toThrow(expect.objectContaining(error))
  }
})

test('an unknown lane or type rejects and lists what there is', async () => {
  const manager = shared()
  const { submitted } = manager.stats()
  const lane = await failure(manager.submit('fast', 'echo', 1), 'unknown lane')
  expect(lane).toMatchObject({ name: 'ConfigError', code: 'CORELANE_UNKNOWN_LANE' })
  expect(lane.message).toContain('"fast"; lanes: system, control, query, session, skill, prompt')
  const type = await failure(manager.submit('query', 'resize', 1), 'unknown type')
  expect(type).toMatchObject({ name: 'ConfigError', code: 'CORELANE_UNKNOWN_TYPE' })
  expect(type.message).toMatch(/"resize"; handlers: echo, echoAtOnce, give, /)
  for (const odd of [undefined, null, 5, Symbol('x'), {}, '__proto__', 'constructor', 'toString']) {
    await refused(manager.submit(odd as never, 'echo'), 'CORELANE_UNKNOWN_LANE')
    await refused(manager.submit('query', odd as never), 'CORELANE_UNKNOWN_TYPE')
  }
  await refused(manager.broadcast('resize'), 'CORELANE_UNKNOWN_TYPE')
  expect(manager.stats().submitted).toBe(submitted)
})

const badCommands: [says: RegExp, options: unknown][] = [
  [/command\.key is "k+…"/, { key: 'k'.repeat(1025) }],
  [/command\.priority is 256; allowed: an integer from 0 to 255/, { priority: 256 }],
  [/command\.timeoutMs is 0; allowed: milliseconds from 1/, { timeoutMs: 0 }],
  [/command\.signal is an object/, { signal: {} }],
  [/command\.kill is 1; allowed: true or false/, { kill: 1 }],
  [/command\.retry is 3; allowed: a RetryPolicy/, { retry: 3 }],
  [/command\.retry\.retries is -1/, { retry: { retries: -1 } }],
  [/command\.onProgress is "log"/, { onProgress: 'log' }],
  [/command\.laen is not an option \(did you mean "lane"\?\); allowed: id, lane, /, { laen: 'a' }],
  [/command\.retry\.retries is missing beside delayMs/, { retry: { delayMs: 5 } }],
  [/command options is 5; allowed: an object/, 5],
  [/command options is null/, null],
]

test.each(badCommands)('a command with bad options is refused: %s', async (says, options) => {
  const manager = shared()
  const before = manager.stats().submitted
  for (const submitted of [
    manager.submit('query', 'echo', 1, options as never),
    manager.run('echo', 1, options as never),
    manager.submitMany('query', 'echo', [1], options as never),
  ]) {
    const error = await failure(submitted, 'a bad command')
    expect(error).toMatchObject({ name: 'ConfigError', code: 'CORELANE_INVALID_OPTION' })
    expect(error.message).toMatch(says)
  }
  expect(manager.stats().submitted).toBe(before)
})

test('payloads that cannot be iterated are refused, as when the lane was left out', async () => {
  const manager = shared()
  const many = failure(manager.submitMany('echo', [1] as never, undefined as never), 'submitMany')
  expect(await many).toMatchObject({
    code: 'CORELANE_INVALID_OPTION',
    message: expect.stringContaining('submitMany.payloads is undefined; allowed: something that'),
  })
  const nulled = manager.map('query', 'echo', [1], null as never).next()
  expect((await failure(nulled, 'map')).message).toMatch(/^map options is null/)
  const lane = failure(manager.submit('query', 'echo', 1, { lane: 'skill' } as never), 'submit')
  expect((await lane).message).toMatch(/^command\.lane is "skill"; allowed: given to run; other/)
  const misspelt = manager.map('query', 'echo', [1], { concurency: 2 } as never).next()
  expect((await failure(misspelt, 'map')).message).toMatch(
    /^map\.concurency is not an option \(did you mean "concurrency"\?\); allowed: concurrency, ordered, /,
  )
  async function* later() {
    yield 1
  }
  const waiting = failure(manager.submitMany('query', 'echo', later() as never), 'submitMany')
  expect(await waiting).toMatchObject({ message: expect.stringContaining('(map takes what') })
  for (const source of [undefined, 5]) {
    const first = manager.map('query', 'echo', source as never).next()
    const says = expect.stringContaining(`map.source is ${source}; allowed: something that`)
    expect(await failure(first, 'map')).toMatchObject({ message: says })
  }
})

test('a worker pool and a submitter refuse what is no queue', async () => {
  const manager = shared()
  for (const make of [
    () => new WorkerPool(manager as never, undefined as never),
    () => new Submitter(manager as never),
    () => new Submitter(undefined as never),
  ]) {
    expect(make).toThrow(/queue is .+; allowed: a distributed queue/)
  }
})

test('a worker pool, a monitor and closeOnSignals refuse what is no manager', async () => {
  const queue = new LocalDistributedQueue(PartitionConfig.single())
  const listening = process.listenerCount('SIGTERM')
  for (const given of [undefined, null, 5, {}, queue]) {
    expect(() => new WorkerPool(queue, given as never)).toThrow(/allowed: a queue manager/)
    expect(() => new QueueMonitor(given as never)).toThrow(/allowed: a queue manager/)
    expect(() => closeOnSignals(given as never)).toThrow(/allowed: a manager or a worker pool/)
  }
  expect(process.listenerCount('SIGTERM')).toBe(listening)
  await queue.close()
})

test('bad options of a broadcast are refused', async () => {
  const manager = shared()
  const all = [{ sticky: 1 }, { lane: 'x' }, 5, { key: 'k' }, { sticky: true, key: '' }]
  for (const options of all) {
    await refused(manager.broadcast('echo', 1, options as never), 'CORELANE_INVALID_OPTION')
  }
})

function deep(levels: number): unknown {
  let nested: unknown = 0
  for (let i = 0; i < levels; i++) nested = { nested }
  return nested
}

const unfit: [what: string, payload: unknown, path: string][] = [
  ['a function', () => {}, 'payload is a function'],
  ['a symbol', Symbol('odd'), 'payload is Symbol(odd)'],
  ['a class', class Odd {}, 'payload is a function (Odd)'],
  [
    'a function deep inside',
    { items: [1, 2, 3, { callback() {} }] },
    'payload.items[3].callback is a function (callback)',
  ],
  ['a symbol as a member', { tag: Symbol('odd') }, 'payload.tag is Symbol(odd)'],
  ['a function in a Map', new Map([['key', () => {}]]), 'payload.get("key") is a function'],
  ['a symbol in a Set', new Set([1, Symbol('odd')]), 'payload.<set 1> is Symbol(odd)'],
  ['a promise', { later: Promise.resolve() }, 'payload.later is a Promise'],
  ['a WeakMap', [new WeakMap()], 'payload[0] is a WeakMap'],
  ['a name that is no identifier', { 'a b': () => {} }, 'payload["a b"] is a function'],
  [
    'a getter that throws',
    {
      get broken() {
        throw new RangeError('no')
      },
    },
    'payload.broken is a member that throws',
  ],
  ['a nesting of 20,000 levels', deep(20_000), 'nested too deep'],
  ['a revoked proxy', revoked(), 'payload is'],
  ['a stream that is not moved', { body: new ReadableStream() }, 'The payload cannot cross'],
]

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

test.each(unfit)(
  'a payload with %s rejects that one command and names the place',
  async (_, payload, says) => {
    const manager = shared()
    const { submitted, completed, failed } = manager.stats()
    const before = manager.run('echo', { before: true })
    const error = await failure(manager.run('echo', payload), 'an unfit payload')
    const after = manager.run('echo', { after: true })
    expect(error).toMatchObject({ name: 'SerializationError', code: 'CORELANE_UNSERIALIZABLE' })
    expect(error.message).toContain(says)
    expect(await within(Promise.all([before, after]), 'its neighbours')).toEqual([
      { before: true },
      { after: true },
    ])
    const broadcast = await refused(manager.broadcast('echo', payload), 'CORELANE_UNSERIALIZABLE')
    expect(broadcast.message).toContain(says)
    expect(manager.stats()).toMatchObject({
      submitted: submitted + 3,
      completed: completed + 2,
      failed: failed + 1,
      running: 0,
    })
  },
)

test('unfit payloads among many fit ones cost only themselves', async () => {
  const manager = await open('values.js', { partitions: { count: 2 } })
  const all = range(500).map((index) => {
    const payload = { index, shape: { [`member ${index % 7}`]: index } }
    return manager.run('echo', index % 9 === 4 ? { ...payload, unfit() {} } : payload)
  })
  const outcomes = await within(Promise.allSettled(all), 'all commands')
  for (const [index, outcome] of outcomes.entries()) {
    if (index % 9 === 4) {
      expect(outcome).toMatchObject({ reason: { code: 'CORELANE_UNSERIALIZABLE' } })
    } else {
      const shape = { [`member ${index % 7}`]: index }
      expect(outcome).toEqual({ status: 'fulfilled', value: { index, shape } })
    }
  }
})

const deeds: [what: string, act: (manager: QueueManager, own: AbortController) => unknown][] = [
  ['aborts its own command', (_, own) => own.abort()],
  [
    'aborts it and throws',
    (_, own) => {
      own.abort()
      throw new Error('no')
    },
  ],
  ['closes the manager', (manager) => manager.close()],
  [
    'closes it and throws',
    (manager) => {
      void manager.close()
      throw new Error('no')
    },
  ],
  ['shuts it down', (manager) => manager.shutdown()],
  [
    'pauses and resumes the lane',
    (manager) => {
      manager.lane('prompt').pause()
      manager.lane('prompt').resume()
    },
  ],
]

describe.each([
  ['binds at once', 0],
  ['looks through the backlog', 500],
])('where the manager %s', (_, before) => {
  test.each(deeds)('a getter of a payload that %s leaves every command one end', async (_, act) => {
    const manager = await open('values.js', { partitions: { count: 1 } })
    const own = new AbortController()
    // One signal for all: those that are bound end at once, the others in slices.
    const { signal } = before === 0 ? new AbortController() : own
    const payload = {
      get member() {
        return act(manager, own) === undefined
      },
    }
    const all: Promise<unknown>[] = []
    for (let i = 0; i < before; i++) all.push(manager.submit('prompt', 'echo', i, { signal }))
    all.push(manager.submit('prompt', 'echo', payload, { signal: own.signal }))
    for (let i = 0; i < 20; i++) all.push(manager.submit('prompt', 'echo', i, { signal }))
    await within(Promise.allSettled(all), 'all commands')
    expect(manager.stats()).toMatchObject({ unsettled: 0, queued: 0, running: 0 })
    await within(manager.close(), 'close')
  })
})

test('a getter of options that closes the manager leaves its command one end', async () => {
  const manager = await open('values.js', one)
  const options = {
    get priority() {
      void manager.close()
      return 1
    },
  }
  await refused(manager.run('echo', 1, options), 'CORELANE_COMMAND_DROPPED')
  expect(manager.stats()).toMatchObject({ state: 'closed', submitted: 1, failed: 1, unsettled: 0 })
})

test('a transfer list that cannot be moved rejects that one command', async () => {
  const manager = await open('values.js', one)
  const gone = new ArrayBuffer(8)
  structuredClone(gone, { transfer: [gone] })
  const twice = new ArrayBuffer(8)
  const lists = [
    [gone, [gone]],
    [1, [twice, twice]],
    [1, [{}]],
    [1, [5 as never]],
  ] as const
  for (const [payload, transferList] of lists) {
    await refused(manager.run('echo', payload, { transferList }), 'CORELANE_UNSERIALIZABLE')
  }
  expect(twice.byteLength).toBe(8)
  expect(await within(manager.run('echo', 'fine'), 'echo')).toBe('fine')
  expect(manager.stats()).toMatchObject({ submitted: 5, completed: 1, failed: 4 })
})

const unfitResults: [what: string, says: string][] = [
  ['function', 'The result cannot cross threads: result.items[1].callback is a function'],
  ['symbol', 'result.tag is Symbol(unfit)'],
  ['bare symbol', 'result is Symbol(unfit)'],
  ['bare function', 'result is a function'],
  ['promise inside', 'result.later is a Promise'],
  ['getter', 'result.broken is'],
  ['weak map', 'result[0] is a WeakMap'],
  ['proxy', 'result'],
  ['deep', 'nested too deep'],
  ['port without transfer', 'result'],
]

test.each(unfitResults)('an unfit result (%s) rejects its command alone', async (what, says) => {
  const manager = shared()
  const error = await failure(manager.run('giveUnfit', what), what)
  expect(error).toMatchObject({ name: 'SerializationError', code: 'CORELANE_UNSERIALIZABLE' })
  expect(error.message).toContain(says)
  expect(await within(manager.run('echo', { fine: true }), 'echo')).toEqual({ fine: true })
  const broadcast = await refused(manager.broadcast('giveUnfit', what), 'CORELANE_UNSERIALIZABLE')
  expect(broadcast.message).toContain(says)
  expect(await within(manager.broadcast('echo', 1), 'a broadcast')).toEqual([1])
})

test('thenables that misbehave settle once and disturb nobody', async () => {
  const manager = shared()
  const read = await failure(manager.run('thenable', 'throws when read'), 'then')
  expect(read.message).toBe('then cannot be read')
  expect((await failure(manager.run('thenable', 'throws'), 'then')).message).toBe('then throws')
  expect(await within(manager.run('thenable', 'at once'), 'at once')).toBe('at once')
  expect(await within(manager.run('thenable', 'twice'), 'twice')).toBe('first')
  expect(await within(manager.run('thenable', 'of a thenable'), 'nested')).toBe('inner')
  for (const how of ['twice', 'at once', 'throws']) {
    const given = manager.run('thenable', `a promise of its own, ${how}`)
    expect(await within(given, how)).toBe('state')
  }
  const unread = await failure(manager.run('thenable', 'a promise without a constructor'), 'then')
  expect(unread.message).toBe('constructor cannot be read')
  // Many in a row, so that a slot that was freed too early would be taken by another.
  const payloads = range(1_000).map((index) => ({ index }))
  const results = await within(manager.submitMany('query', 'echoAtOnce', payloads), 'many')
  expect(results).toEqual(payloads)
})

test('what a failed command was is told under a symbol on its error', async () => {
  const { commandInfo } = await import('corelane')
  const manager = shared()
  const error = await failure(manager.submit('skill', 'throwIt', 'error'), 'throwIt')
  const info = (error as unknown as Record<symbol, object>)[commandInfo]
  expect(info).toMatchObject({ lane: 'skill', type: 'throwIt', attempt: 1, partition: 0 })
  expect(Object.keys(error)).not.toContain(String(commandInfo))
  // An error that cannot be extended, or is none, arrives without it.
  await rejection(manager.run('throwIt', 'frozen'), 'frozen')
  await rejection(manager.run('throwIt', 'string'), 'string')
})

test('a process that may start no thread, or not read the handlers, is told so', async () => {
  const isNew = process.allowedNodeEnvironmentFlags.has('--permission')
  const permission = isNew ? '--permission' : '--experimental-permission'
  const root = join(import.meta.dirname, '../..')
  const program = (module: string) => `
    const manager = QueueManager.create({ handlers: ${JSON.stringify(module)}, partitions: 1 })
    const { code, message } = await manager.run('echo', 1).catch((error) => error)
    console.log(code, message)
    await manager.close()`
  const run = (...flags: string[]) =>
    runProgram(program(handlers.href), 20_000, [permission, ...flags])
  expect((await run('--allow-fs-read=*')).stdout).toMatch(
    /^CORELANE_INVALID_OPTION node --permission is given without --allow-worker; allowed: --allow-w/,
  )
  // Of the project all but its tests may be read.
  const readable = ['dist', 'node_modules', 'package.json'].map(
    (name) => `--allow-fs-read=${join(root, name)}`,
  )
  const unread = await run('--allow-worker', ...readable)
  expect(unread.stdout).toMatch(/^CORELANE_HANDLERS_FAILED .*values\.js .*restricted/)
})
