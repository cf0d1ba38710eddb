// Expiry cases: the commands of workers that die, freeze, or act at random.

import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { nowMs } from '../../base/clock.ts'
import { randomFrom } from '../../base/random.ts'
import type { Delivery, LeasedQueue } from '../contract/distributed-queue.ts'
import { ContractCases } from './contract-case.ts'
import { complete, endOf, finish, holds, stale } from './contract-moves.ts'
import { type ContractStage, idsOf, matches, pause, referenceTo } from './contract-stage.ts'

const BRIEFLY = { needs: ['leases'], leaseMs: 500, maxDeliveries: 3 } as const

/** Tells that commands start, and is sure that they still may. */
async function started(queue: LeasedQueue, deliveries: readonly Delivery[]): Promise<void> {
  const done = deliveries.map(() => 'done')
  assert.deepEqual(await queue.start(deliveries), done)
}

const COMMANDS = 200
const PATIENCE_MS = 25_000

/** What the workers did, for the judge. */
interface Ledger {
  /** The id of each completion that counted. */
  readonly done: string[]
  readonly fences: Set<string>
  /** Completions that are kept until their lease has ended. */
  readonly late: Promise<void>[]
}

async function meddle(
  queue: LeasedQueue,
  delivery: Delivery,
  ledger: Ledger,
  chance: number,
): Promise<void> {
  const { id } = delivery.envelope
  assert.ok(!ledger.fences.has(`${id}/${delivery.fence}`), `a fence of ${id} came twice`)
  ledger.fences.add(`${id}/${delivery.fence}`)
  const end = async (): Promise<void> => {
    if ((await complete(queue, delivery, id)) === 'done') ledger.done.push(id)
  }
  if (chance < 0.1) await queue.release([delivery], { reason: 'retry' })
  else if (chance < 0.2) await queue.release([delivery], { reason: 'unstarted' })
  else if (chance < 0.3) await queue.release([delivery], { reason: 'crash' })
  else if (chance < 0.4) {
    await queue.extend([delivery])
    await end()
  } else if (chance < 0.45) ledger.late.push(pause(queue.leaseMs * 1.2).then(end))
  else if (chance >= 0.5) await end()
  // Between the two it is forgotten, as by a worker that dies.
}

async function riot(stage: ContractStage, seed: number): Promise<void> {
  const queues = await stage.workers('w1', 'w2', 'w3')
  const received = new Set<string>()
  if (queues[0]!.capabilities.results) {
    await queues[0]!.announce('me', ({ commandId }) => received.add(commandId))
  }
  const envelopes = stage.spread(COMMANDS / 4, { submitter: 'me' })
  await stage.fill(queues[0]!, envelopes)
  const ledger: Ledger = { done: [], fences: new Set(), late: [] }
  const endMs = nowMs() + PATIENCE_MS
  await Promise.all(
    queues.map(async (queue, index) => {
      const chance = randomFrom(seed + index)
      while (ledger.done.length < COMMANDS) {
        assert.ok(nowMs() < endMs, `only ${ledger.done.length} of ${COMMANDS} commands ended`)
        const given = await queue.lease(stage.request({ max: 10, waitMs: 20 }))
        for (const delivery of given) await meddle(queue, delivery, ledger, chance())
      }
    }),
  )
  await Promise.all(ledger.late)
  assert.deepEqual(ledger.done.toSorted(), idsOf(envelopes).toSorted())
  await stage.nothing(queues[1]!)
  const states = await queues[2]!.look(envelopes.map(referenceTo))
  assert.deepEqual(new Set(states.map(({ state }) => state)), new Set(['ended']))
  await holds(queues[1]!, { waiting: 0, leased: 0, delayed: 0, dead: 0 })
  if (queues[0]!.capabilities.results) {
    await stage.until('all results arrive', () => received.size === COMMANDS)
  }
}

export const EXPIRY_CASES = new ContractCases()

EXPIRY_CASES.where(BRIEFLY)({
  async 'a command whose lease has expired is given out under another fence'(stage, one, two) {
    const late = await stage.give(one, { submitter: 'me' })
    const fresh = await stage.takeOne(two)
    assert.equal(fresh.envelope.id, late.envelope.id)
    assert.notEqual(fresh.fence, late.fence)
    assert.deepEqual([late.deliveries, fresh.deliveries], [1, 2])
    assert.equal(fresh.envelope.retryCount, 0)
    // A worker that has lost its lease has no say in the command any more.
    await stale(one, late)
    assert.deepEqual((await two.extend([fresh])).lost, [])
    await finish(two, [fresh])
    assert.equal(await complete(one, late, 'from a zombie'), 'stale')
    const { success, workerId } = await endOf(one, late.envelope)
    assert.deepEqual([success, workerId], [true, two.workerId])
    assert.deepEqual(await two.dead.list(), [])
  },
  async 'the same worker is given its expired command under another fence too'(stage, queue) {
    const late = await stage.give(queue)
    const fresh = await stage.takeOne(queue)
    assert.notEqual(fresh.fence, late.fence)
    assert.equal(await complete(queue, late), 'stale')
    await finish(queue, [fresh])
  },
  async 'a worker that waits is given what expires meanwhile'(stage, one, two) {
    const late = await stage.give(one)
    assert.deepEqual(idsOf(await stage.woken(two)), [late.envelope.id])
  },
  async 'expired commands come before younger ones, in their order'(stage, one, two) {
    const old = stage.envelopes(5)
    await stage.giveAll(one, old)
    const young = await stage.fill(one, stage.envelopes(5))
    await pause(550)
    const given = await stage.take(two, 10)
    assert.deepEqual(idsOf(given), idsOf([...old, ...young]))
  },
  async 'a failed run after an expiry begins the count of deliveries again'(stage, one, two) {
    await stage.give(one)
    await two.release([await stage.takeOne(two)], { reason: 'retry' })
    const again = await stage.takeOne(two)
    assert.equal(again.deliveries, 1)
    assert.equal(again.envelope.retryCount, 1)
  },
  async 'what dead workers had not started does not count as delivered'(stage, one, two, three) {
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
})

EXPIRY_CASES.where({ needs: ['leases'], leaseMs: 800 })({
  async 'no lease expires before its time'(stage, one, two) {
    const given = await stage.give(one)
    assert.deepEqual(await two.lease(stage.request({ waitMs: 200 })), [])
    await finish(one, [given])
  },
  async 'many leases that expire together are all given out again'(stage, one, two) {
    const kept = (await stage.giveAll(one, stage.spread(100))).slice(0, 100)
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
})

EXPIRY_CASES.where({ needs: ['leases', 'results'], leaseMs: 250, maxDeliveries: 2 })({
  async 'a command whose workers keep dying dies, and its submitter receives why'(stage, one, two) {
    const envelope = stage.envelope({ submitter: 'me' })
    const received = await stage.resultsOf(two)
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
    for (const result of [received[0]!, await endOf(one, envelope)]) {
      matches(result, { commandId: envelope.id, success: false })
      assert.equal(result.error?.code, 'CORELANE_POISONED')
    }
  },
})

EXPIRY_CASES.where({ needs: ['leases'], maxDeliveries: 1 })({
  async 'a poisoned command that is redriven may die as often again'(stage, queue) {
    const envelope = await stage.put(queue)
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
})

EXPIRY_CASES.where({ needs: ['leases'], leaseMs: 20_000, maxDeliveries: 3 })({
  async 'a start that is reported twice counts once, and not if it is taken back'(stage, queue) {
    await stage.put(queue)
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
  async 'crashes of threads count towards the same end'(stage, queue) {
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
})

EXPIRY_CASES.where({ needs: ['leases'], leaseMs: 500, maxDeliveries: 2 })({
  async 'where two deliveries are allowed the first counts from its start on too'(stage, one, two) {
    const first = await stage.giveAll(one, stage.envelopes(4))
    assert.ok(first.every(({ countsAtStart }) => countsAtStart))
    await started(one, first.slice(0, 1))
    stage.kill(one)
    const second = await stage.take(two, 4)
    const byId = new Map(second.map(({ envelope, deliveries }) => [envelope.id, deliveries]))
    const counts = first.map(({ envelope }) => byId.get(envelope.id))
    assert.deepEqual(counts, [2, 1, 1, 1])
    await finish(two, second)
  },
})

EXPIRY_CASES.where({ needs: ['leases'], leaseMs: 300, maxDeliveries: 1000 })({
  async 'whatever workers do and leave, each command ends once'(stage) {
    const seed = randomInt(2 ** 31)
    try {
      await riot(stage, seed)
    } catch (error) {
      throw new Error(`with seed ${seed}: ${(error as Error).message}`, { cause: error })
    }
  },
})
