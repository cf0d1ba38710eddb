// Replaced globals: jsdom, happy-dom and fake timers put classes and functions of their own in the
// place of Node's. The package works all the same, and takes theirs from its caller.
// Method: a program in which a preload replaced them before the package was loaded.

import { expect, test } from 'vitest'
import { moduleOf } from '../support/managers.ts'
import { runProgram } from '../support/programs.ts'

/** What such environments do, and worse: what stands here is of no use to the package. */
const REPLACED = `import { isMainThread } from 'node:worker_threads'
  const NativeURL = globalThis.URL
  class URL {
    #url
    constructor(text, base) {
      // Relative to a file it gives what jsdom gives relative to its document.
      const isRelative = String(base ?? '').startsWith('file:')
      this.#url = new NativeURL(text, isRelative ? 'http://localhost:3000/' : base)
    }
    get href() { return this.#url.href }
    get protocol() { return this.#url.protocol }
    get pathname() { return this.#url.pathname }
    toString() { return this.href }
  }
  class AbortSignal {
    aborted = false
    reason = undefined
    listeners = new Set()
    addEventListener(type, listener) { if (type === 'abort') this.listeners.add(listener) }
    removeEventListener(type, listener) { this.listeners.delete(listener) }
  }
  class AbortController {
    signal = new AbortSignal()
    abort(reason) {
      Object.assign(this.signal, { aborted: true, reason })
      for (const listener of this.signal.listeners) listener({ type: 'abort' })
    }
  }
  const never = (name) => () => { throw new Error(name + ' of the environment was called') }
  const names = ['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval',
    'clearImmediate', 'structuredClone', 'fetch', 'atob', 'btoa', 'TextEncoder', 'TextDecoder',
    'Event', 'EventTarget', 'CustomEvent', 'MessageChannel', 'MessagePort', 'MessageEvent', 'Blob',
    'DOMException', 'Worker', 'crypto']
  if (isMainThread) {
    // Node loads some when they are first looked at, with the others as they were.
    for (const name of names) void globalThis[name]
    for (const name of names) define(name, never(name))
    define('performance', { now: never('performance.now') })
    define('URL', URL)
    define('AbortSignal', AbortSignal)
    define('AbortController', AbortController)
  }
  function define(name, value) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true })
  }`

const HANDLERS = moduleOf(`
  export const echo = (value) => value
  export const sleep = (ms, { signal }) => new Promise((resolve, reject) => {
    setTimeout(resolve, ms).unref()
    signal.addEventListener('abort', () => reject(signal.reason))
  })
  export function* three() { yield 1; yield 2; yield 3 }
  export const failOnce = (_, { attempt }) => { if (attempt === 1) throw new RangeError('once') }
  export const exit = () => process.exit(3)
  export const refused = () => { throw new DOMException('no', 'DataCloneError') }
  export const nested = (value, context) => context.submit('query', 'echo', value)
  export const given = async (_, context) => {
    const controller = new AbortController()
    const promise = context.submit('query', 'sleep', 20_000, { signal: controller.signal })
    setTimeout(() => controller.abort(), 5)
    return promise.catch((error) => error.code)
  }`)

test('a manager and a local queue work with none of the global classes and functions', async () => {
  const { code, stdout, stderr } = await runProgram(
    `const { LocalDistributedQueue, PartitionConfig, Submitter, WorkerPool } =
       await import('corelane')
     const { setTimeout } = await import('node:timers')
     const handlers = ${JSON.stringify(HANDLERS)}
     const manager = QueueManager.create({ handlers, partitions: { count: 2 }, concurrencyPerPartition: 2 })
     await manager.start()
     const out = {}
     out.echo = await manager.run('echo', { when: new Date(5), large: new Uint8Array(70_000) })
       .then(({ when, large }) => [+when, large.length])
     const controller = new AbortController()
     const aborted = manager.run('sleep', 20_000, { signal: controller.signal })
     setTimeout(() => controller.abort(new Error('mine')), 5)
     out.aborted = await aborted.catch((error) => [error.code, error.cause.message])
     out.late = await manager.run('sleep', 20_000, { timeoutMs: 20 }).catch((error) => error.code)
     out.delayed = await manager.run('echo', 1, { delayMs: 5 })
     out.again = await manager.run('failOnce', 0, { retry: { retries: 1, delayMs: 1 } }).then(() => 'done')
     out.refused = await manager.run('refused').catch((error) => [error.name, error.code])
     out.stream = []
     for await (const value of manager.stream('query', 'three')) out.stream.push(value)
     out.nested = await manager.run('nested', [1])
     out.given = await manager.run('given')
     const queue = new LocalDistributedQueue(PartitionConfig.balanced(2))
     const pool = new WorkerPool(queue, manager)
     await pool.start()
     const submitter = new Submitter(queue)
     out.queued = await submitter.submit('query', 'echo', new Map([[1, 2]])).then((map) => map.get(1))
     await submitter.close()
     await pool.close()
     await manager.close()
     console.log(JSON.stringify(out))`,
    20_000,
    ['--import', moduleOf(REPLACED)],
  )
  expect(stderr).toBe('')
  expect(code).toBe(0)
  expect(JSON.parse(stdout)).toEqual({
    echo: [5, 70_000],
    aborted: ['CORELANE_ABORTED', 'mine'],
    late: 'CORELANE_TIMEOUT',
    delayed: 1,
    again: 'done',
    refused: ['DataCloneError', 25],
    stream: [1, 2, 3],
    nested: [1],
    given: 'CORELANE_ABORTED',
    queued: 2,
  })
})

test('handlers are found by a path, by a URL of Node and by one of the environment', async () => {
  const { stdout, stderr } = await runProgram(
    `const { mkdtempSync, writeFileSync } = await import('node:fs')
     const { tmpdir } = await import('node:os')
     const { join } = await import('node:path')
     const { pathToFileURL } = await import('node:url')
     const path = join(mkdtempSync(join(tmpdir(), 'corelane-')), 'handlers.mjs')
     writeFileSync(path, 'export const add = ({ a, b }) => a + b')
     const native = pathToFileURL(path)
     for (const handlers of [path, native, new URL(native.href)]) {
       const manager = QueueManager.create({ handlers, partitions: { count: 1 } })
       await manager.start()
       console.log(await manager.run('add', { a: 1, b: 2 }))
       await manager.close()
     }`,
    20_000,
    ['--import', moduleOf(REPLACED)],
  )
  expect(stderr).toBe('')
  expect(stdout).toBe('3\n3\n3\n')
})

test('a manager works where the classes of the language and their prototypes are frozen', async () => {
  const freeze = `for (const name of ['Object', 'Array', 'Function', 'Error', 'TypeError', 'RangeError',
      'Promise', 'Map', 'Set', 'Date', 'RegExp', 'ArrayBuffer', 'Uint8Array', 'AbortSignal', 'EventTarget'])
    Object.freeze(Object.freeze(globalThis[name]).prototype)`
  const { code, stdout, stderr } = await runProgram(
    `const payload = { constructor: 1, toString: [{ valueOf: 2 }], error: new Error('sent') }
     const handlers = ${JSON.stringify(HANDLERS)}
     const manager = QueueManager.create({ handlers, partitions: { count: 1 } })
     // Also past the point from where code is made to read objects, and with references.
     for (let i = 0; i < 40; i++) await manager.run('echo', payload)
     const { self, ...arrived } = await manager.run('echo', Object.assign(payload, { self: payload }))
     const codes = []
     for (const type of ['missing', 'exit']) {
       await manager.run(type).catch(({ name, code }) => codes.push(name, code))
     }
     await manager.close()
     console.log(JSON.stringify({ ...arrived, error: arrived.error.message, codes }))`,
    20_000,
    ['--import', moduleOf(freeze)],
  )
  expect(stderr).toBe('')
  expect(JSON.parse(stdout)).toEqual({
    constructor: 1,
    toString: [{ valueOf: 2 }],
    error: 'sent',
    codes: [
      'ConfigError',
      'CORELANE_UNKNOWN_TYPE',
      'PartitionLostError',
      'CORELANE_PARTITION_LOST',
    ],
  })
  expect(code).toBe(0)
})
