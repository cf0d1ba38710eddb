// Enqueue cases: what is accepted, what is refused, and that an id is one command.

import assert from 'node:assert/strict'
import { PORTABLE_STRATEGIES } from '../../model/partition-config.ts'
import type { CommandEnvelope } from '../contract/envelope.ts'
import { Submitter } from '../submit/submitter.ts'
import { always, type CaseOfContract, leased, where } from './contract-case.ts'
import {
  complete,
  deadLetter,
  demand,
  finish,
  idsOf,
  pause,
  referenceTo,
  refused,
  stateOf,
} from './contract-stage.ts'

const INVALID = 'CORELANE_INVALID_ENVELOPE'
const TOO_LARGE = 'CORELANE_ENVELOPE_TOO_LARGE'

/** Members of an envelope that no engine may take. */
const BAD_MEMBERS: readonly Readonly<Record<string, unknown>>[] = [
  { id: '' },
  { id: 'a'.repeat(129) },
  { id: 'a{b}' },
  { id: 'a:b' },
  { id: 'a b' },
  { id: 'ä' },
  { id: 'a\0' },
  { id: 'a\n' },
  { id: 7 },
  { laneId: '../etc' },
  { laneId: undefined },
  { commandType: 'file:///x.js' },
  { commandType: null },
  { submitter: 'x*' },
  { partitionId: -1 },
  { partitionId: 4 },
  { partitionId: 0.5 },
  { partitionId: '0' },
  { retryCount: -1 },
  { retryCount: Number.NaN },
  { createdAt: Number.NaN },
  { createdAt: undefined },
  { priority: 256 },
  { priority: -1 },
  { priority: 1.5 },
  { deadline: Number.POSITIVE_INFINITY },
  { key: '' },
  { key: 'k'.repeat(1025) },
  { key: 5 },
  { version: 0 },
  { version: 2 },
  { version: '1' },
]

const taking: readonly CaseOfContract[] = [
  always('what is given out is what was enqueued', async (stage, queue) => {
    const envelope = stage.envelope({
      payload: { text: 'grün', list: [1, 2, { deep: null }] },
      partitionId: 3,
      priority: 9,
      deadline: 4_000_000_000_000,
      submitter: 'somebody',
      retryCount: 2,
    })
    await queue.enqueue(envelope)
    const { envelope: given } = await stage.takeOne(queue)
    for (const [member, value] of Object.entries(envelope)) {
      assert.deepEqual(given[member as keyof CommandEnvelope], value, member)
    }
  }),
  always('members that no envelope has are not carried on', async (stage, queue) => {
    await queue.enqueue({ ...stage.envelope(), module: '/etc/passwd' } as CommandEnvelope)
    const { envelope } = await stage.takeOne(queue)
    assert.equal(Object.hasOwn(envelope, 'module'), false)
  }),
  always('many commands are accepted at once, and each is given out once', async (stage, queue) => {
    const envelopes = stage.envelopes(500)
    const given = idsOf(await stage.giveAll(queue, envelopes))
    assert.deepEqual(given.toSorted(), idsOf(envelopes).toSorted())
    await stage.nothing(queue)
  }),
  always('a batch of none or of more than 4,096 is refused', async (stage, queue) => {
    await refused('no command', queue.enqueueMany([]))
    await refused('4,097 commands', queue.enqueueMany(stage.envelopes(4097)))
    await stage.nothing(queue)
  }),
  leased('what another object of the queue enqueued is given out', async (stage, one, two) => {
    const envelope = stage.envelope()
    await stage.fill(one, [envelope])
    assert.deepEqual(idsOf(await stage.take(two, 1)), [envelope.id])
    assert.equal(one.workerId, 'w1')
    assert.equal(two.workerId, 'w2')
  }),
]

const idempotence: readonly CaseOfContract[] = [
  leased('an id that is known is a duplicate and changes nothing', async (stage, queue) => {
    const envelope = stage.envelope({ payload: 'first' })
    await stage.fill(queue, [envelope])
    const again = await queue.enqueueMany([{ ...envelope, payload: 'second' }])
    assert.deepEqual(again, ['duplicate'])
    await queue.enqueue({ ...envelope, payload: 'third' })
    const { envelope: given } = await stage.takeOne(queue)
    assert.equal(given.payload, 'first')
    await stage.nothing(queue)
  }),
  leased('an id twice in one batch is accepted once', async (stage, queue) => {
    const envelope = stage.envelope()
    assert.deepEqual(await queue.enqueueMany([envelope, stage.envelope(), envelope]), [
      'accepted',
      'accepted',
      'duplicate',
    ])
    await stage.take(queue, 2)
    await stage.nothing(queue)
  }),
  leased('an id is known while a worker has it and after it ended', async (stage, queue) => {
    const delivery = await stage.give(queue)
    const { envelope } = delivery
    assert.deepEqual(await queue.enqueueMany([envelope]), ['duplicate'])
    await finish(queue, [delivery])
    assert.deepEqual(await queue.enqueueMany([envelope]), ['duplicate'])
    await stage.nothing(queue)
  }),
  leased('of many that enqueue one id at once, one is accepted', async (stage, one, two, three) => {
    const envelopes = stage.envelopes(50)
    const queues = [one, two, three]
    const statuses = await Promise.all(queues.map((queue) => queue.enqueueMany(envelopes)))
    for (const index of envelopes.keys()) {
      const accepted = statuses.filter((each) => each[index] === 'accepted')
      assert.equal(accepted.length, 1, `command ${index}`)
    }
    await stage.take(one, 50)
    await stage.nothing(two)
  }),
  where({ needs: ['leases'], resultTtlMs: 200 })(
    'an id is forgotten once its result has expired',
    async (stage, queue) => {
      const envelope = stage.envelope()
      await finish(queue, await stage.giveAll(queue, [envelope]))
      await pause(250)
      await stage.until(
        'the id can be used again',
        async () => (await queue.enqueueMany([envelope]))[0] === 'accepted',
      )
      assert.deepEqual(idsOf(await stage.take(queue, 1)), [envelope.id])
    },
  ),
  where({ needs: ['leases'], resultTtlMs: 200 })(
    'an id is known while its command is dead, though its result has expired',
    async (stage, queue) => {
      const delivery = await stage.give(queue, { partitionId: 1 })
      const { envelope } = delivery
      await deadLetter(queue, delivery, 'a reason', 'no good')
      await pause(300)
      assert.deepEqual(await queue.enqueueMany([envelope]), ['duplicate'])
      const known = await stateOf(queue, envelope)
      assert.equal(known!.state === 'ended' && known!.result.error?.message, 'no good')
      await stage.nothing(queue)
      assert.equal(await queue.dead.redrive([referenceTo(envelope)]), 1)
      assert.deepEqual(await queue.enqueueMany([envelope]), ['duplicate'])
      const again = await stage.takeOne(queue)
      await deadLetter(queue, again, 'a reason', 'no good')
      assert.equal(await queue.dead.drop([referenceTo(envelope)]), 1)
      await pause(300)
      await stage.until(
        'the id can be used again',
        async () => (await queue.enqueueMany([envelope]))[0] === 'accepted',
      )
    },
  ),
]

const submitting: readonly CaseOfContract[] = PORTABLE_STRATEGIES.map((strategy) =>
  where({ needs: ['leases'], strategy, numPartitions: strategy === 'single' ? 1 : 4 })(
    `an id that many submitters give is one command, under the strategy ${strategy}`,
    async (stage, queue) => {
      const { id } = stage.envelope()
      const submit = async (): Promise<string> => {
        const submitter = new Submitter(queue)
        const { status } = await submitter.enqueue('lane', 'work', 1, { id })
        await submitter.close()
        return status
      }
      const statuses: string[] = []
      for (let turn = 0; turn < 8; turn++) statuses.push(await submit())
      assert.deepEqual(statuses, ['accepted', ...Array<string>(7).fill('duplicate')])
      const delivery = await stage.takeOne(queue)
      assert.equal(await submit(), 'duplicate')
      await finish(queue, [delivery])
      assert.equal(await submit(), 'duplicate')
      await stage.nothing(queue)
    },
  ),
)

const refusals: readonly CaseOfContract[] = [
  always('bad envelopes are refused, and nothing is lost with them', async (stage, queue) => {
    for (const bad of BAD_MEMBERS) {
      const what = JSON.stringify(bad)
      const envelope = { ...stage.envelope(), ...bad } as unknown as CommandEnvelope
      await refused(what, queue.enqueue(envelope), INVALID)
      await refused(what, queue.enqueueMany([stage.envelope(), envelope]), INVALID)
    }
    for (const bad of [null, undefined, 'x', 7, []]) {
      await refused(String(bad), queue.enqueue(bad as unknown as CommandEnvelope), INVALID)
    }
    await stage.nothing(queue)
    const good = stage.envelope()
    assert.deepEqual(idsOf(await stage.giveAll(queue, [good])), [good.id])
  }),
  always('members that an envelope inherits do not count', async (stage, queue) => {
    const inherited = Object.create(stage.envelope()) as CommandEnvelope
    await refused('an envelope that has nothing of its own', queue.enqueue(inherited), INVALID)
  }),
  always('names that mean something in JavaScript are names like any', async (stage, queue) => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'then']
    const lanes = names.map((name) => demand(name))
    await stage.fill(
      queue,
      names.map((name) =>
        stage.envelope({ id: name, laneId: name, commandType: name, submitter: name }),
      ),
    )
    const given = await stage.take(queue, names.length, { lanes })
    assert.deepEqual(idsOf(given).toSorted(), names.toSorted())
    for (const { envelope } of given) assert.equal(envelope.laneId, envelope.id)
    if (queue.capabilities.delivery === 'at-least-once') {
      const { lanes: counts } = await queue.counts()
      assert.deepEqual(
        names.map((name) => Object.hasOwn(counts, name) && counts[name]),
        [1, 1, 1, 1, 1],
      )
    }
    await finish(queue, given)
    await stage.nothing(queue, { lanes })
  }),
  always('keys are refused where the strategy takes none', async (stage, queue) => {
    const envelope = stage.envelope({ key: 'k' })
    await refused('a key', queue.enqueueMany([envelope]), INVALID, 'CORELANE_DEGRADED')
    await stage.nothing(queue)
  }),
  always('a payload named __proto__ does no harm', async (stage, queue) => {
    const payload: unknown = JSON.parse(
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":2}},"kept":true}',
    )
    const delivery = await stage.give(queue, { payload })
    assert.equal((delivery.envelope.payload as { kept: unknown }).kept, true)
    await complete(queue, delivery, payload)
    assert.equal(({} as { polluted?: unknown }).polluted, undefined)
  }),
  where({ needs: ['maxBytes'] })(
    'a payload that is too large is refused and hurts no other',
    async (stage, queue) => {
      const payload = 'x'.repeat(stage.maxBytes + 1)
      await refused('a large payload', queue.enqueueMany([stage.envelope({ payload })]), TOO_LARGE)
      const bytes = new Uint8Array(stage.maxBytes + 1)
      await refused(
        'many bytes',
        queue.enqueueMany([stage.envelope({ payload: bytes })]),
        TOO_LARGE,
      )
      await stage.nothing(queue)
      const fits = stage.envelope({ payload: 'y'.repeat(Math.floor(stage.maxBytes / 2)) })
      const { envelope } = (await stage.giveAll(queue, [fits]))[0]!
      assert.equal(envelope.payload, fits.payload)
    },
  ),
]

/** What is accepted, what is refused, and that an id is one command. */
export const ENQUEUE_CASES: readonly CaseOfContract[] = [
  ...taking,
  ...idempotence,
  ...submitting,
  ...refusals,
]
