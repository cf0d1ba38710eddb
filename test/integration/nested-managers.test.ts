// Nested managers: one that a handler module creates would start threads without end, so it is
// refused unless it is asked for.

import { expect, test } from 'vitest'
import { failure, refused, within } from '../support/deadline.ts'
import { create, fixture, moduleOf, open } from '../support/managers.ts'
import { runProgram } from '../support/programs.ts'

const one = { partitions: { count: 1 } } as const

test('a manager inside a partition is refused', async () => {
  const manager = await open('nested.js', one)
  const error = await failure(manager.run('nest', { allowNested: false }), 'nest')
  expect(error).toMatchObject({ name: 'ConfigError', code: 'CORELANE_NESTED_MANAGER' })
  expect(error.message).toContain('inside partition 0')
  expect(error.message).toContain('allowNested')
})

test('a manager inside a thread that a partition started is refused too', async () => {
  const manager = await open('nested.js', one)
  expect(await within(manager.run('nestInThread'), 'nestInThread')).toBe('CORELANE_NESTED_MANAGER')
})

test('a handler module that makes a manager at load makes start reject', async () => {
  const handlers = moduleOf(`
    import { QueueManager } from ${JSON.stringify(import.meta.resolve('corelane'))}
    export const manager = QueueManager.create({ handlers: import.meta.url })
    export const echo = (payload) => payload`)
  const error = await refused(
    create('values.js', { ...one, handlers }).start(),
    'CORELANE_HANDLERS_FAILED',
  )
  expect(error.cause).toMatchObject({ code: 'CORELANE_NESTED_MANAGER' })
})

test('a manager inside a partition works where it is allowed', async () => {
  const manager = await open('nested.js', one)
  const payload = { deep: [1, 2, 3] }
  const nested = manager.run('nest', { allowNested: true, payload })
  expect(await within(nested, 'nest')).toEqual(payload)
})

/** Runs a program that preloads a module with the given text. */
function runPreloaded(text: string) {
  const preload = moduleOf(`
    import { isMainThread, threadId } from 'node:worker_threads'
    import { QueueManager } from ${JSON.stringify(import.meta.resolve('corelane'))}
    if (threadId > 3) process.kill(process.pid, 'SIGKILL')
    const options = { handlers: ${JSON.stringify(fixture('values.js').href)}, partitions: { count: 1 } }
    ${text}`)
  return runProgram('', 20_000, ['--import', preload])
}

test('a preloaded module that makes a manager is refused in its threads, by name', async () => {
  const { signal, stdout } = await runPreloaded(`
    const manager = QueueManager.create(options)
    await manager.start().catch((error) => console.log(error.code, error.details.partition))`)
  expect({ signal, stdout }).toEqual({ signal: null, stdout: 'CORELANE_NESTED_MANAGER 0\n' })
})

test('a preloaded module that makes a manager on the main thread alone can use it', async () => {
  const { code, stdout } = await runPreloaded(`
    if (isMainThread) {
      const manager = QueueManager.create(options)
      await manager.start()
      console.log(await manager.run('echo', 'done'))
      await manager.close()
    }`)
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'done\n' })
})
