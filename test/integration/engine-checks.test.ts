// Goal: all engines refuse the same calls that cannot be, of whatever shape their arguments are.
// Method: the same calls on the engine of this process, a lifted one and a real Redis.

import { type LeasedQueue, LocalDistributedQueue, liftQueue, PartitionConfig } from 'corelane'
import { expect, test } from 'vitest'
import { failure } from '../support/deadline.ts'
import { deliveryOf, envelopeOf, resultOf } from '../support/envelopes.ts'
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
        () => limits.takeTokens('lane', rate, 2.5),
        ...[{ limit: 0 }, { limit: 1.5 }, { windowMs: 0 }, { windowMs: Number.NaN }].map(
          (wrong) => () => limits.takeTokens('lane', { ...rate, ...wrong }, 1),
        ),
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

  for (const [which, start] of Object.entries({ ...engines, 'that is lifted': lifted })) {
    test(`no shape of arguments makes more than a refusal of the engine ${which}`, async () => {
      const queue = await start()
      expect(await misunderstood(queue)).toEqual([])
      expect(await queue.enqueueMany([envelopeOf('last')])).toEqual(['accepted'])
    })
  }
})

/** An engine of the least that a queue can do. */
async function lifted(): Promise<LeasedQueue> {
  const queue = keep(new LocalDistributedQueue(partitions))
  return liftQueue({
    ...{ numPartitions: 2, workerId: 'w' },
    enqueue: (envelope) => queue.enqueue(envelope),
    dequeue: (partition) => queue.dequeue(partition),
    complete: (result) => queue.complete(result),
  })
}

const SHAPES = [undefined, null, true, -1.5, 'a b', {}, [null], [{}], [[]], () => {}]

const listener = () => {}
const delivery = deliveryOf('a')
const result = resultOf('a')
const lane = { laneId: 'lane', max: 1, priority: 1, boost: [] }

/** Members of a queue, and arguments of each that are in order. */
const CALLS: Readonly<Record<string, readonly unknown[]>> = {
  enqueue: [envelopeOf('a')],
  enqueueMany: [[envelopeOf('a')]],
  dequeue: [0],
  complete: [result],
  lease: [{ partitions: [0], lanes: [lane], max: 1, waitMs: 0 }],
  start: [[delivery]],
  extend: [[delivery]],
  completeMany: [[{ delivery, result }]],
  release: [[delivery], { reason: 'retry' }],
  deadLetter: [delivery, 'failed', result],
  announce: ['me', listener],
  look: [[command]],
  forget: [[command]],
  'dead.list': [1],
  'dead.redrive': [['a']],
  'dead.drop': [['a']],
  'commands.find': ['a'],
  'commands.peek': ['lane', 1],
  'commands.cancel': [['a']],
  'commands.onCancel': [listener],
  'commands.report': [[{ commandId: 'a', submitter: 'me', value: 1 }]],
  'commands.onProgress': ['me', listener],
  'limits.takeTokens': ['lane', rate, 1],
  'limits.takeSlots': ['lane', 1, ['a']],
  'limits.releaseSlots': ['lane', ['a']],
  'limits.onSlotFree': ['lane', listener],
  'lanes.announce': [['a'], ['b']],
  'lanes.look': [['a']],
  'lanes.pause': ['lane'],
  'lanes.resume': ['lane'],
  'lanes.onPause': [listener],
  'lanes.setConcurrency': ['lane', 1],
  'lanes.setRateLimit': ['lane', rate],
  'lanes.onLimits': [listener],
  'handlers.announce': [['a'], ['b']],
  'handlers.look': [['a']],
  'workers.announce': [{}],
}

type Call = (...given: readonly unknown[]) => unknown

/** Calls a queue with arguments of all shapes; gives what ended otherwise than with a code. */
async function misunderstood(queue: LeasedQueue): Promise<string[]> {
  const found: string[] = []
  for (const [path, good] of Object.entries(CALLS)) {
    const names = path.split('.')
    const owner = (names.length === 1 ? queue : queue[names[0] as 'dead']) as unknown
    const call = (owner as Record<string, Call> | undefined)?.[names.at(-1)!]
    for (const place of call === undefined ? [] : good.keys()) {
      for (const shape of [...SHAPES, { ...(good[place] as object), lanes: [null] }]) {
        const given = good.toSpliced(place, 1, shape)
        try {
          await Reflect.apply(call!, owner, given)
        } catch (error) {
          const { code } = error as { code?: unknown }
          const isRefusal = typeof code === 'string' && code.startsWith('CORELANE_')
          if (!isRefusal) found.push(`${path}(${JSON.stringify(given)}): ${error}`)
        }
      }
    }
  }
  return found
}
