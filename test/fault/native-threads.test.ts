// Native threads: native code keeps all the threads that a partition may have at once. Goal: none
// more is made, a reload says so and changes nothing, and all goes on once one of them has ended.
// Method: handlers that open a named pipe, which takes until it is opened for writing.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { create, moduleOf } from '../support/managers.ts'

const HANDLERS = moduleOf(`
  import { openSync } from 'node:fs'
  export const hold = (pipe) => openSync(pipe, 'r')
  export const wait = (gate) => Atomics.waitAsync(gate, 0, 0).value
  export const holdAndWait = ({ pipe, gate }, context) => {
    void context.submit('query', 'wait', gate).catch(() => {})
    openSync(pipe, 'r')
  }
  export const echo = (x) => x`)

function makePipe(): string {
  const folder = mkdtempSync(join(tmpdir(), 'corelane-native-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  return pipe
}

test('a partition whose threads native code holds gets no more of them than it has bells for', async () => {
  const pipe = makePipe()
  const manager = create('values.js', { handlers: HANDLERS, partitions: 1, timeoutGraceMs: 10 })
  await manager.start()
  const first = () => manager.stats().partitions[0]!
  let refusal: unknown
  try {
    for (let held = 1; refusal === undefined && held <= 9; held++) {
      await failure(manager.run('hold', pipe, { timeoutMs: 20 }), 'the one that is held')
      await until(() => first().terminating === held, 'its thread is given up')
      const isHindered = held > 2
      if (isHindered)
        refusal = await within(
          manager.reload().catch((error) => error),
          'a reload',
        )
      else await until(() => first().state === 'ready', 'another thread')
    }
    expect(refusal).toMatchObject({
      code: 'CORELANE_PARTITION_LOST',
      message: expect.stringContaining('8 of its threads'),
    })
    expect(first()).toMatchObject({ terminating: 8, incarnations: 8 })
  } finally {
    // Opened for both, it waits for no reader.
    openSync(pipe, 'r+')
  }
  expect(await within(manager.run('echo', 1), 'a command once they have ended')).toBe(1)
})

test('the next thread runs commands though a handler of the one that is held waited for another', async () => {
  const pipe = makePipe()
  const manager = create('values.js', { handlers: HANDLERS, partitions: 2, timeoutGraceMs: 10 })
  await manager.start()
  const gate = new Int32Array(new SharedArrayBuffer(4))
  try {
    const held = manager.run('holdAndWait', { pipe, gate }, { timeoutMs: 500 })
    await failure(held, 'the one that is held')
    const lost = () =>
      manager.stats().partitions.reduce((sum, { terminating }) => sum + terminating, 0)
    await until(() => lost() === 1, 'its thread is given up')
    expect(await within(manager.run('echo', 1), 'a command while the other thread is busy')).toBe(1)
  } finally {
    Atomics.store(gate, 0, 1)
    Atomics.notify(gate, 0)
    openSync(pipe, 'r+')
  }
})
