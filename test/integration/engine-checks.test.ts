// Goal: both engines refuse the same calls that cannot be.
// Method: the same calls on the engine of this process and on a real Redis.

import { LocalDistributedQueue, PartitionConfig } from 'corelane'
import { expect, test } from 'vitest'
import { failure } from '../support/deadline.ts'
import { keep } from '../support/pools.ts'
import { describeWithRedis } from '../support/redis-server.ts'
import { RedisQueues } from './support/redis-moves.ts'

const queues = new RedisQueues()
const partitions = PartitionConfig.roundRobin(2)
const command = { commandId: 'a', partitionId: 0 }
const rate = { limit: 1, windowMs: 1000 }
const bad = ['a:b', { ...command, commandId: 'a:b' }, { ...command, partitionId: 2 }]
const many = new Array<string>(4097).fill('a')

describeWithRedis('both engines', () => {
  queues.setUp()
  const engines = {
    'of this process': async () => keep(new LocalDistributedQueue(partitions)),
    'on Redis': () => queues.start(),
  }
  for (const [which, start] of Object.entries(engines)) {
    test(`what cannot be is refused by the engine ${which}`, async () => {
      const { commands, dead, limits, ...queue } = await start().then((one) => ({
        ...{ commands: one.commands, dead: one.dead, limits: one.limits },
        look: (all: unknown[]) => one.look(all as (typeof command)[]),
        forget: (all: unknown[]) => one.forget(all as (typeof command)[]),
      }))
      const report = { commandId: 'a', submitter: 'a b', value: 1 }
      const calls: (() => unknown)[] = [
        ...bad.flatMap((each) => [
          () => commands.find(each),
          () => commands.cancel([each]),
          () => dead.redrive([each]),
          () => dead.drop([each]),
        ]),
        ...[[], [bad[1]], [bad[2]], new Array(4097).fill(command)].flatMap((all) => [
          () => queue.look(all),
          () => queue.forget(all),
        ]),
        ...[[], many].map((all) => () => commands.cancel(all)),
        ...[0, 10_001].map((max) => () => dead.list(max)),
        () => commands.peek('a b'),
        () => commands.report([report]),
        () => commands.onProgress('a b', () => {}),
        ...[0, 1_000_001].flatMap((count) => [
          () => limits.takeTokens('lane', rate, count),
          () => limits.takeSlots('lane', count, ['a']),
        ]),
        () => limits.takeTokens('a b', rate, 1),
        () => limits.takeSlots('a b', 1, ['a']),
        () => limits.takeSlots('lane', 1, many),
        () => limits.releaseSlots('a b', ['a']),
        () => limits.releaseSlots('lane', many),
        () => limits.onSlotFree!('a b', () => {}),
      ]
      for (const call of calls) {
        const error = await failure((async () => call())(), String(call))
        expect(error, String(call)).toMatchObject({
          code: expect.stringMatching(/^CORELANE_INVALID_(?:OPTION|ENVELOPE)$/),
        })
      }
      expect(await limits.takeSlots('lane', 1, [])).toEqual([])
    })
  }
})
