// Copies: the package loaded twice in one process, as ES modules and as CommonJS. What one copy
// makes the other one takes.

import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as modern from 'corelane'
import { expect, test } from 'vitest'

const common: typeof modern = createRequire(import.meta.url)('../../dist/index.cjs')
const handlers = pathToFileURL(join(import.meta.dirname, '../fixtures/copies.js'))
const partitions = { count: 1 }

test.each([
  ['ES modules', modern, common],
  ['CommonJS', common, modern],
])('errors of %s are instances of the classes of the other copy', async (_name, one, other) => {
  expect(one.QueueManager).not.toBe(other.QueueManager)
  const manager = one.QueueManager.create({ handlers, partitions })
  await manager.close()
  const error: unknown = await manager.run('echo').catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(one.LaneError)
  expect(error).toBeInstanceOf(other.LaneError)
  expect(error).not.toBeInstanceOf(other.ConfigError)
  expect(() => one.QueueManager.create({ handlers, partitions: { count: 0 } })).toThrow(
    other.ConfigError,
  )
  expect(new Error('other') instanceof other.LaneError).toBe(false)
  class Own extends other.LaneError {}
  expect(error).not.toBeInstanceOf(Own)
})

test('an object that only has the code of an error is no instance', () => {
  expect({ code: 'CORELANE_CLOSED' }).not.toBeInstanceOf(modern.LaneError)
  for (const value of [null, undefined, 1, 'x', Object.create(null)]) {
    expect(value instanceof modern.LaneError).toBe(false)
  }
})

test('in a thread, reasons of signals are instances of the classes that the module imports', async () => {
  const manager = modern.QueueManager.create({ handlers, partitions })
  await manager.start()
  const controller = new AbortController()
  const aborted = manager.run('waitForAbort', undefined, {
    signal: controller.signal,
    onProgress: () => controller.abort(),
  })
  await expect(aborted).rejects.toThrow(modern.AbortError)
  expect(await manager.run('whatAborted')).toEqual({ isAbort: true, isTimeout: false })
  await manager.close()
})

test.each([
  ['ES modules', modern, common],
  ['CommonJS', common, modern],
])('a manager of %s takes configurations of the other copy', async (_name, one, other) => {
  const manager = await new one.QueueManagerBuilder()
    .withHandlers(handlers)
    .withPartitions(other.PartitionConfig.hash(1))
    .withLane(
      'api',
      new other.LaneConfig(0, 2)
        .withRateLimit(other.RateLimitConfig.perSecond(1000))
        .withPriorityBoost(other.PriorityBoostConfig.standard(60_000))
        .withRetryPolicy(other.RetryPolicy.exponential(2)),
      0,
    )
    .build()
  await manager.start()
  expect(await manager.submit('api', 'echo', new Map([[1, new Date(5)]]))).toEqual(
    new Map([[1, new Date(5)]]),
  )
  await manager.close()
})

test('a queue, a worker pool and a submitter may come from different copies', async () => {
  const queue = new common.LocalDistributedQueue({ count: 1 })
  const manager = modern.QueueManager.create({ handlers, partitions })
  const pool = new common.WorkerPool(queue, manager)
  await pool.start()
  const submitter = new modern.Submitter(queue)
  expect(await submitter.submit('query', 'echo', 5)).toBe(5)
  await submitter.close()
  await pool.close()
  await manager.close()
  await queue.close()
})

test('one signal closes the managers of both copies', () => {
  const program = `
    import { createRequire } from 'node:module'
    import * as modern from 'corelane'
    const common = createRequire(import.meta.url)('./dist/index.cjs')
    const managers = [modern, common].map((copy) => {
      const options = { handlers: ${JSON.stringify(handlers.href)}, partitions: { count: 1 } }
      const manager = copy.QueueManager.create(options)
      copy.closeOnSignals(manager)
      return manager
    })
    await Promise.all(managers.map((manager) => manager.start()))
    const running = Promise.all(managers.map((manager) => manager.run('echo', 1, { delayMs: 50 })))
    running.then((results) => console.log(results.join()))
    process.kill(process.pid, 'SIGTERM')`
  const { stdout, stderr, signal } = spawnSync(
    process.execPath,
    ['--input-type=module', '--eval', program],
    { cwd: join(import.meta.dirname, '../..'), encoding: 'utf8', timeout: 20_000 },
  )
  expect([stdout.trim(), stderr, signal]).toEqual(['1,1', '', 'SIGTERM'])
})
