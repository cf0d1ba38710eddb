// CLI streams: endless input, readers that leave, and signals.

import { once } from 'node:events'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { range } from '../support/range.ts'
import { CliProcess, fixture, toLines } from './support/cli-process.ts'

const handlers = fixture('cli-handlers.js')

function* chunks(lines: number, linesPerChunk: number, pad: number): Generator<string> {
  const payload = 'x'.repeat(pad)
  for (let n = 0; n < lines; n += linesPerChunk) {
    yield toLines(range(linesPerChunk).map((at) => ({ id: n + at, type: 'echo', payload })))
  }
}

/** Runs a long input and returns the largest size of the process, in MiB. */
async function peakOf(lines: number, args: readonly string[]): Promise<number> {
  // With a small heap the collector cannot put off its work, and sizes can be compared.
  const preload = ['--max-old-space-size=32', '--max-semi-space-size=2', '--import']
  preload.push(pathToFileURL(fixture('cli-peak-memory.js')).href)
  const cli = new CliProcess(['run', handlers, ...args], preload)
  let results = 0
  // Only the lines are counted: to keep them all would be a measure of this process.
  cli.child.stdout.removeAllListeners('data').on('data', (text: string) => {
    results += text.split('\n').length - 1
  })
  await cli.feed(chunks(lines, 125, 16_000))
  cli.child.stdin.end()
  const { code, stderr } = await cli.end()
  expect(code).toBe(0)
  expect(results).toBe(lines)
  return Number(/peak (\d+) MiB/.exec(stderr)?.[1])
}

// The long input is 40 MiB, and so is its output. Kept anywhere, either would show.
test('2,500 commands take little more memory than 625, printed as they are done or in order', async () => {
  const short = await peakOf(625, [])
  expect(short).toBeGreaterThan(0)
  for (const args of [[], ['--ordered']]) {
    expect((await peakOf(2_500, args)) - short).toBeLessThan(25)
  }
}, 240_000)

test('a reader that leaves, as head does, ends an endless input quietly', async () => {
  const cli = new CliProcess(['run', handlers, '--partitions', '1'])
  const feeding = cli.feed(chunks(10_000_000, 1000, 100))
  await once(cli.child.stdout, 'data')
  cli.child.stdout.destroy()
  const [code, signal] = await once(cli.child, 'exit')
  expect([code, signal]).toEqual([0, null])
  expect(cli.stderr).toBe('')
  cli.child.stdin.destroy()
  await feeding
})

test('a result is printed at once while the input stays open, and SIGTERM finishes the rest', async () => {
  const cli = new CliProcess(['run', handlers, '--partitions', '1'])
  cli.child.stdin.write(toLines(range(6).map((id) => ({ id, type: 'wait', payload: { ms: 50 } }))))
  await cli.says('stdout', '"id":0')
  cli.child.kill('SIGTERM')
  const { code, results, stderr } = await cli.end()
  expect(results.map(({ id }) => id)).toEqual([0, 1, 2, 3, 4, 5])
  expect(results.every(({ ok }) => ok)).toBe(true)
  expect(stderr).toMatch(/SIGTERM: finishing \d commands in flight/)
  expect(code).toBe(143)
})

test('a signal of the terminal, which every process of the command gets, counts once', async () => {
  const cli = new CliProcess(['run', handlers, '--partitions', '1'], [], {}, true)
  cli.child.stdin.write(toLines([{ type: 'echo' }, { type: 'wait', payload: { ms: 500 } }]))
  await cli.says('stdout', '"id":1')
  process.kill(-cli.child.pid!, 'SIGINT')
  const { code, results, stderr } = await cli.end()
  expect([code, results.map(({ ok }) => ok)]).toEqual([130, [true, true]])
  expect(stderr).toContain('SIGINT: finishing 1 commands')
})

test('a run ends with its process, even if that is killed', async () => {
  const cli = new CliProcess(['run', handlers, '--partitions', '1'])
  cli.child.stdin.write('{"type":"spin"}\n')
  await cli.says('stderr', 'spinning')
  cli.child.kill('SIGKILL')
  // Its streams close when all processes that have them have ended.
  expect(await cli.end()).toMatchObject({ code: null, signal: 'SIGKILL' })
})

test('a second signal ends a run whose handler never returns', async () => {
  const cli = new CliProcess(['run', handlers, '--partitions', '1'])
  cli.child.stdin.write('{"type":"spin"}\n')
  await cli.says('stderr', 'spinning')
  cli.child.kill('SIGTERM')
  await cli.says('stderr', 'finishing 1 commands')
  cli.child.kill('SIGINT')
  expect(await cli.end()).toMatchObject({ code: null, signal: 'SIGINT' })
})
