// Goal: what lies in Redis has a stated life: empty lanes go, with all that was kept of them, and
// results go when they have come if their submitter says so.
// Method: a real Redis whose keys are listed after lanes were used, and are used again.

import { setTimeout as sleep } from 'node:timers/promises'
import { PartitionConfig } from 'corelane'
import type { RedisDistributedQueue } from 'corelane/redis'
import { expect, test } from 'vitest'
import { within } from '../support/deadline.ts'
import { openSubmitter, openWorker } from '../support/pools.ts'
import { describeWithRedis } from '../support/redis-server.ts'
import { complete, completion, RedisQueues, take } from './support/redis-moves.ts'

const queues = new RedisQueues()

describeWithRedis('keys in Redis', () => {
  queues.setUp()
  const { start } = queues

  /** Keys of the queue, without the part that all have. */
  const keysNow = async (): Promise<string[]> =>
    (await queues.admin.keys(`corelane:{${queues.queue}:*`))
      .map((key) => key.replace(`corelane:{${queues.queue}:`, ''))
      .toSorted()

  /** Leases what there is of some lanes. */
  const takeOf = (queue: RedisDistributedQueue, lanes: readonly string[], waitMs: number) =>
    queue.lease({
      partitions: [0, 1],
      lanes: lanes.map((laneId) => ({ laneId, max: 10, priority: 5, boost: [] })),
      max: 10,
      waitMs,
    })

  const keysUntil = async (holds: (keys: string[]) => boolean): Promise<string[]> => {
    for (const endMs = performance.now() + 15_000; ; await sleep(50)) {
      const keys = await keysNow()
      if (holds(keys) || performance.now() > endMs) return keys
    }
  }

  test('a lane that is empty and not used leaves nothing behind, and comes back as new', async () => {
    const partitions = PartitionConfig.hash(2)
    const settings = { partitions, laneTtlMs: 400, resultTtlMs: 1 }
    const worker = await start(settings)
    await worker.ownership!.heartbeat()
    const lanes = ['tenant-1', 'tenant-2', 'tenant-3']
    for (const laneId of lanes) {
      await worker.enqueueMany(queues.envelopes(3, { laneId }))
      await complete(worker, await takeOf(worker, [laneId], 5000))
    }
    expect((await keysNow()).filter((key) => key.includes('s:'))).not.toEqual([])
    const controller = new AbortController()
    const waiting = worker.lease({
      partitions: [0, 1],
      lanes: [{ laneId: 'other', max: 1, priority: 5, boost: [] }],
      max: 1,
      waitMs: 60_000,
      signal: controller.signal,
    })
    const left = await keysUntil((keys) => !keys.some((key) => /s:tenant|lanes$/.test(key)))
    expect(left.filter((key) => !key.startsWith('meta}'))).toEqual(['0}:own', '1}:own'])
    const own = await queues.admin.hGetAll(`corelane:{${queues.queue}:0}:own`)
    expect(Object.keys(own).toSorted()).toEqual(['epoch', 'owner', 'until'])
    expect((await worker.counts()).lanes).toEqual({})
    await worker.enqueueMany(queues.envelopes(2, { laneId: 'tenant-2' }))
    const again = await takeOf(worker, lanes, 5000)
    expect(again).toHaveLength(2)
    expect(await complete(worker, again)).toEqual(['done', 'done'])
    controller.abort()
    await within(waiting, 'the end of a wait')
  })

  test('a lane with something waiting, leased or kept back stays as it is', async () => {
    const worker = await start({ laneTtlMs: 100 })
    const all = ['waiting', 'leased', 'delayed'].flatMap((laneId) =>
      queues.envelopes(1, { laneId }),
    )
    await worker.enqueueMany(all)
    const leased = await takeOf(worker, ['leased'], 0)
    const delayed = await takeOf(worker, ['delayed'], 0)
    await worker.release(delayed, { reason: 'retry', delayMs: 60_000 })
    // Rounds go on while somebody waits.
    expect(await takeOf(worker, ['other'], 1500)).toEqual([])
    expect(await worker.counts()).toMatchObject({ waiting: 1, leased: 1, delayed: 1 })
    expect(await complete(worker, leased)).toEqual(['done'])
    expect(await takeOf(worker, ['waiting'], 0)).toHaveLength(1)
    const left = await keysUntil((keys) => !keys.includes('0}:s:leased'))
    expect(left).not.toContain('0}:s:leased')
    expect(left).toEqual(expect.arrayContaining(['0}:s:waiting', '0}:d:delayed']))
  })

  test.each([
    { whose: 'without a group', members: {} },
    { whose: 'of a group', members: { group: 'a' } },
  ])(
    'a dead command $whose is found and given out though its lane had gone',
    async ({ members }) => {
      const settings = { partitions: PartitionConfig.roundRobin(1), laneTtlMs: 100 }
      const worker = await start(settings)
      const [envelope] = queues.envelopes(1, members)
      await worker.enqueueMany([envelope!])
      const [delivery] = await take(worker)
      const { result } = completion(delivery!, worker)
      await worker.deadLetter(delivery!, 'no use', { ...result, success: false })
      const controller = new AbortController()
      const { signal } = controller
      const lanes = [{ laneId: 'other', max: 1, priority: 5, boost: [] }]
      // Rounds go on while somebody waits.
      const waiting = worker.lease({ partitions: [0], lanes, max: 1, waitMs: 60_000, signal })
      await keysUntil((keys) => !keys.includes('0}:lanes'))
      controller.abort()
      await within(waiting, 'the end of a wait')
      expect(await keysNow()).not.toContain('0}:lanes')
      expect(await worker.dead.redrive([envelope!.id])).toBe(1)
      expect(await worker.counts()).toMatchObject({ waiting: 1, dead: 0 })
      expect(await worker.commands.find(envelope!.id)).toMatchObject({ state: 'waiting' })
      // It has heard no announcement.
      const later = await start(settings)
      expect((await take(later)).map((each) => each.envelope.id)).toEqual([envelope!.id])
    },
  )

  test('slots are kept for the longest lease among their workers', async () => {
    const [long, short] = [await start({ leaseMs: 60_000 }), await start({ leaseMs: 100 })]
    expect(await long.limits.takeSlots('lane', 1, ['a'])).toEqual(['a'])
    expect(await short.limits.takeSlots('lane', 1, ['b'])).toEqual([])
    const leftMs = await queues.admin.pTTL(`corelane:{${queues.queue}:lane:lane}:places`)
    expect(leftMs).toBeGreaterThan(30_000)
  })

  test.each([
    { keepResults: 'all' as const, kept: ['given', 'random'] },
    { keepResults: 'named' as const, kept: ['given'] },
    { keepResults: 'none' as const, kept: [] },
  ])('a submitter that keeps $keepResults results leaves those', async ({ keepResults, kept }) => {
    const queue = await start()
    await openWorker(queue)
    const submitter = openSubmitter(queue, { keepResults })
    await within(submitter.submit('query', 'mark', 1, { id: 'given' }), 'a result')
    await within(submitter.submit('query', 'mark', 2), 'a result')
    await within(submitter.close(), 'the end of a submitter')
    const names = (await keysNow()).flatMap((key) => /c:(.*)$/.exec(key)?.[1] ?? [])
    expect(names.map((name) => (name === 'given' ? name : 'random')).toSorted()).toEqual(kept)
  })

  test('a lane whose pause or resume fails in a partition is told as paused until it is nowhere', async () => {
    const worker = await start({ partitions: PartitionConfig.hash(3) })
    const broken = `corelane:{${queues.queue}:2}:own`
    for (const call of ['pause', 'resume'] as const) {
      await queues.admin.set(broken, 'no hash')
      await expect(worker.lanes[call]('api')).rejects.toThrow()
      expect(await worker.lanes.paused()).toEqual(['api'])
      await queues.admin.del(broken)
    }
    await worker.lanes.resume('api')
    expect(await worker.lanes.paused()).toEqual([])
  })
})
