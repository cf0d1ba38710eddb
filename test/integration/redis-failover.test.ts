// Goal: queues follow a primary that changes its place.
// Method: two real servers that change roles, and a client that is made for the present primary.

import { EventEmitter } from 'node:events'
import type { RedisDistributedQueue, RedisQueueOptions } from 'corelane/redis'
import { createClient, createCluster, createSentinel, type RedisClientOptions } from 'redis'
import { expect, test } from 'vitest'
import { refused, until, within } from '../support/deadline.ts'
import { blocksOf } from '../support/pages.ts'
import type { RedisProcess } from '../support/redis-process.js'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'
import { complete, newClient, RedisQueues, takeAll } from './support/redis-moves.ts'

/** The client for Sentinel of the page. */
const RECIPE = blocksOf('docs/distributed.md').find(({ code }) =>
  code.includes('createSentinel('),
)!.code

const queues = new RedisQueues()

describeWithRedis('queues on servers that change roles', () => {
  queues.setUp({ args: ['--replica-serve-stale-data', 'no'] })

  test.each([
    ['READONLY', 'writes'],
    ['MASTERDOWN', 'reads'],
  ])('after %s calls and announcements are those of the new primary', async (answer, first) => {
    const next = await startRedis()
    let { url } = queues.redis
    const client = {
      duplicate: (options: RedisClientOptions) => createClient({ ...options, url }),
    } as NonNullable<RedisQueueOptions['client']>
    const refusals: string[] = []
    const mover = await queues.start({
      client,
      onIncident: ({ kind, detail }) => kind === 'not-ready' && refusals.push(detail),
    })
    const received: string[] = []
    await mover.announce('me', ({ commandId }) => received.push(commandId))
    // The old one stays alive, and hears nothing of the new one.
    await queues.admin.sendCommand(['REPLICAOF', '127.0.0.1', '1'])
    url = next.url
    if (first === 'reads') expect(await mover.lanes.limits()).toEqual([])
    const [envelope] = queues.envelopes(1, { submitter: 'me' })
    await mover.enqueueMany([envelope!])
    expect(refusals[0]).toContain(answer)
    // Later than the new connection of calls is that of announcements.
    const admin = newClient(url)
    await admin.connect()
    const channels = async () => (await admin.sendCommand(['PUBSUB', 'CHANNELS'])) as string[]
    await within(
      (async () => {
        while ((await channels()).length === 0);
      })(),
      'a subscription',
    )
    admin.destroy()
    const worker = await queues.start({ url })
    await complete(worker, await takeAll(worker, 1))
    await until(() => received.length > 0, 'the result')
    expect(received).toEqual([envelope!.id])
    await queues.admin.sendCommand(['REPLICAOF', 'NO', 'ONE'])
  })

  test('the client of the page follows what Sentinel tells, and leaves the old primary', async () => {
    const next = await startRedis()
    const addressOf = ({ host, port }: RedisProcess) => ({ host, port })
    const getMasterNode = () => addressOf(queues.redis)
    const sentinel = Object.assign(new EventEmitter(), { connect: async () => {}, getMasterNode })
    const open = (options: RedisQueueOptions) =>
      queues.start({ ...options, queue: queues.queue, onIncident: ({ kind }) => kinds.push(kind) })
    const kinds: string[] = []
    const parts = { createSentinel: () => sentinel, createClient, log: console }
    const names = [...Object.keys(parts), 'RedisDistributedQueue']
    const run = new Function(...names, `return (async () => { ${RECIPE}; return queue })()`)
    const queue: RedisDistributedQueue = await run(...Object.values(parts), { open })
    await queue.enqueueMany(queues.envelopes(1))
    // Both servers would take it.
    sentinel.emit('topology-change', { type: 'MASTER_CHANGE', node: addressOf(next) })
    const [envelope] = queues.envelopes(1)
    await queue.enqueueMany([envelope!])
    expect(kinds.filter((kind) => kind.startsWith('conn'))).toEqual([
      'connection-lost',
      'connection-back',
    ])
    const [given] = await takeAll(await queues.start({ url: next.url }), 1)
    expect(given!.envelope.id).toBe(envelope!.id)
  })

  test.each([
    [
      'Sentinel',
      () => createSentinel({ name: 'main', sentinelRootNodes: [{ host: '127.0.0.1', port: 1 }] }),
    ],
    ['Cluster', () => createCluster({ rootNodes: [{ url: 'redis://127.0.0.1:1' }] })],
  ])('a client for %s is refused', async (_, make) => {
    const client = make() as unknown as NonNullable<RedisQueueOptions['client']>
    await refused(queues.start({ client }), 'CORELANE_INVALID_OPTION')
  })
})
