// Expiry cases: what happens to the commands of workers that die or freeze.

import assert from 'node:assert/strict'
import { nowMs } from '../../base/clock.ts'
import type { Delivery, LeasedQueue } from '../contract/distributed-queue.ts'
import { type CaseOfContract, where } from './contract-case.ts'
import {
  type ContractStage,
  complete,
  failureOf,
  finish,
  holds,
  idsOf,
  pause,
  referenceTo,
  stateOf,
} from './contract-stage.ts'

const brieflyLeased = where({ needs: ['leases'], leaseMs: 500 })
const NEEDS = ['leases'] as const

/** One worker takes a command and freezes; another is given it. */
async function handedOn(
  stage: ContractStage,
): Promise<{ one: LeasedQueue; two: LeasedQueue; late: Delivery; fresh: Delivery }> {
  const [one, two] = await stage.workers('w1', 'w2')
  const late = (await stage.giveAll(one!, [stage.envelope({ submitter: 'me' })]))[0]!
  const fresh = await stage.takeOne(two!)
  assert.equal(fresh.envelope.id, late.envelope.id)
  return { one: one!, two: two!, late, fresh }
}

const expiring: readonly CaseOfContract[] = [
  brieflyLeased(
    'a command whose lease has expired is given out again, under another fence',
    async (stage) => {
      const { late, fresh, two } = await handedOn(stage)
      assert.notEqual(fresh.fence, late.fence)
      assert.equal(late.deliveries, 1)
      assert.equal(fresh.deliveries, 2)
      assert.equal(fresh.envelope.retryCount, 0)
      await finish(two, [fresh])
    },
  ),
  brieflyLeased(
    'the same worker is given its expired command under another fence too',
    async (stage, queue) => {
      const late = await stage.give(queue)
      const fresh = await stage.takeOne(queue)
      assert.notEqual(fresh.fence, late.fence)
      assert.equal(await complete(queue, late), 'stale')
      await finish(queue, [fresh])
    },
  ),
  brieflyLeased('a worker that waits is given what expires meanwhile', async (stage, one, two) => {
    const late = await stage.give(one)
    const startMs = nowMs()
    const [fresh] = await two.lease(stage.request({ waitMs: 10_000 }))
    assert.equal(fresh?.envelope.id, late.envelope.id)
    assert.ok(nowMs() - startMs < 5000)
  }),
  where({ needs: NEEDS, leaseMs: 800 })(
    'no lease expires before its time',
    async (stage, one, two) => {
      const given = await stage.give(one)
      assert.deepEqual(await two.lease(stage.request({ waitMs: 200 })), [])
      await finish(one, [given])
    },
  ),
  brieflyLeased(
    'expired commands come before younger ones, in their order',
    async (stage, one, two) => {
      const old = stage.envelopes(5)
      await stage.giveAll(one, old)
      const young = stage.envelopes(5)
      await stage.fill(one, young)
      await pause(550)
      const given = await stage.take(two, 10)
      assert.deepEqual(idsOf(given), idsOf([...old, ...young]))
    },
  ),
  brieflyLeased(
    'a worker that has lost its lease cannot extend, complete, release or dead-letter',
    async (stage) => {
      const { one, two, late, fresh } = await handedOn(stage)
      assert.deepEqual((await one.extend([late])).lost, [late.fence])
      const result = failureOf(late, one, 'from a zombie')
      assert.deepEqual(await one.completeMany([{ delivery: late, result }]), ['stale'])
      for (const reason of ['retry', 'unstarted', 'crash'] as const) {
        assert.deepEqual(await one.release([late], { reason }), ['stale'])
      }
      assert.equal(await one.deadLetter(late, 'zombie', result), 'stale')
      assert.deepEqual((await two.extend([fresh])).lost, [])
      await finish(two, [fresh])
      const state = await stateOf(two, fresh.envelope)
      assert.ok(state?.state === 'ended' && state.result.success)
      assert.deepEqual(await two.dead.list(), [])
    },
  ),
  brieflyLeased(
    'a zombie that completes after the second worker changes nothing',
    async (stage) => {
      const { one, two, late, fresh } = await handedOn(stage)
      await finish(two, [fresh])
      const result = failureOf(late, one, 'from a zombie')
      assert.deepEqual(await one.completeMany([{ delivery: late, result }]), ['stale'])
      const state = await stateOf(one, late.envelope)
      assert.ok(state?.state === 'ended')
      assert.equal(state.result.workerId, two.workerId)
    },
  ),
  brieflyLeased(
    'a failed run after an expiry begins the count of deliveries again',
    async (stage) => {
      const { two, fresh } = await handedOn(stage)
      await two.release([fresh], { reason: 'retry' })
      const again = await stage.takeOne(two)
      assert.equal(again.deliveries, 1)
      assert.equal(again.envelope.retryCount, 1)
    },
  ),
  where({ needs: NEEDS, leaseMs: 800 })(
    'many leases that expire together are all given out again',
    async (stage, one, two) => {
      const envelopes = [0, 1, 2, 3].flatMap((partitionId) => stage.envelopes(100, { partitionId }))
      const kept = (await stage.giveAll(one, envelopes)).slice(0, 100)
      await finish(one, kept)
      stage.kill(one)
      const again: Delivery[] = []
      while (again.length < 300) {
        const some = await stage.take(two, Math.min(50, 300 - again.length))
        await finish(two, some)
        again.push(...some)
      }
      assert.equal(new Set([...idsOf(kept), ...idsOf(again)]).size, 400)
      await stage.nothing(two)
    },
  ),
]

const poison: readonly CaseOfContract[] = [
  where({ needs: [...NEEDS, 'results'], leaseMs: 250, maxDeliveries: 2 })(
    'a command whose workers keep dying is dead-lettered, and its submitter receives why',
    async (stage, one, two) => {
      const envelope = stage.envelope({ submitter: 'me' })
      const received: string[] = []
      await two.announce('me', ({ commandId, success, error }) => {
        received.push(`${commandId} ${success} ${error?.code}`)
      })
      await stage.fill(one, [envelope])
      for (const deliveries of [1, 2]) {
        const delivery = await stage.takeOne(one)
        assert.equal(delivery.deliveries, deliveries)
        await started(one, [delivery])
      }
      await stage.until('it is dead', async () => {
        await stage.nothing(two)
        return (await two.dead.list()).length === 1
      })
      const [dead] = await two.dead.list()
      assert.equal(dead!.envelope.id, envelope.id)
      assert.equal(dead!.reason, 'deliveries spent')
      await stage.until('the result arrives', () => received.length > 0)
      assert.equal(received[0], `${envelope.id} false CORELANE_POISONED`)
      const state = await stateOf(one, envelope)
      assert.ok(state?.state === 'ended')
      assert.equal(state.result.error?.code, 'CORELANE_POISONED')
    },
  ),
  where({ needs: NEEDS, maxDeliveries: 3 })(
    'crashes of threads count towards the same end',
    async (stage, queue) => {
      await stage.fill(queue, stage.envelopes(2))
      for (const deliveries of [1, 2, 3]) {
        const [delivery] = await queue.lease(stage.request({ max: 1 }))
        assert.equal(delivery!.deliveries, deliveries)
        await queue.release([delivery!], { reason: 'crash' })
      }
      // The next lease sees to it at the latest, and goes on with what comes after.
      await stage.takeOne(queue)
      await stage.nothing(queue)
      assert.equal((await queue.dead.list()).length, 1)
      await holds(queue, { dead: 1 })
    },
  ),
  where({ needs: NEEDS, maxDeliveries: 1 })(
    'a poisoned command that is redriven may die as often again',
    async (stage, queue) => {
      const envelope = stage.envelope()
      await stage.fill(queue, [envelope])
      for (let turn = 0; turn < 2; turn++) {
        const delivery = await stage.takeOne(queue)
        assert.equal(delivery.deliveries, 1)
        await queue.release([delivery], { reason: 'crash' })
        await stage.nothing(queue)
        assert.equal((await queue.dead.list()).length, 1)
        assert.equal(await queue.dead.redrive([referenceTo(envelope)]), 1)
      }
      await finish(queue, await stage.take(queue, 1))
    },
  ),
]

const starting: readonly CaseOfContract[] = [
  where({ needs: NEEDS, leaseMs: 500, maxDeliveries: 3 })(
    'what a worker that died had not started is no nearer to its last delivery',
    async (stage, one, two, three) => {
      await stage.giveAll(one, stage.envelopes(10))
      stage.kill(one)
      // The first delivery may count from the moment it is given out, but no further one.
      const second = await stage.take(two, 10)
      assert.ok(second.every(({ deliveries }) => deliveries <= 2))
      const begun = second.slice(0, 3)
      await started(two, begun)
      stage.kill(two)
      const third = await stage.take(three, 10)
      const last = third.filter(({ deliveries }) => deliveries === 3)
      assert.deepEqual(idsOf(last).toSorted(), idsOf(begun).toSorted())
      await finish(three, third)
    },
  ),
  where({ needs: NEEDS, leaseMs: 20_000, maxDeliveries: 3 })(
    'a start that is reported twice counts once, and not at all if it is given back as unstarted',
    async (stage, queue) => {
      await stage.fill(queue, stage.envelopes(1))
      await queue.release([await stage.takeOne(queue)], { reason: 'crash' })
      for (let turn = 0; turn < 3; turn++) {
        const delivery = await stage.takeOne(queue)
        assert.equal(delivery.deliveries, 2)
        assert.equal(delivery.countsAtStart, true)
        await started(queue, [delivery])
        await started(queue, [delivery])
        assert.deepEqual((await queue.extend([delivery])).lost, [])
        await queue.release([delivery], { reason: 'unstarted' })
      }
      const second = await stage.takeOne(queue)
      await started(queue, [second])
      await queue.release([second], { reason: 'crash' })
      const third = await stage.takeOne(queue)
      assert.equal(third.deliveries, 3)
      await queue.release([third], { reason: 'retry' })
      assert.equal((await stage.takeOne(queue)).deliveries, 1)
    },
  ),
  where({ needs: NEEDS, leaseMs: 500, maxDeliveries: 2 })(
    'where two deliveries are allowed the first counts from its start on too',
    async (stage, one, two) => {
      const first = await stage.giveAll(one, stage.envelopes(4))
      assert.ok(first.every(({ countsAtStart }) => countsAtStart))
      await started(one, first.slice(0, 1))
      stage.kill(one)
      const second = await stage.take(two, 4)
      const byId = new Map(second.map(({ envelope, deliveries }) => [envelope.id, deliveries]))
      assert.deepEqual(
        first.map(({ envelope }) => byId.get(envelope.id)),
        [2, 1, 1, 1],
      )
      await finish(two, second)
    },
  ),
  brieflyLeased('a worker that has lost its lease starts nothing', async (stage) => {
    const { one, two, late, fresh } = await handedOn(stage)
    assert.deepEqual(await one.start([late]), ['stale'])
    await started(two, [fresh])
    await finish(two, [fresh])
    assert.deepEqual(await two.start([fresh]), ['stale'])
  }),
]

/** Tells that commands start, and is sure that they still may. */
async function started(queue: LeasedQueue, deliveries: readonly Delivery[]): Promise<void> {
  assert.deepEqual(
    await queue.start(deliveries),
    deliveries.map(() => 'done'),
  )
}

/** What happens to the commands of workers that die or freeze. */
export const EXPIRY_CASES: readonly CaseOfContract[] = [...expiring, ...poison, ...starting]
