// End cases: completion, extension and giving back; dead commands, results, and how a queue answers
// for a command.

import assert from 'node:assert/strict'
import { epochMs, nowMs } from '../../base/clock.ts'
import type { Delivery, LeasedQueue } from '../contract/distributed-queue.ts'
import { ContractCases } from './contract-case.ts'
import {
  complete,
  deadLetter,
  endOf,
  finish,
  holds,
  refused,
  stale,
  stateOf,
} from './contract-moves.ts'
import { failureOf, idsOf, matches, pause, referenceTo, successOf } from './contract-stage.ts'

/** The engine's clock may count whole milliseconds. */
const AGE_SLACK_MS = 20

/** Members without those that are undefined. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

/** Dead-letters deliveries at moments of which none is another's. */
async function deadLetterAll(queue: LeasedQueue, deliveries: readonly Delivery[]): Promise<void> {
  for (const delivery of deliveries) {
    await deadLetter(queue, delivery)
    await pause(3)
  }
}

export const END_CASES = new ContractCases()

END_CASES.where({})({
  async 'a second completion is stale'(stage, queue) {
    const [first, second] = await stage.giveAll(queue, stage.envelopes(2))
    await finish(queue, [first!])
    const statuses = await queue.completeMany([
      { delivery: first!, result: failureOf(first!, queue, 'too late') },
      { delivery: second!, result: successOf(second!, queue) },
      { delivery: second!, result: successOf(second!, queue, 'another') },
    ])
    assert.deepEqual(statuses, ['stale', 'done', 'stale'])
  },
  async 'a fence that was never given out is stale, and the command stays'(stage, queue) {
    const delivery = await stage.give(queue)
    const forged = { ...delivery, fence: `${delivery.fence}0` }
    await stale(queue, forged)
    await finish(queue, [delivery])
  },
  async 'nothing can be done with a command that has ended'(stage, queue) {
    const delivery = await stage.give(queue)
    await finish(queue, [delivery])
    await stale(queue, delivery)
    await stage.nothing(queue)
  },
  async 'a release for no known reason is refused, and the command stays'(stage, queue) {
    const delivery = await stage.give(queue)
    for (const reason of ['RETRY', '', undefined] as unknown as 'retry'[]) {
      await refused(`the reason ${reason}`, queue.release([delivery], { reason }))
    }
    await finish(queue, [delivery])
  },
  async 'a retry counts a failure, and leaves the rest of a command as it was'(stage, queue) {
    const members = { retryCount: 1, priority: 7, submitter: 'me', payload: [1, 'two'] }
    const envelope = await stage.put(queue, members)
    for (const retryCount of [1, 2, 3, 4, 5]) {
      const delivery = await stage.takeOne(queue)
      assert.equal(delivery.envelope.retryCount, retryCount)
      assert.equal(delivery.deliveries, 1)
      assert.deepEqual(await queue.release([delivery], { reason: 'retry' }), ['done'])
      assert.deepEqual(await queue.release([delivery], { reason: 'retry' }), ['stale'])
    }
    const last = await stage.takeOne(queue)
    matches(last.envelope, { ...envelope, retryCount: 6 })
    await finish(queue, [last])
  },
})

END_CASES.where({ needs: ['leases', 'ages'] })({
  async 'the age of a command goes by the clock of the queue, and a retry keeps it'(stage, queue) {
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
})

END_CASES.where({ needs: ['leases'], leaseMs: 1600 })({
  async 'a lease that is extended does not expire'(stage, one, two) {
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
})

END_CASES.where({ needs: ['leases'] })({
  async 'extension names those that are lost and keeps the others'(stage, queue) {
    const given = await stage.giveAll(queue, stage.envelopes(3))
    await finish(queue, [given[1]!])
    const { lost } = await queue.extend(given)
    assert.deepEqual(lost, [given[1]!.fence])
    await finish(queue, [given[0]!, given[2]!])
  },
  async 'what was not started keeps its place and does not count'(stage, queue) {
    const envelopes = await stage.fill(queue, stage.envelopes(6))
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
  },
  async 'what was not started is given to anybody'(stage, one, two) {
    const given = await stage.giveAll(one, stage.envelopes(5))
    const wait = stage.woken(two)
    await one.release(given, { reason: 'unstarted' })
    const again = await wait
    again.push(...(await stage.take(two, 5 - again.length)))
    assert.deepEqual(idsOf(again), idsOf(given))
    const results = given.map((delivery) => ({ delivery, result: successOf(delivery, one) }))
    const stale = await one.completeMany(results)
    assert.deepEqual(new Set(stale), new Set(['stale']))
    await finish(two, again)
  },
  async 'crashes are counted anew after a failure'(stage, queue) {
    await stage.put(queue)
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
  },
  async 'a dead-lettered command is listed and not given out'(stage, queue) {
    const delivery = await stage.give(queue, { payload: { kept: true } })
    const { envelope } = delivery
    const result = failureOf(delivery, queue, 'no good')
    assert.equal(await queue.deadLetter(delivery, 'retries spent', result), 'done')
    assert.equal(await queue.deadLetter(delivery, 'again', result), 'stale')
    await stage.nothing(queue)
    const [letter, ...others] = await queue.dead.list()
    assert.equal(others.length, 0)
    matches(letter!.envelope, { id: envelope.id, payload: envelope.payload })
    assert.equal(letter!.reason, 'retries spent')
    assert.equal(letter!.result?.error?.message, 'no good')
    assert.ok(Math.abs(letter!.diedAt - envelope.createdAt) < 60_000)
  },
  async 'dead commands are listed the oldest first, as many as asked for'(stage, queue) {
    const given = await stage.giveAll(queue, stage.envelopes(5))
    await deadLetterAll(queue, given)
    const ids = idsOf(given)
    const listed = async (max?: number) => idsOf(await queue.dead.list(max))
    assert.deepEqual(await listed(), ids)
    assert.deepEqual(await listed(2), ids.slice(0, 2))
  },
  async 'a redriven command starts as if nothing had been'(stage, queue) {
    const delivery = await stage.give(queue, { retryCount: 4, payload: 'same' })
    const { envelope } = delivery
    await deadLetter(queue, delivery, 'retries spent')
    const wait = stage.woken(queue)
    assert.equal(await queue.dead.redrive([referenceTo(envelope)]), 1)
    const [again] = await wait
    matches(again!.envelope, { id: envelope.id, retryCount: 0, payload: 'same' })
    assert.equal(again!.deliveries, 1)
    assert.deepEqual(await queue.dead.list(), [])
    assert.deepEqual(await stateOf(queue, envelope), { state: 'pending' })
    await finish(queue, [again!])
    assert.ok((await endOf(queue, envelope)).success)
  },
  async 'dropped commands are forgotten, and dead ones found by their ids'(stage, queue) {
    const envelopes = [0, 2, 3, 1].map((partitionId) => stage.envelope({ partitionId }))
    const given = await stage.giveAll(queue, envelopes)
    given.sort((one, other) => (one.envelope.id < other.envelope.id ? -1 : 1))
    await deadLetterAll(queue, given)
    const [a, b, c, d] = envelopes.map(referenceTo)
    const unknown = { commandId: 'unknown', partitionId: 0 }
    assert.equal(await queue.dead.drop([a!, unknown, 'unknown']), 1)
    assert.equal(await queue.dead.redrive([a!, b!.commandId, unknown, 'unknown']), 1)
    assert.equal(await queue.dead.drop([b!, b!.commandId]), 0)
    assert.deepEqual(idsOf(await queue.dead.list()), [c!.commandId, d!.commandId])
    assert.equal((await stage.takeOne(queue)).envelope.id, b!.commandId)
    assert.equal(await queue.dead.drop([c!.commandId, d!]), 2)
    assert.deepEqual(await queue.dead.list(), [])
    assert.equal(await queue.dead.redrive([c!.commandId]), 0)
  },
})

END_CASES.where({ needs: ['delay', 'leases'] })({
  async 'a released command is kept back for its delay'(stage, queue) {
    const envelope = stage.envelope()
    const [late, other] = await stage.giveAll(queue, [envelope, stage.envelope()])
    const startMs = nowMs()
    await queue.release([late!], { reason: 'retry', delayMs: 250 })
    await holds(queue, { delayed: 1 })
    assert.deepEqual(await stateOf(queue, envelope), { state: 'pending' })
    await finish(queue, [other!])
    const again = await stage.takeOne(queue)
    assert.equal(again.envelope.id, envelope.id)
    assert.equal(again.envelope.retryCount, 1)
    const waitedMs = nowMs() - startMs
    assert.ok(waitedMs >= 240 && waitedMs < 5000, `${waitedMs} ms`)
  },
  async 'of delays the shorter ends first'(stage, queue) {
    const given = await stage.giveAll(queue, stage.envelopes(3))
    // All at once: a machine that is busy in between would shift the moments at which they end.
    const releases = (['unstarted', 'crash', 'retry'] as const).map((reason, i) =>
      queue.release([given[i]!], { reason, delayMs: 300 - 100 * i }),
    )
    await Promise.all(releases)
    const again = await stage.take(queue, 3, { max: 1 })
    assert.deepEqual(idsOf(again), idsOf(given).toReversed())
    const counts = again.map(({ deliveries }) => deliveries)
    assert.deepEqual(counts, [1, 2, 1])
  },
})

END_CASES.where({ needs: ['delay'] })({
  async 'a worker that waits is given what was kept back meanwhile'(stage, queue) {
    const delivery = await stage.give(queue)
    await queue.release([delivery], { reason: 'retry', delayMs: 100 })
    assert.deepEqual(idsOf(await stage.woken(queue)), [delivery.envelope.id])
  },
  async 'what was kept back has lost its place'(stage, queue) {
    const envelopes = await stage.fill(queue, stage.envelopes(3))
    await queue.release(await stage.take(queue, 1), { reason: 'unstarted', delayMs: 50 })
    await pause(150)
    const given = await stage.take(queue, 3)
    assert.deepEqual(idsOf(given), idsOf([1, 2, 0].map((index) => envelopes[index]!)))
  },
})

END_CASES.where({ needs: ['results'] })({
  async 'a submitter gets the result of a dead letter'(stage, queue) {
    const received = await stage.resultsOf(queue)
    const delivery = await stage.give(queue, { submitter: 'me' })
    await deadLetter(queue, delivery, 'no use', 'broken')
    await stage.until('the result arrives', () => received.length === 1)
    assert.equal(received[0]!.success, false)
    assert.equal(received[0]!.error?.message, 'broken')
    await endOf(queue, delivery.envelope)
  },
  async 'a result reaches its submitter, and no other'(stage, queue) {
    const received = await stage.resultsOf(queue)
    const others = await stage.resultsOf(queue, 'you')
    await stage.fill(queue, [stage.envelope({ submitter: 'me' }), stage.envelope()])
    const given = await stage.take(queue, 2)
    const expected = given.map((delivery) => successOf(delivery, queue, { sum: 42 }))
    await queue.completeMany(given.map((delivery, i) => ({ delivery, result: expected[i]! })))
    await stage.until('the result arrives', () => received.length > 0)
    await pause(30)
    assert.equal(received.length, 1)
    matches(expected[0]!, received[0]!)
    assert.deepEqual(others, [])
  },
  async 'a failure keeps its error'(stage, queue) {
    const received = await stage.resultsOf(queue)
    const delivery = await stage.give(queue, { submitter: 'me' })
    const error = {
      name: 'RangeError',
      message: 'außer Rand',
      stack: 'RangeError: außer Rand\n    at x.js:1:1',
      code: 'E_RANGE',
      own: { limit: 3 },
      cause: { name: 'Error', message: 'below' },
    }
    const result = { ...failureOf(delivery, queue, ''), error }
    await queue.completeMany([{ delivery, result }])
    await stage.until('the result arrives', () => received.length === 1)
    assert.deepEqual(plain(received[0]!.error), error)
  },
  async 'every listener of a submitter receives results, until it ends'(stage, queue) {
    const first: string[] = []
    const second: string[] = []
    const end = await queue.announce('me', ({ commandId }) => first.push(commandId))
    await queue.announce('me', ({ commandId }) => second.push(commandId))
    const [a, b] = await stage.giveAll(queue, stage.envelopes(2, { submitter: 'me' }))
    await finish(queue, [a!])
    await stage.until('both receive it', () => first.length === 1 && second.length === 1)
    await end()
    await finish(queue, [b!])
    await stage.until('the second receives it', () => second.length === 2)
    assert.deepEqual(first, [a!.envelope.id])
  },
  async 'what a queue knows of a command: pending, ended, unknown'(stage, queue) {
    const envelope = stage.envelope({ submitter: 'me' })
    const missing = referenceTo(stage.envelope())
    assert.deepEqual(await stateOf(queue, envelope), { state: 'unknown' })
    await stage.fill(queue, [envelope])
    const look = () => queue.look([missing, referenceTo(envelope)])
    assert.deepEqual(await look(), [{ state: 'unknown' }, { state: 'pending' }])
    const delivery = await stage.takeOne(queue)
    assert.deepEqual(await look(), [{ state: 'unknown' }, { state: 'pending' }])
    await complete(queue, delivery, [1, 'two'])
    const [unknown, ended] = await look()
    assert.deepEqual(unknown, { state: 'unknown' })
    assert.ok(ended?.state === 'ended')
    matches(ended.result, { success: true, value: [1, 'two'], durationMs: 1.5 })
  },
})

END_CASES.where({ needs: ['maxBytes'] })({
  async 'a result that is too large is refused, and its command stays'(stage, queue) {
    const delivery = await stage.give(queue, { submitter: 'me' })
    const value = 'x'.repeat(stage.maxBytes + 1)
    await refused('it', complete(queue, delivery, value), 'CORELANE_ENVELOPE_TOO_LARGE')
    await finish(queue, [delivery])
  },
})

END_CASES.where({ needs: ['leases'], resultTtlMs: 800 })({
  async 'a result is forgotten when it has expired'(stage, queue) {
    const delivery = await stage.give(queue, { submitter: 'me' })
    await finish(queue, [delivery])
    await endOf(queue, delivery.envelope)
    await pause(820)
    const isUnknown = async () => (await stateOf(queue, delivery.envelope)).state === 'unknown'
    await stage.until('it is unknown', isUnknown)
  },
})

END_CASES.where({ needs: ['leases', 'results'] })({
  async 'an id whose result is forgotten is new; what is pending or dead stays'(stage, queue) {
    if (queue.forget === undefined) return
    const all = stage.envelopes(3)
    const [ended, dead, pending] = await stage.giveAll(queue, all)
    await finish(queue, [ended!])
    await deadLetter(queue, dead!)
    const references = all.map(referenceTo)
    await queue.forget(references)
    await queue.forget(references)
    const states = (await queue.look(references)).map(({ state }) => state)
    assert.deepEqual(states, ['unknown', 'ended', 'pending'])
    assert.deepEqual(await queue.enqueueMany(all), ['accepted', 'duplicate', 'duplicate'])
    await finish(queue, [await stage.takeOne(queue), pending!])
  },
  async 'results cross from one object of the queue to another'(stage, one, two) {
    const received = await stage.resultsOf(one)
    await stage.fill(one, stage.spread(25, { submitter: 'me' }))
    await finish(two, await stage.take(two, 100))
    const ids = () => new Set(received.map(({ commandId }) => commandId))
    await stage.until('all results arrive', () => ids().size === 100)
  },
})
