// Settle cases: completion, extension and giving back, by the one who has the command.

import assert from 'node:assert/strict'
import { epochMs, nowMs } from '../../base/clock.ts'
import type { Delivery } from '../contract/distributed-queue.ts'
import type { CommandEnvelope } from '../contract/envelope.ts'
import { always, type CaseOfContract, delaying, leased, where } from './contract-case.ts'
import {
  complete,
  deadLetter,
  failureOf,
  finish,
  holds,
  idsOf,
  pause,
  referenceTo,
  refused,
  successOf,
} from './contract-stage.ts'

/** The engine's clock may count whole milliseconds. */
const AGE_SLACK_MS = 20

const completing: readonly CaseOfContract[] = [
  always('what is completed is not given out again', async (stage, queue) => {
    await finish(queue, await stage.giveAll(queue, stage.envelopes(10)))
    await stage.nothing(queue)
  }),
  always('a second completion is stale', async (stage, queue) => {
    const [first, second] = await stage.giveAll(queue, stage.envelopes(2))
    await finish(queue, [first!])
    const statuses = await queue.completeMany([
      { delivery: first!, result: failureOf(first!, queue, 'too late') },
      { delivery: second!, result: successOf(second!, queue) },
      { delivery: second!, result: successOf(second!, queue) },
    ])
    assert.deepEqual(statuses, ['stale', 'done', 'stale'])
  }),
  always(
    'a fence that was never given out is stale, and the command stays',
    async (stage, queue) => {
      const delivery = await stage.give(queue)
      const forged = { ...delivery, fence: `${delivery.fence}0` }
      assert.equal(await complete(queue, forged), 'stale')
      assert.deepEqual(await queue.release([forged], { reason: 'unstarted' }), ['stale'])
      assert.equal(await deadLetter(queue, forged), 'stale')
      assert.deepEqual((await queue.extend([forged])).lost, [forged.fence])
      await finish(queue, [delivery])
    },
  ),
  always('nothing can be done with a command that has ended', async (stage, queue) => {
    const delivery = await stage.give(queue)
    await finish(queue, [delivery])
    assert.deepEqual(await queue.release([delivery], { reason: 'retry' }), ['stale'])
    assert.equal(await deadLetter(queue, delivery, 'late'), 'stale')
    assert.deepEqual((await queue.extend([delivery])).lost, [delivery.fence])
    await stage.nothing(queue)
  }),
]

const ageing: readonly CaseOfContract[] = [
  where({ needs: ['leases', 'ages'] })(
    'the age of a command goes by the clock of the queue, and a retry keeps it',
    async (stage, queue) => {
      // Submitters whose clocks are behind and ahead of this one.
      const day = 86_400_000
      const skewed = [-day, day].map((ms) => stage.envelope({ createdAt: epochMs() + ms }))
      const beforeMs = nowMs()
      await stage.fill(queue, skewed)
      const afterMs = nowMs()
      await pause(60)
      const take = async (): Promise<Delivery[]> => {
        const askedMs = nowMs()
        const given = await stage.take(queue, 2)
        // The age was measured somewhere between the question and the answer.
        const latestMs = afterMs + (nowMs() - askedMs) + AGE_SLACK_MS
        for (const { acceptedAtMs } of given) {
          assert.ok(acceptedAtMs >= beforeMs - AGE_SLACK_MS, `${beforeMs - acceptedAtMs} too old`)
          assert.ok(acceptedAtMs <= latestMs, `${acceptedAtMs - latestMs} ms too young`)
        }
        return given
      }
      const given = await take()
      await queue.release([given[0]!], { reason: 'retry' })
      await queue.release([given[1]!], { reason: 'unstarted' })
      await pause(60)
      const again = await take()
      await deadLetter(queue, again[0]!)
      assert.equal(await queue.dead.redrive([referenceTo(again[0]!.envelope)]), 1)
      const { acceptedAtMs } = await stage.takeOne(queue)
      assert.ok(acceptedAtMs >= afterMs + 100, 'a redrive starts the age anew')
    },
  ),
]

const extending: readonly CaseOfContract[] = [
  where({ needs: ['leases'], leaseMs: 1600 })(
    'a lease that is extended does not expire',
    async (stage, one, two) => {
      const given = await stage.giveAll(one, stage.envelopes(3))
      for (let turn = 0; turn < 6; turn++) {
        await pause(300)
        const beforeMs = nowMs()
        const { lost, leasedUntilMs } = await one.extend(given)
        assert.deepEqual(lost, [])
        assert.ok(leasedUntilMs >= beforeMs + 1600 && leasedUntilMs <= nowMs() + 1600)
        assert.deepEqual(await two.lease(stage.request()), [])
      }
      await finish(one, given)
    },
  ),
  leased('extension names those that are lost and keeps the others', async (stage, queue) => {
    const given = await stage.giveAll(queue, stage.envelopes(3))
    await finish(queue, [given[1]!])
    const { lost } = await queue.extend(given)
    assert.deepEqual(lost, [given[1]!.fence])
    await finish(queue, [given[0]!, given[2]!])
  }),
]

const releasing: readonly CaseOfContract[] = [
  leased('what was not started keeps its place and does not count', async (stage, queue) => {
    const envelopes = stage.envelopes(6)
    await stage.fill(queue, envelopes)
    for (let turn = 0; turn < 5; turn++) {
      const given = await stage.take(queue, 3)
      assert.deepEqual(idsOf(given), idsOf(envelopes.slice(0, 3)))
      for (const { deliveries, envelope } of given) {
        assert.equal(deliveries, 1)
        assert.equal(envelope.retryCount, 0)
      }
      const statuses = await queue.release(given, { reason: 'unstarted' })
      assert.deepEqual(statuses, ['done', 'done', 'done'])
    }
    assert.deepEqual(idsOf(await stage.take(queue, 6)), idsOf(envelopes))
  }),
  leased('what was not started is given to anybody', async (stage, one, two) => {
    const given = await stage.giveAll(one, stage.envelopes(5))
    const wait = two.lease(stage.request({ waitMs: 10_000 }))
    await one.release(given, { reason: 'unstarted' })
    const again = await wait
    again.push(...(await stage.take(two, 5 - again.length)))
    assert.deepEqual(idsOf(again), idsOf(given))
    const results = given.map((delivery) => ({ delivery, result: successOf(delivery, one) }))
    const stale = await one.completeMany(results)
    assert.deepEqual(new Set(stale), new Set(['stale']))
    await finish(two, again)
  }),
  always(
    'a release for no known reason is refused, and the command stays',
    async (stage, queue) => {
      const delivery = await stage.give(queue)
      for (const reason of ['RETRY', '', undefined] as unknown as 'retry'[]) {
        await refused(`the reason ${reason}`, queue.release([delivery], { reason }))
      }
      await finish(queue, [delivery])
    },
  ),
  always('a retry counts a failure', async (stage, queue) => {
    await stage.fill(queue, [stage.envelope({ retryCount: 1 })])
    for (const retryCount of [1, 2, 3, 4, 5]) {
      const delivery = await stage.takeOne(queue)
      assert.equal(delivery.envelope.retryCount, retryCount)
      assert.equal(delivery.deliveries, 1)
      assert.deepEqual(await queue.release([delivery], { reason: 'retry' }), ['done'])
      assert.deepEqual(await queue.release([delivery], { reason: 'retry' }), ['stale'])
    }
    const last = await stage.takeOne(queue)
    assert.equal(last.envelope.retryCount, 6)
    await finish(queue, [last])
  }),
  always('a retry leaves the rest of a command as it was', async (stage, queue) => {
    const envelope = stage.envelope({ priority: 7, submitter: 'me', payload: [1, 'two'] })
    await queue.release(await stage.giveAll(queue, [envelope]), { reason: 'retry' })
    const { envelope: again } = await stage.takeOne(queue)
    for (const [member, value] of Object.entries({ ...envelope, retryCount: 1 })) {
      assert.deepEqual(again[member as keyof CommandEnvelope], value, member)
    }
  }),
  where({ needs: ['delay', 'leases'] })(
    'a released command is kept back for its delay',
    async (stage, queue) => {
      const envelope = stage.envelope()
      const [late, other] = await stage.giveAll(queue, [envelope, stage.envelope()])
      const startMs = nowMs()
      await queue.release([late!], { reason: 'retry', delayMs: 250 })
      await holds(queue, { delayed: 1 })
      await finish(queue, [other!])
      const again = await stage.takeOne(queue)
      assert.equal(again.envelope.id, envelope.id)
      assert.equal(again.envelope.retryCount, 1)
      const waitedMs = nowMs() - startMs
      assert.ok(waitedMs >= 240 && waitedMs < 5000, `${waitedMs} ms`)
    },
  ),
  delaying('a worker that waits is given what was kept back meanwhile', async (stage, queue) => {
    const [delivery] = await stage.giveAll(queue, stage.envelopes(1))
    await queue.release([delivery!], { reason: 'retry', delayMs: 100 })
    const startMs = nowMs()
    const [again] = await queue.lease(stage.request({ waitMs: 10_000 }))
    assert.equal(again?.envelope.id, delivery!.envelope.id)
    assert.ok(nowMs() - startMs < 5000)
  }),
  delaying('what was kept back has lost its place', async (stage, queue) => {
    const envelopes = stage.envelopes(3)
    await stage.fill(queue, envelopes)
    await queue.release(await stage.take(queue, 1), { reason: 'unstarted', delayMs: 50 })
    await pause(150)
    const given = await stage.take(queue, 3)
    assert.deepEqual(
      idsOf(given),
      [1, 2, 0].map((index) => envelopes[index]!.id),
    )
  }),
  where({ needs: ['delay', 'leases'] })(
    'of delays the shorter ends first',
    async (stage, queue) => {
      const given = await stage.giveAll(queue, stage.envelopes(3))
      await queue.release([given[0]!], { reason: 'unstarted', delayMs: 300 })
      await queue.release([given[1]!], { reason: 'crash', delayMs: 200 })
      await queue.release([given[2]!], { reason: 'retry', delayMs: 100 })
      const again = await stage.take(queue, 3, { max: 1 })
      assert.deepEqual(idsOf(again), idsOf(given).toReversed())
      assert.deepEqual(
        again.map(({ deliveries }) => deliveries),
        [1, 2, 1],
      )
    },
  ),
  leased('a crash counts a delivery and no failure', async (stage, queue) => {
    const first = await stage.give(queue)
    assert.deepEqual(await queue.release([first], { reason: 'crash' }), ['done'])
    const second = await stage.takeOne(queue)
    assert.equal(second.deliveries, 2)
    assert.equal(second.envelope.retryCount, 0)
    assert.notEqual(second.fence, first.fence)
  }),
  leased('crashes are counted anew after a failure', async (stage, queue) => {
    await stage.fill(queue, stage.envelopes(1))
    for (let turn = 0; turn < 3; turn++) {
      for (const deliveries of [1, 2]) {
        const delivery = await stage.takeOne(queue)
        assert.equal(delivery.deliveries, deliveries)
        await queue.release([delivery], { reason: 'crash' })
      }
      const third = await stage.takeOne(queue)
      assert.equal(third.deliveries, 3)
      await queue.release([third], { reason: 'retry' })
    }
    const last = await stage.takeOne(queue)
    assert.equal(last.deliveries, 1)
    assert.equal(last.envelope.retryCount, 3)
  }),
]

/** Completion, extension and giving back. */
export const SETTLE_CASES: readonly CaseOfContract[] = [
  ...completing,
  ...ageing,
  ...extending,
  ...releasing,
]
