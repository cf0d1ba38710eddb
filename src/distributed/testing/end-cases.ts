// End cases: dead-lettering, dead commands, results and what a queue knows of a command.

import assert from 'node:assert/strict'
import type { Delivery } from '../contract/distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from '../contract/envelope.ts'
import { type CaseOfContract, leased, where } from './contract-case.ts'
import {
  complete,
  deadLetter,
  failureOf,
  finish,
  idsOf,
  pause,
  referenceTo,
  stateOf,
  successOf,
} from './contract-stage.ts'

const answered = where({ needs: ['results'] })
const RESULTS = ['results'] as const

const dead: readonly CaseOfContract[] = [
  leased('a dead-lettered command is listed and not given out', async (stage, queue) => {
    const delivery = await stage.give(queue, { payload: { kept: true } })
    const { envelope } = delivery
    const result = failureOf(delivery, queue, 'no good')
    assert.equal(await queue.deadLetter(delivery, 'retries spent', result), 'done')
    assert.equal(await queue.deadLetter(delivery, 'again', result), 'stale')
    await stage.nothing(queue)
    const [letter, ...others] = await queue.dead.list()
    assert.equal(others.length, 0)
    assert.equal(letter!.envelope.id, envelope.id)
    assert.deepEqual(letter!.envelope.payload, envelope.payload)
    assert.equal(letter!.reason, 'retries spent')
    assert.equal(letter!.result?.error?.message, 'no good')
    assert.ok(Math.abs(letter!.diedAt - envelope.createdAt) < 60_000)
  }),
  leased(
    'dead commands are listed the oldest first, as many as asked for',
    async (stage, queue) => {
      const given = await stage.giveAll(queue, stage.envelopes(5))
      for (const delivery of given) {
        await deadLetter(queue, delivery)
        await pause(3)
      }
      const ids = idsOf(given)
      const listed = async (max?: number) => (await queue.dead.list(max)).map((d) => d.envelope.id)
      assert.deepEqual(await listed(), ids)
      assert.deepEqual(await listed(2), ids.slice(0, 2))
    },
  ),
  leased('a redriven command starts as if nothing had been', async (stage, queue) => {
    const delivery = await stage.give(queue, { retryCount: 4, payload: 'same' })
    const { envelope } = delivery
    await deadLetter(queue, delivery, 'retries spent')
    const wait = queue.lease(stage.request({ waitMs: 10_000 }))
    assert.equal(await queue.dead.redrive([referenceTo(envelope)]), 1)
    const [again] = await wait
    assert.equal(again!.envelope.id, envelope.id)
    assert.equal(again!.envelope.retryCount, 0)
    assert.equal(again!.envelope.payload, 'same')
    assert.equal(again!.deliveries, 1)
    assert.deepEqual(await queue.dead.list(), [])
    assert.deepEqual(await stateOf(queue, envelope), { state: 'pending' })
    await finish(queue, [again!])
    const state = await stateOf(queue, envelope)
    assert.ok(state?.state === 'ended' && state.result.success)
  }),
  leased('dropped commands are forgotten, unknown ones not counted', async (stage, queue) => {
    const envelopes = stage.envelopes(3)
    for (const delivery of await stage.giveAll(queue, envelopes)) {
      await deadLetter(queue, delivery)
    }
    const [a, b, c] = envelopes.map(referenceTo)
    assert.equal(await queue.dead.drop([a!, { commandId: 'unknown', partitionId: 0 }]), 1)
    assert.equal(await queue.dead.redrive([a!, b!, { commandId: 'unknown', partitionId: 0 }]), 1)
    assert.equal(await queue.dead.drop([b!]), 0)
    assert.deepEqual(
      (await queue.dead.list()).map(({ envelope }) => envelope.id),
      [c!.commandId],
    )
    assert.deepEqual(idsOf(await stage.take(queue, 1)), [b!.commandId])
  }),
  leased('a dead command is found by its id alone', async (stage, queue) => {
    const envelopes = [0, 2, 3].map((partitionId) => stage.envelope({ partitionId }))
    for (const delivery of await stage.giveAll(queue, envelopes)) {
      await deadLetter(queue, delivery)
    }
    const [a, b, c] = idsOf(envelopes)
    assert.equal(await queue.dead.redrive([b!, 'unknown']), 1)
    assert.deepEqual(idsOf(await stage.take(queue, 1)), [b])
    assert.equal(await queue.dead.drop([a!, referenceTo(envelopes[2]!)]), 2)
    assert.deepEqual(await queue.dead.list(), [])
    assert.equal(await queue.dead.redrive([c!]), 0)
  }),
  leased('the id of a dead command is known', async (stage, queue) => {
    const delivery = await stage.give(queue)
    const { envelope } = delivery
    await deadLetter(queue, delivery)
    assert.deepEqual(await queue.enqueueMany([envelope]), ['duplicate'])
    await stage.nothing(queue)
    assert.equal((await queue.dead.list()).length, 1)
  }),
  answered('a submitter gets the result of a dead letter', async (stage, queue) => {
    const received = await stage.resultsOf(queue)
    const delivery = await stage.give(queue, { submitter: 'me' })
    await deadLetter(queue, delivery, 'no use', 'broken')
    await stage.until('the result arrives', () => received.length === 1)
    assert.equal(received[0]!.success, false)
    assert.equal(received[0]!.error?.message, 'broken')
    const state = await stateOf(queue, delivery.envelope)
    assert.equal(state?.state, 'ended')
  }),
]

const results: readonly CaseOfContract[] = [
  answered('a result reaches its submitter, and no other', async (stage, queue) => {
    const received: CommandResult[] = []
    const others: CommandResult[] = []
    await queue.announce('me', (result) => received.push(result))
    await queue.announce('you', (result) => others.push(result))
    await stage.fill(queue, [stage.envelope({ submitter: 'me' }), stage.envelope()])
    const given = await stage.take(queue, 2)
    const expected = given.map((delivery) => successOf(delivery, queue, { sum: 42 }))
    await queue.completeMany(given.map((delivery, i) => ({ delivery, result: expected[i]! })))
    await stage.until('the result arrives', () => received.length > 0)
    await pause(30)
    assert.equal(received.length, 1)
    assert.deepEqual({ ...expected[0]! }, { ...expected[0]!, ...received[0]! })
    assert.deepEqual(others, [])
  }),
  answered('a failure keeps its error', async (stage, queue) => {
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
  }),
  answered(
    'every listener of a submitter receives results, until it ends',
    async (stage, queue) => {
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
  ),
  where({ needs: [...RESULTS, 'leases'] })(
    'results cross from one object of the queue to another',
    async (stage, one, two) => {
      const received: string[] = []
      await one.announce('me', ({ commandId }) => received.push(commandId))
      const envelopes = [0, 1, 2, 3].flatMap((partitionId) =>
        stage.envelopes(25, { partitionId, submitter: 'me' }),
      )
      await stage.fill(one, envelopes)
      await finish(two, await stage.take(two, 100))
      await stage.until('all results arrive', () => new Set(received).size === 100)
    },
  ),
  answered('what a queue knows of a command: pending, ended, unknown', async (stage, queue) => {
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
    assert.equal(ended.result.success, true)
    assert.deepEqual(ended.result.value, [1, 'two'])
    assert.equal(ended.result.durationMs, 1.5)
  }),
  where({ needs: [...RESULTS, 'delay'] })(
    'a command that is kept back is pending',
    async (stage, queue) => {
      const envelope = stage.envelope({ submitter: 'me' })
      await stage.fill(queue, [envelope])
      await queue.release(await stage.take(queue, 1), { reason: 'retry', delayMs: 60_000 })
      assert.deepEqual(await stateOf(queue, envelope), { state: 'pending' })
    },
  ),
  leased('a command without a submitter is known to have ended', async (stage, queue) => {
    const given = await stage.giveAll(queue, stage.envelopes(1))
    await finish(queue, given)
    const state = await stateOf(queue, given[0]!.envelope)
    assert.ok(state?.state === 'ended' && state.result.success)
  }),
  where({ needs: ['leases'], resultTtlMs: 800 })(
    'a result is forgotten when it has expired',
    async (stage, queue) => {
      const given = await stage.giveAll(queue, [stage.envelope({ submitter: 'me' })])
      await finish(queue, given)
      const reference = referenceTo(given[0]!.envelope)
      assert.equal((await queue.look([reference]))[0]?.state, 'ended')
      await pause(820)
      await stage.until(
        'it is unknown',
        async () => (await queue.look([reference]))[0]?.state === 'unknown',
      )
    },
  ),
  where({ needs: ['leases', 'results'] })(
    'a result that is forgotten leaves its id new; what is pending or dead stays',
    async (stage, queue) => {
      if (queue.forget === undefined) return
      const [ended, dead, pending] = [stage.envelope(), stage.envelope(), stage.envelope()]
      const given = await stage.giveAll(queue, [ended, dead, pending])
      const deliveryOf = ({ id }: CommandEnvelope): Delivery =>
        given.find(({ envelope }) => envelope.id === id)!
      await finish(queue, [deliveryOf(ended)])
      await queue.deadLetter(deliveryOf(dead), 'x', failureOf(deliveryOf(dead), queue, 'no good'))
      const references = [ended, dead, pending].map(referenceTo)
      await queue.forget(references)
      await queue.forget(references)
      const states = (await queue.look(references)).map(({ state }) => state)
      assert.deepEqual(states, ['unknown', 'ended', 'pending'])
      assert.deepEqual(await queue.enqueueMany([ended, dead, pending]), [
        'accepted',
        'duplicate',
        'duplicate',
      ])
      await finish(queue, [await stage.takeOne(queue), deliveryOf(pending)])
    },
  ),
]

/** Members without those that are undefined. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

/** Dead-lettering, dead commands, results and what a queue knows of a command. */
export const END_CASES: readonly CaseOfContract[] = [...dead, ...results]
