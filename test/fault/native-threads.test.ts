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
  export const echo = (x) => x`)

test('a partition whose threads native code holds gets no more of them than it has bells for', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'corelane-native-'))
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  const manager = create('values.js', { handlers: HANDLERS, partitions: 1, timeoutGraceMs: 10 })
  onTestFinished(() => rmSync(folder, { recursive: true }))
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
