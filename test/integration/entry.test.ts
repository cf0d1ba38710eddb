// Entry: where the program of threads comes from, and what an error says if it does not run.

import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ConfigError, QueueManager, type QueueManagerOptions } from 'corelane'
import { afterAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const handlers = pathToFileURL(join(root, 'test/fixtures/values.js'))
const entry = createRequire(import.meta.url).resolve('corelane/entry')

const folder = mkdtempSync(join(tmpdir(), 'corelane-entry-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

async function echo(manager: QueueManager, value: unknown): Promise<unknown> {
  await manager.start()
  try {
    return await manager.run('echo', value)
  } finally {
    await manager.close()
  }
}

async function failure(options: Partial<QueueManagerOptions>): Promise<ConfigError> {
  const manager = QueueManager.create({ handlers, partitions: { count: 1 }, ...options })
  const error: unknown = await manager.start().catch((reason: unknown) => reason)
  await manager.close()
  expect(error).toBeInstanceOf(ConfigError)
  return error as ConfigError
}

test('without the option the file of the package runs', async () => {
  const stack = `data:text/javascript,export const stack = () => new Error().stack`
  const manager = QueueManager.create({ handlers: stack, partitions: { count: 1 } })
  await manager.start()
  expect(await manager.run('stack')).toContain(entry)
  await manager.close()
})

test.each([
  ['a path', entry],
  ['a URL', pathToFileURL(entry)],
  ['a URL as text', pathToFileURL(entry).href],
])('the option entry may be %s of a copy', async (_what, given) => {
  const copy = join(folder, 'copied.cjs')
  copyFileSync(entry, copy)
  const place = given === entry ? copy : pathToFileURL(copy)
  const options = { handlers, partitions: { count: 1 } }
  const value = { list: [1, 'two', null] }
  for (const one of [given, place]) {
    expect(await echo(QueueManager.create({ ...options, entry: one }), value)).toEqual(value)
  }
})

test('a stack names the lines of the file', async () => {
  const stack = `data:text/javascript,export const stack = () => new Error().stack`
  const manager = QueueManager.create({ handlers: stack, partitions: { count: 1 } })
  await manager.start()
  const [, line, column] = /HandlerTable\.call \(.*:(\d+):(\d+)\)/.exec(await manager.run('stack'))!
  await manager.close()
  const text = readFileSync(entry, 'utf8').split('\n')[Number(line) - 1]!
  expect(text.slice(0, Number(column) - 1)).toBe('return ')
})

test('a thread of another program loads the file without becoming a partition', async () => {
  const script = `
    const { parentPort, getEnvironmentData } = require('node:worker_threads')
    const { ENTRY_TEXT } = require(${JSON.stringify(entry)})
    parentPort.postMessage([typeof ENTRY_TEXT, getEnvironmentData('corelane.program')])`
  const handlers = `data:text/javascript,
    import { once } from 'node:events'
    import { Worker } from 'node:worker_threads'
    export const inner = async () => {
      const [first] = await once(new Worker(${JSON.stringify(script)}, { eval: true }), 'message')
      return first
    }`.replaceAll('\n', '%0A')
  const manager = QueueManager.create({ handlers, partitions: { count: 1 } })
  await manager.start()
  expect(await manager.run('inner')).toEqual(['string', undefined])
  await manager.close()
})

test.each(['js', 'cjs'])('without its file, %s starts threads from the text', async (suffix) => {
  const place = join(folder, suffix)
  cpSync(join(root, 'dist'), place, { recursive: true })
  // Bundlers give the text a place of their own.
  renameSync(join(place, 'corelane-entry.cjs'), join(place, 'chunk.cjs'))
  const code = readFileSync(join(place, 'queue.js'), 'utf8')
  const bundled = code.replace('import("./corelane-entry.cjs")', 'import("./chunk.cjs")')
  expect(bundled).not.toBe(code)
  writeFileSync(join(place, 'queue.js'), bundled)
  writeFileSync(join(place, 'package.json'), '{ "type": "module" }')
  mkdirSync(join(place, 'node_modules'))
  for (const dependency of ['comlink', 'os-utils']) {
    cpSync(join(root, 'node_modules', dependency), join(place, 'node_modules', dependency), {
      recursive: true,
    })
  }
  const copy: typeof import('corelane') =
    suffix === 'js'
      ? await import(pathToFileURL(join(place, 'index.js')).href)
      : createRequire(import.meta.url)(join(place, 'index.cjs'))
  const value = new Map([[new Date(5), new Set([1])]])
  const manager = copy.QueueManager.create({ handlers, partitions: { count: 2 } })
  expect(await echo(manager, value)).toEqual(value)
})

test.each([
  ['is missing', join(folder, 'missing.cjs'), /Cannot find module/],
  ['throws', file('throws.cjs', 'throw new RangeError("bad luck")'), /RangeError: bad luck/],
  ['ends', file('ends.cjs', ''), /exited with code 0/],
  [
    'is of another version',
    file(
      'older.cjs',
      'require("node:worker_threads").parentPort.postMessage({ corelane: "0.0.1" })',
    ),
    /it is of corelane 0\.0\.1, which is \d+\.\d+\.\d+ here/,
  ],
])('an entry that %s is blamed, and not the handler module', async (_what, place, reason) => {
  const error = await failure({ entry: place })
  expect(error.code).toBe('CORELANE_ENTRY_FAILED')
  expect(error.message).toMatch(reason)
  expect(error.message).toContain(place)
  expect(error.message).toMatch(/bundled.*docs\/bundlers\.md/)
  expect(error.message).not.toContain(handlers.pathname)
})

test('a thread that finds no file descriptor left says so, and blames nothing', async () => {
  const text = 'throw Object.assign(new Error("EMFILE: too many open files"), { code: "EMFILE" })'
  const manager = QueueManager.create({ handlers, entry: file('full.cjs', text), partitions: 1 })
  const error = await manager.start().catch((reason: unknown) => reason)
  expect(error).toMatchObject({ code: 'CORELANE_PARTITION_LOST', retryable: true })
  expect((error as Error).message).toBe(
    'Partition 0 was lost (Error: EMFILE: too many open files) with the command loading its handlers',
  )
})

test('an entry that never runs corelane is blamed after the time to start', async () => {
  const place = file('waits.cjs', 'setInterval(() => {}, 1000)')
  const { code, message } = await failure({ entry: place, startTimeoutMs: 300 })
  expect(code).toBe('CORELANE_ENTRY_FAILED')
  expect(message).toContain('it was not ready after 300 ms')
})

test('a module that is preloaded and fails is not blamed on the handler module either', async () => {
  const { code, message } = await failure({ execArgv: ['--require', join(folder, 'nowhere.cjs')] })
  expect(code).toBe('CORELANE_ENTRY_FAILED')
  expect(message).toContain('nowhere.cjs')
})

test.each([5, '', new URL('https://x.test/'), {}])('the entry %j is refused', (given) => {
  const options = { handlers, entry: given as string }
  expect(() => QueueManager.create(options)).toThrow(
    /QueueManager\.entry is .*a file: URL or a path/,
  )
})
