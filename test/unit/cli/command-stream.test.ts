// Command stream: how far it reads, with handlers and readers that stand still when told.

import { PassThrough, Readable, Writable } from 'node:stream'
import { expect, test } from 'vitest'
import type { ParsedCommand } from '../../../src/cli/command-parser.ts'
import {
  CommandStream,
  HELD_BYTES_MAX,
  type StreamPlan,
  UNPRINTED_FACTOR,
} from '../../../src/cli/command-stream.ts'
import { LineWriter } from '../../../src/cli/line-writer.ts'
import type { CommandOutcome } from '../../../src/index.ts'

const PLAN: StreamPlan = {
  type: 'echo',
  lane: 'query',
  keyPath: undefined,
  groupPath: undefined,
  lineBytesMax: 2 ** 28,
  inFlightMax: 4,
  isOrdered: false,
  withStack: false,
}

/** A stream whose commands end when the test says so. */
class Bench {
  readonly started: ParsedCommand[] = []
  readonly complaints: string[] = []
  printed = ''
  /** Set to stop taking output. */
  isStuck = false
  readonly stream: CommandStream
  readonly #finish = new Map<number, (outcome: CommandOutcome) => void>()
  #unstick = (): void => {}

  constructor(plan: Partial<StreamPlan> = {}) {
    const output = new Writable({
      highWaterMark: 16,
      write: (chunk, _encoding, done) => {
        this.printed += chunk
        if (this.isStuck) this.#unstick = done
        else done()
      },
    })
    this.stream = new CommandStream(
      { ...PLAN, ...plan },
      {
        execute: (command) =>
          new Promise((resolve) => {
            this.#finish.set(this.started.push(command) - 1, resolve)
          }),
        results: new LineWriter(output, () => this.stream.abandon()),
        notices: new LineWriter(new PassThrough().resume(), () => {}),
        complain: (text) => this.complaints.push(text),
      },
    )
  }

  get lines(): string[] {
    return this.printed.split('\n').filter((line) => line !== '')
  }

  finish(index: number): void {
    const { type, lane, key } = this.started[index]!
    const info = {
      id: String(index),
      type,
      lane,
      key,
      attempt: 1,
      partition: 0,
      startedAtMs: 0,
      durationMs: 1.23456,
    }
    this.#finish.get(index)?.({ ok: true, value: index, info })
  }

  unstick(): void {
    this.isStuck = false
    this.#unstick()
  }
}

/** Lets everything happen that can happen without anybody's help. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** An input that counts what is taken from it. */
function input(count: number, line = '{}\n') {
  let taken = 0
  const stream = new Readable({
    highWaterMark: 1,
    read() {
      this.push(taken < count ? Buffer.from(line) : null)
      taken++
    },
  })
  return { stream, taken: () => taken }
}

test('no more commands are started, and next to nothing read, than may be in flight', async () => {
  const bench = new Bench()
  const source = input(1000)
  const running = bench.stream.run(source.stream)
  await settle()
  expect(bench.started).toHaveLength(4)
  expect(source.taken()).toBeLessThan(10)
  bench.finish(2)
  await settle()
  expect(bench.started).toHaveLength(5)
  bench.stream.stop()
  for (let index = 0; index < 5; index++) bench.finish(index)
  expect(await running).toBe(false)
  await settle()
  expect(bench.lines).toHaveLength(5)
})

test('commands stop being started while the reader of the results stands still', async () => {
  const bench = new Bench()
  bench.isStuck = true
  const running = bench.stream.run(input(50).stream)
  let next = 0
  const finishStarted = async () => {
    for (let turn = 0; turn < 20; turn++) {
      await settle()
      while (next < bench.started.length) bench.finish(next++)
    }
  }
  await finishStarted()
  // Those that were started before the first result was written may finish too.
  expect(bench.started.length).toBeLessThanOrEqual(2 * PLAN.inFlightMax)
  bench.unstick()
  await finishStarted()
  expect(await running).toBe(true)
  await settle()
  expect(bench.lines).toHaveLength(50)
})

test('in order, reading stops at a bound of results that wait for a slow one', async () => {
  const bench = new Bench({ isOrdered: true })
  const running = bench.stream.run(input(1000).stream)
  await settle()
  let next = 1
  for (let turn = 0; turn < 100; turn++) {
    while (next < bench.started.length) bench.finish(next++)
    await settle()
  }
  expect(bench.printed).toBe('')
  const bound = PLAN.inFlightMax * UNPRINTED_FACTOR
  expect(bench.started.length).toBeGreaterThan(PLAN.inFlightMax)
  expect(bench.started.length).toBeLessThanOrEqual(bound + PLAN.inFlightMax)
  bench.stream.stop()
  for (let index = 0; index < bench.started.length; index++) bench.finish(index)
  await running
  await settle()
  expect(bench.lines.map((line) => JSON.parse(line).value)).toEqual([...bench.started.keys()])
})

test('long lines stop the reading before their count does', async () => {
  const bench = new Bench({ inFlightMax: 1000 })
  const line = `{"payload":"${'x'.repeat(HELD_BYTES_MAX / 4)}"}\n`
  const running = bench.stream.run(input(20, line).stream)
  await settle()
  expect(bench.started).toHaveLength(4)
  bench.stream.stop()
  for (let index = 0; index < 4; index++) bench.finish(index)
  await running
})

test('a line longer than all that may be held still runs, alone', async () => {
  const bench = new Bench()
  const line = `{"payload":"${'x'.repeat(HELD_BYTES_MAX)}"}\n`
  const running = bench.stream.run(input(2, line).stream)
  for (const index of [0, 1]) {
    while (bench.started.length <= index) await settle()
    expect(bench.started).toHaveLength(index + 1)
    bench.finish(index)
  }
  expect(await running).toBe(true)
})

test('an input that fails is reported once what was read is printed', async () => {
  const bench = new Bench()
  const broken = new PassThrough()
  const running = bench.stream.run(broken)
  broken.write('{}\n')
  await settle()
  broken.destroy(new Error('the disk is gone'))
  await settle()
  bench.finish(0)
  await expect(running).rejects.toThrow('the disk is gone')
  await settle()
  expect(bench.lines).toHaveLength(1)
})

test('an abandoned stream ends at once and prints nothing more', async () => {
  const bench = new Bench()
  const running = bench.stream.run(input(100).stream)
  await settle()
  bench.stream.abandon()
  expect(await running).toBe(false)
  bench.finish(0)
  await settle()
  expect(bench.printed).toBe('')
  expect(bench.stream.counts).toMatchObject({ succeeded: 0, failed: 0 })
})

test('a stream that was stopped before it ran reads nothing', async () => {
  const bench = new Bench()
  const source = input(10)
  bench.stream.stop()
  expect(await bench.stream.run(source.stream)).toBe(false)
  expect(source.taken()).toBe(0)
})

test('durations are printed to the microsecond and bytes are counted to the last', async () => {
  const bench = new Bench()
  const running = bench.stream.run(Readable.from([Buffer.from('{}\n\nbad\n{}')]))
  await settle()
  bench.finish(0)
  bench.finish(1)
  expect(await running).toBe(true)
  await settle()
  expect(bench.lines).toContain('{"id":1,"ok":true,"value":0,"partition":0,"durationMs":1.235}')
  expect(bench.complaints).toEqual(['line 3 is "bad"; allowed: a JSON object'])
  expect(bench.stream.counts).toEqual({ succeeded: 2, failed: 1, inFlight: 0, bytes: 10 })
})
