// Output: what handlers print. Goal: all that was printed before a result, a report or a death is
// on the streams of the process before the caller hears of that, in the order of printing, however
// much it is. Method: programs that exit as soon as they have a result, and streams that tests put
// in place of the process's.

import { Writable } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { moduleOf, open } from '../support/managers.ts'
import { runProgram } from '../support/programs.ts'
import { range } from '../support/range.ts'

const printing = moduleOf(`
  import { workerData } from 'node:worker_threads'
  export const setup = () => console.log('set up')
  export const teardown = () => console.log('torn down')
  export const say = (texts) => { for (const text of texts) console.log(text) }
  export const lines = (count) => {
    for (let i = 0; i < count; i++) (i % 3 === 2 ? console.error : console.log)('line ' + i)
  }
  export const steps = (count, context) => {
    for (let i = 0; i < count; i++) { console.log('line ' + i); context.progress(i) }
  }
  export const chunks = function* (count) {
    for (let i = 0; i < count; i++) { console.log('line ' + i); yield i }
  }
  export const exit = (count) => { lines(count); process.exit(3) }
  export const fall = async (count) => {
    setTimeout(() => { lines(count); throw new Error('fallen') })
    await new Promise(() => {})
  }
  export const hang = (count) => { lines(count); for (;;); }
  export const untilTold = (words) => {
    lines(3)
    Atomics.wait(new Int32Array(words), 0, 0)
    return 'told'
  }
  export const bytes = () => {
    process.stdout.write(Buffer.from([0xff, 0x00, 0x0a]))
    process.stdout.write('c3a9', 'hex')
    process.stdout.write('é\\n')
  }
  export const large = (pieces) => {
    for (let i = 0; i < pieces; i++) process.stdout.write(String(i % 10).repeat(65_536))
  }
  export const called = () => {
    process.stdout.write('x'.repeat(3_000_000), () => { throw new Error('thrown by a callback') })
    process.stdout.write('written after it')
    return 'given'
  }
  export const calledLater = async () => {
    const given = called()
    await new Promise(setImmediate)
    return given
  }
  export const pour = async (pieces, context) => {
    for (let i = 0; i < pieces; i++) {
      context.progress(i)
      const isFree = process.stdout.write('x'.repeat(65_536))
      if (!isFree) await new Promise((resolve) => process.stdout.once('drain', resolve))
    }
  }`)

const LINES = range(300).map((i) => `line ${i}`)

/** What was printed on each stream while it was replaced. */
class Screen {
  readonly printed: [string, string][] = []
  /** Whether the streams keep what they are given. */
  isSlow = false
  readonly #waiting: (() => void)[] = []
  readonly #own = (['stdout', 'stderr'] as const).map(
    (name) => [name, Object.getOwnPropertyDescriptor(process, name)!] as const,
  )

  constructor() {
    for (const [name] of this.#own) {
      const value = new Writable({
        decodeStrings: false,
        write: (text, _encoding, done) => {
          this.printed.push([name, text])
          if (this.isSlow) this.#waiting.push(done)
          else done()
        },
      })
      Object.defineProperty(process, name, { value, configurable: true })
    }
    screens.push(this)
  }

  /** All that was printed on both streams, in order. */
  get lines(): string[] {
    return this.printed
      .map(([, text]) => text)
      .join('')
      .split('\n')
      .slice(0, -1)
  }

  goOn(): void {
    this.isSlow = false
    for (const done of this.#waiting.splice(0)) done()
  }

  close(): void {
    for (const [name, property] of this.#own) Object.defineProperty(process, name, property)
  }
}

const screens: Screen[] = []

afterEach(() => {
  for (const screen of screens.splice(0)) screen.close()
})

/** A manager of those handlers, whose output goes to a screen. */
async function openScreen(options: object = {}) {
  const screen = new Screen()
  const manager = await open('values.js', { partitions: 1, handlers: printing, ...options })
  return { screen, manager }
}

test('a program that exits as soon as it has the result has printed all that its handler did', async () => {
  const { code, stdout, stderr } = await runProgram(`
    const manager = QueueManager.create({ handlers: ${JSON.stringify(printing)}, partitions: { count: 1 } })
    await manager.start()
    await manager.run('lines', 300)
    process.exit(0)`)
  expect(code).toBe(0)
  expect(stdout).toBe(`set up\n${LINES.filter((_, i) => i % 3 !== 2).join('\n')}\n`)
  expect(stderr).toBe(`${LINES.filter((_, i) => i % 3 === 2).join('\n')}\n`)
})

test('both streams keep the order of printing', async () => {
  const { screen, manager } = await openScreen()
  expect(screen.lines).toEqual(['set up'])
  await within(manager.run('lines', 300), 'lines')
  expect(screen.lines.slice(1)).toEqual(LINES)
  expect(screen.printed.filter(([name]) => name === 'stderr').length).toBeGreaterThan(1)
  await manager.close()
  expect(screen.lines.at(-1)).toBe('torn down')
})

test('what was printed before a report, a value of a stream or a broadcast comes before it', async () => {
  const { screen, manager } = await openScreen()
  const seen: string[] = []
  const onProgress = (i: unknown) => {
    seen.push(screen.lines[(i as number) + 1]!)
  }
  await within(manager.run('steps', 20, { onProgress }), 'steps')
  expect(seen).toEqual(LINES.slice(0, 20))
  let count = screen.lines.length
  for await (const i of manager.stream('query', 'chunks', 20)) {
    expect(screen.lines[count++]).toBe(`line ${i}`)
  }
  await within(manager.broadcast('say', ['to all']), 'broadcast')
  expect(screen.lines.at(-1)).toBe('to all')
})

test('what a handler prints is seen while it runs, even if its event loop does not turn', async () => {
  const { screen, manager } = await openScreen()
  const words = new SharedArrayBuffer(4)
  const result = manager.run('untilTold', words)
  await until(() => screen.lines.length === 4, 'the lines of a handler that runs')
  Atomics.store(new Int32Array(words), 0, 1)
  Atomics.notify(new Int32Array(words), 0)
  expect(await within(result, 'untilTold')).toBe('told')
})

test.each([
  ['exit', {}],
  ['fall', {}],
  ['hang', { timeoutMs: 1_000 }],
])('the last lines of a thread that ends by "%s" are printed', async (type, options) => {
  const { screen, manager } = await openScreen({ timeoutGraceMs: 0 })
  await failure(manager.run(type, 300, options), type)
  expect(screen.lines.slice(1, 301)).toEqual(LINES)
})

test('bytes and encodings arrive as they were written', async () => {
  const { stdout } = await runProgram(`
    const manager = QueueManager.create({ handlers: ${JSON.stringify(printing)}, partitions: { count: 1 } })
    await manager.start()
    await manager.run('bytes')
    await manager.close()`)
  expect(stdout).toBe('set up\n\uFFFD\0\néé\ntorn down\n')
})

test('16 MiB printed at once arrive before the result', async () => {
  const { screen, manager } = await openScreen()
  await within(manager.run('large', 256), 'large')
  const text = screen.printed
    .map(([, each]) => each)
    .join('')
    .slice('set up\n'.length)
  expect(text.length).toBe(256 * 65_536)
  expect(text.replaceAll(/(.)\1*/g, '$1')).toBe('0123456789'.repeat(26).slice(0, 256))
})

test('a handler that heeds backpressure waits while the stream of the process is slow', async () => {
  const { screen, manager } = await openScreen({ concurrencyPerPartition: 2 })
  screen.isSlow = true
  let pieces = 0
  const onProgress = () => {
    pieces++
  }
  const result = manager.run('pour', 128, { onProgress })
  await until(() => pieces > 10, 'the handler prints')
  // While others run beside it the handler has its turns.
  for (let i = 0; i < 300; i++) await within(manager.run('say', []), 'a command beside it')
  expect(pieces).toBeLessThan(64)
  screen.goOn()
  await within(result, 'pour')
  expect(pieces).toBe(128)
})

test('a stream of the process that throws loses no result', async () => {
  const { code, stdout, stderr } = await runProgram(`
    const manager = QueueManager.create({ handlers: ${JSON.stringify(printing)}, partitions: { count: 1 } })
    await manager.start()
    const thrown = new Promise((resolve) =>
      process.on('uncaughtException', (error) => resolve(console.error(error.message))))
    process.stdout.write = () => { throw new Error('no stream') }
    const run = (count) => manager.run('steps', count).then(() => console.error('done'))
    await Promise.all([run(1), run(0), thrown])
    process.exit(4)`)
  expect({ code, stdout }).toEqual({ code: 4, stdout: 'set up\n' })
  expect(stderr.split('\n').filter((line) => line === 'done')).toHaveLength(2)
  expect(stderr).toContain('no stream')
})

test.each(['called', 'calledLater'])(
  'a callback of a write that throws costs no more (%s)',
  async (type) => {
    const { screen, manager } = await openScreen()
    // What it throws ends the thread, as where it is called by Node.
    const ended = manager.subscribe({ events: ['queue.partition.lost'] }).next()
    const given = await within(
      manager.run(type).catch(({ code }) => code),
      type,
    )
    // The main thread's answer may call the callback first.
    if (type === 'called') expect(given).toBe('given')
    expect((await within(ended, 'the end')).value.error.message).toContain('thrown by a callback')
    // The end of its thread may be told before all that it wrote is printed.
    const text = () => screen.printed.map(([, one]) => one).join('')
    await until(() => text().endsWith('written after it'), 'what was written after it')
    expect(await within(manager.run('say', []), 'say')).toBeUndefined()
  },
)
