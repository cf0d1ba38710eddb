// Goal: what a submitter asks for one command holds on every engine, from its call to the handler's
// thread and back. Method: real workers on the engine of this process and on a real Redis.

import { type LeasedQueue, PartitionConfig, type Submitter, type WorkerPool } from 'corelane'
import { RedisDistributedQueue } from 'corelane/redis'
import { beforeAll, describe, expect, test } from 'vitest'
import { failure, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { keep, openPool, openQueue, openSubmitter, openWorkers } from '../support/pools.ts'
import type { RedisProcess } from '../support/redis-process.js'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'

interface Stage {
  readonly queue: LeasedQueue
  readonly pool: WorkerPool
  readonly submitter: Submitter
  readonly ledger: Ledger
}

function commandsOn(open: () => Promise<LeasedQueue>): void {
  async function openAll(): Promise<Stage> {
    const ledger = new Ledger(20)
    const queue = await open()
    const manager = await openWorkers(ledger.workerData, {
      partitions: PartitionConfig.none(),
      lanes: { prompt: {}, once: { retry: { retries: 5, delayMs: 1 } } },
    })
    const pool = await openPool(queue, manager)
    return { queue, pool, submitter: openSubmitter(queue), ledger }
  }

  test('a command brings its own time-out, retries and delay', async () => {
    const { submitter, ledger } = await openAll()
    const startedMs = performance.now()
    const late = submitter.submit('prompt', 'mark', 1, { delayMs: 300 })
    const retried = await within(
      submitter.execute(
        'prompt',
        'unlucky',
        { index: 2, failures: 2 },
        {
          retry: { retries: 2, backoff: 'fixed', delayMs: 5 },
        },
      ),
      'a command that is retried',
    )
    expect(retried).toMatchObject({ ok: true, value: 2, info: { attempt: 3 } })
    const once = submitter.submit('once', 'unlucky', { index: 3, failures: 1 }, { retry: {} })
    expect((await failure(once, 'one try')).message).toContain('fails in run 1')
    const hung = submitter.submit('prompt', 'unlucky', { index: 4, hangs: 1 }, { timeoutMs: 100 })
    expect(await failure(hung, 'a time-out')).toMatchObject({ code: 'CORELANE_TIMEOUT' })
    expect(await within(late, 'the delayed command')).toBe(1)
    expect(performance.now() - startedMs).toBeGreaterThan(295)
    expect(ledger.allRuns(5)).toEqual([0, 1, 3, 1, 1])
  })

  test('an option that cannot travel is refused before anything is sent', async () => {
    const { submitter } = await openAll()
    const bad: readonly object[] = [
      { delayMs: -1 },
      { timeoutMs: 0 },
      { retry: { retries: -1 } },
      { retry: { retryable: () => true } },
      { retry: { retryLost: true } },
      { attempts: 3 },
    ]
    for (const options of bad) {
      const refused = submitter.submit('prompt', 'mark', 1, options)
      expect(await failure(refused, 'a refusal')).toMatchObject({ code: 'CORELANE_INVALID_OPTION' })
    }
    expect((await failure(submitter.submit('prompt', 'mark', 1, bad[3]), 'it')).message).toMatch(
      /retryable .*a function cannot travel/,
    )
  })
}

describe('the engine of this process', () => {
  commandsOn(async () => openQueue(PartitionConfig.hash(2)))
})

describeWithRedis('the engine on Redis', () => {
  let redis: RedisProcess
  let queues = 0
  beforeAll(async () => {
    redis = await startRedis()
  })
  commandsOn(async () =>
    keep(
      await RedisDistributedQueue.open({
        url: redis.url,
        queue: `commands-${++queues}`,
        partitions: PartitionConfig.hash(2),
        durability: 'ignore',
      }),
    ),
  )
})
