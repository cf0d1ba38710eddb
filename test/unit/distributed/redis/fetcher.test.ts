// When the fetcher asks Redis: answers and announcements come over two connections, in any order.

import { expect, test } from 'vitest'
import type { LeaseRequest } from '../../../../src/distributed/contract/distributed-queue.ts'
import { Listeners } from '../../../../src/distributed/contract/listeners.ts'
import type { RedisEngine } from '../../../../src/distributed/redis/engine.ts'
import { encodeEnvelope } from '../../../../src/distributed/redis/envelope-codec.ts'
import { RedisFetcher } from '../../../../src/distributed/redis/fetcher.ts'
import { Holdings } from '../../../../src/distributed/redis/holdings.ts'
import { queueKeys } from '../../../../src/distributed/redis/keys.ts'
import { planRedisQueue } from '../../../../src/distributed/redis/options.ts'
import type { Script } from '../../../../src/distributed/redis/scripts/script.ts'
import { type Wake, wakeOf } from '../../../../src/distributed/redis/subscriptions.ts'
import { envelopeOf } from '../../../support/envelopes.ts'

/** A Redis with one lane, that says what waits; and a fetcher that asks it. */
function rig(partitions: number) {
  const plan = planRedisQueue({
    workerId: 'w',
    pollMaxMs: 60_000,
    partitions: { count: partitions },
  })
  const keys = queueKeys('default', partitions)
  const wakes = new Listeners<[Wake]>()
  const waiting = Array.from({ length: partitions }, () => 0)
  const asked: string[] = []
  /** Done once Redis has answered, before the answer arrives. */
  let onTheWay = (_question: string): void => {}
  let number = 0
  const answer = (name: string, partition: number): unknown[] => {
    if (name === 'tend') return [-1, -1, waiting[partition]]
    const value = encodeEnvelope(envelopeOf(`c${++number}`), 1024)
    const isGiven = waiting[partition]! > 0
    if (isGiven) waiting[partition]!--
    const given = isGiven ? [Buffer.from(`1 ${number}-0 1 ${value.length}\n`), value] : []
    return [1, 0, Date.now(), waiting[partition], Buffer.concat(given)]
  }
  const run = async ({ name }: Script, [first]: readonly string[]) => {
    const partition = keys.partitions.findIndex((one) => first!.startsWith(one.own.slice(0, -3)))
    const question = `${name} ${partition}`
    asked.push(question)
    const reply = answer(name, partition)
    onTheWay(question)
    return reply
  }
  const engine = {
    ...{ plan, keys, wakes, consumer: 'w~30000', report() {}, receive() {} },
    ...{
      holdings: new Holdings('w', plan.leaseMs),
      caller: { isClosed: false, checkOpen() {}, run },
    },
  }
  const fetcher = new RedisFetcher(engine as unknown as RedisEngine, undefined)
  const enqueue = (partition: number): void => {
    waiting[partition]!++
    wakes.call('', wakeOf(Buffer.from(`${partition} lane 1`))!)
  }
  const request = (options: Partial<LeaseRequest> = {}): LeaseRequest => {
    const lanes = [{ laneId: 'lane', max: 1, priority: 5, boost: [] }]
    const all = Array.from({ length: partitions }, (_, partition) => partition)
    return { partitions: all, lanes, max: 1, waitMs: 10_000, ...options }
  }
  const meanwhile = (question: string, work: () => void): void => {
    onTheWay = (one) => {
      if (one !== question) return
      onTheWay = () => {}
      work()
    }
  }
  return { fetcher, waiting, asked, wakes, enqueue, meanwhile, request }
}

test('an answer from before announcements were heard is not believed once they are', async () => {
  const { fetcher, waiting, asked, meanwhile, request } = rig(1)
  meanwhile('tend 0', () => {
    // Enqueued before the subscription, so nothing tells of it; the answer is older still.
    waiting[0] = 1
    fetcher.setReceiving(true)
  })
  expect(await fetcher.lease(request())).toHaveLength(1)
  expect(asked).toEqual(['tend 0', 'tend 0', 'lease 0'])
})

test('lanes with groups that come and go for ever are not all remembered', async () => {
  const { fetcher, waiting, asked, wakes, request } = rig(1)
  fetcher.setReceiving(true)
  await fetcher.lease(request({ waitMs: 1 }))
  for (let i = 0; i <= 10_000; i++) wakes.call('', wakeOf(Buffer.from(`0 @lane-${i} 1`))!)
  const before = asked.length
  waiting[0] = 1
  // Redis is asked again: it says which lanes have groups.
  expect(await fetcher.lease(request())).toHaveLength(1)
  expect(asked.slice(before)).toEqual(['tend 0', 'lease 0'])
})

test('what comes while its partition is asked is found though others have enough', async () => {
  for (const question of ['lease 1', 'tend 1']) {
    const { fetcher, waiting, asked, enqueue, meanwhile, request } = rig(2)
    fetcher.setReceiving(true)
    waiting[0] = 100
    waiting[1] = question === 'lease 1' ? 1 : 0
    meanwhile(question, () => enqueue(1))
    for (let asks = 0; asks < 3; asks++) {
      await fetcher.lease(request({ partitions: [1, 0], max: 2 }))
    }
    expect(waiting[1], `${question}: ${asked}`).toBe(0)
  }
})
