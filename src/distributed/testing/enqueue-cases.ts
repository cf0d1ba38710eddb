// Enqueue cases: what is accepted, what is refused, that an id is one command, and what a command
// asks for in place of the options of its lane.

import assert from 'node:assert/strict'
import { nowMs } from '../../base/clock.ts'
import { PORTABLE_STRATEGIES } from '../../model/partition-config.ts'
import type { CommandEnvelope, EnvelopeOptions } from '../contract/envelope.ts'
import { Submitter } from '../submit/submitter.ts'
import { ContractCases } from './contract-case.ts'
import { complete, deadLetter, endOf, finish, holds, refused, stateOf } from './contract-moves.ts'
import { demand, idsOf, matches, pause, referenceTo } from './contract-stage.ts'

const INVALID = 'CORELANE_INVALID_ENVELOPE'
const TOO_LARGE = 'CORELANE_ENVELOPE_TOO_LARGE'

/** Members of an envelope that no engine may take. */
const BAD_MEMBERS: Readonly<Record<string, readonly unknown[]>> = {
  id: ['', 'a'.repeat(129), 'a{b}', 'a:b', 'a b', 'ä', 'a\0', 'a\n', 7],
  laneId: ['../etc', undefined],
  commandType: ['file:///x.js', null],
  submitter: ['x*'],
  partitionId: [-1, 4, 0.5, '0'],
  retryCount: [-1, Number.NaN],
  createdAt: [Number.NaN, undefined],
  priority: [256, -1, 1.5],
  deadline: [Number.POSITIVE_INFINITY],
  key: ['', 'k'.repeat(1025), 5],
  version: [0, 2, '1'],
}

const BAD_OPTIONS: Readonly<Record<string, readonly unknown[]>> = {
  delayMs: [-1, 2 ** 31, '5'],
  timeoutMs: [0, Number.NaN],
  progress: ['often'],
  keepResult: ['none'],
  trace: ['00-a-b-01', { traceparent: 1 }],
  retry: [3, { retries: 101 }, { backoff: 'linear' }, { jitter: 2 }, { retryable: () => true }],
}

/** Objects with one of some members each. */
function each(members: Readonly<Record<string, readonly unknown[]>>): Record<string, unknown>[] {
  return Object.entries(members).flatMap(([name, all]) => all.map((value) => ({ [name]: value })))
}

export const ENQUEUE_CASES = new ContractCases()

ENQUEUE_CASES.where({})({
  async 'what is given out is what was enqueued, and no members that no envelope has'(
    stage,
    queue,
  ) {
    const envelope = stage.envelope({
      payload: { text: 'grün', list: [1, 2, { deep: null }] },
      partitionId: 3,
      priority: 9,
      deadline: 4_000_000_000_000,
      submitter: 'somebody',
      retryCount: 2,
    })
    await queue.enqueue({ ...envelope, module: '/etc/passwd' } as CommandEnvelope)
    const { envelope: given } = await stage.takeOne(queue)
    matches(given, envelope)
    assert.equal(Object.hasOwn(given, 'module'), false)
  },
  async 'a batch of none or of more than 4,096 is refused'(stage, queue) {
    await refused('no command', queue.enqueueMany([]))
    await refused('4,097 commands', queue.enqueueMany(stage.envelopes(4097)))
    await stage.nothing(queue)
  },
  async 'bad envelopes are refused, and nothing is lost with them'(stage, queue) {
    for (const bad of each(BAD_MEMBERS)) {
      const what = JSON.stringify(bad)
      const envelope = { ...stage.envelope(), ...bad } as unknown as CommandEnvelope
      await refused(what, queue.enqueue(envelope), INVALID)
      await refused(what, queue.enqueueMany([stage.envelope(), envelope]), INVALID)
    }
    // Members that an envelope inherits do not count.
    for (const bad of [null, undefined, 'x', 7, [], Object.create(stage.envelope())]) {
      await refused(String(bad), queue.enqueue(bad as unknown as CommandEnvelope), INVALID)
    }
    await stage.nothing(queue)
    const good = stage.envelope()
    assert.deepEqual(idsOf(await stage.giveAll(queue, [good])), [good.id])
  },
  async 'names that mean something in JavaScript are names like any'(stage, queue) {
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
      const own = names.map((name) => Object.hasOwn(counts, name) && counts[name])
      assert.deepEqual(own, [1, 1, 1, 1, 1])
    }
    await finish(queue, given)
    await stage.nothing(queue, { lanes })
  },
  async 'keys are refused where the strategy takes none'(stage, queue) {
    const envelope = stage.envelope({ key: 'k' })
    await refused('a key', queue.enqueueMany([envelope]), INVALID, 'CORELANE_DEGRADED')
    await stage.nothing(queue)
  },
  async 'a payload named __proto__ does no harm'(stage, queue) {
    const payload: unknown = JSON.parse(
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":2}},"kept":true}',
    )
    const delivery = await stage.give(queue, { payload })
    assert.equal((delivery.envelope.payload as { kept: unknown }).kept, true)
    await complete(queue, delivery, payload)
    assert.equal(({} as { polluted?: unknown }).polluted, undefined)
  },
  async 'options of a command are given out with it, and no others'(stage, queue) {
    const options: EnvelopeOptions = {
      timeoutMs: 1500.5,
      progress: true,
      trace: { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, tracestate: 'k="v"' },
      retry: { retries: 4, backoff: 'fixed', delayMs: 20, maxDelayMs: 30, jitter: 0.5 },
    }
    const more = { ...options, retry: { ...options.retry, module: 'x' }, module: '/etc/passwd' }
    const delivery = await stage.give(queue, { options: more })
    assert.deepEqual(delivery.envelope.options, options)
    await finish(queue, [delivery])
  },
  async 'bad options of a command are refused'(stage, queue) {
    for (const options of ['soon', null, ...each(BAD_OPTIONS)]) {
      const envelope = stage.envelope({ options: options as EnvelopeOptions })
      await refused(JSON.stringify(options), queue.enqueue(envelope), INVALID)
    }
    await stage.nothing(queue)
  },
})

ENQUEUE_CASES.where({ needs: ['leases'] })({
  async 'an id that is known is a duplicate and changes nothing'(stage, queue) {
    const envelope = await stage.put(queue, { payload: 'first' })
    const again = await queue.enqueueMany([{ ...envelope, payload: 'second' }])
    assert.deepEqual(again, ['duplicate'])
    await queue.enqueue({ ...envelope, payload: 'third' })
    const twice = stage.envelope()
    const statuses = await queue.enqueueMany([twice, stage.envelope(), twice])
    assert.deepEqual(statuses, ['accepted', 'accepted', 'duplicate'])
    const [given] = await stage.take(queue, 3)
    assert.equal(given!.envelope.payload, 'first')
    await stage.nothing(queue)
  },
  async 'of many that enqueue one id at once, one is accepted'(stage, one, two, three) {
    const envelopes = stage.envelopes(50)
    const queues = [one, two, three]
    const statuses = await Promise.all(queues.map((queue) => queue.enqueueMany(envelopes)))
    for (const index of envelopes.keys()) {
      const accepted = statuses.filter((each) => each[index] === 'accepted')
      assert.equal(accepted.length, 1, `command ${index}`)
    }
    await stage.take(one, 50)
    await stage.nothing(two)
  },
  async 'a result that is not to be kept is kept only for a submitter'(stage, queue) {
    const options = { keepResult: false }
    const all = [
      stage.envelope({ options }),
      stage.envelope({ options, submitter: 'me' }),
      stage.envelope({ options }),
      stage.envelope({ options: { keepResult: true } }),
    ]
    const [ended, wanted, dead, kept] = await stage.giveAll(queue, all)
    await finish(queue, [ended!, wanted!, kept!])
    await deadLetter(queue, dead!)
    const states = async (): Promise<string[]> =>
      (await queue.look(all.map(referenceTo))).map(({ state }) => state)
    await stage.until('the first is forgotten', async () => (await states())[0] === 'unknown')
    assert.deepEqual(await states(), ['unknown', 'ended', 'ended', 'ended'])
    const again = await queue.enqueueMany(all)
    assert.deepEqual(again, ['accepted', 'duplicate', 'duplicate', 'duplicate'])
    await finish(queue, await stage.take(queue, 1))
  },
})

ENQUEUE_CASES.where({ needs: ['leases'], resultTtlMs: 200 })({
  async 'an id is forgotten once its result has expired'(stage, queue) {
    const envelope = stage.envelope()
    await finish(queue, await stage.giveAll(queue, [envelope]))
    await pause(250)
    await stage.fillAgain(queue, envelope)
    assert.equal((await stage.takeOne(queue)).envelope.id, envelope.id)
  },
  async 'an id is known while its command is dead, though its result has expired'(stage, queue) {
    const delivery = await stage.give(queue, { partitionId: 1 })
    const { envelope } = delivery
    await deadLetter(queue, delivery, 'a reason', 'no good')
    await pause(300)
    assert.deepEqual(await queue.enqueueMany([envelope]), ['duplicate'])
    assert.equal((await endOf(queue, envelope)).error?.message, 'no good')
    await stage.nothing(queue)
    assert.equal(await queue.dead.redrive([referenceTo(envelope)]), 1)
    assert.deepEqual(await queue.enqueueMany([envelope]), ['duplicate'])
    const again = await stage.takeOne(queue)
    await deadLetter(queue, again, 'a reason', 'no good')
    assert.equal(await queue.dead.drop([referenceTo(envelope)]), 1)
    await pause(300)
    await stage.fillAgain(queue, envelope)
  },
})

ENQUEUE_CASES.where({ needs: ['maxBytes'] })({
  async 'a payload that is too large is refused and hurts no other'(stage, queue) {
    const payload = 'x'.repeat(stage.maxBytes + 1)
    await refused('a large payload', queue.enqueueMany([stage.envelope({ payload })]), TOO_LARGE)
    const bytes = new Uint8Array(stage.maxBytes + 1)
    await refused('many bytes', queue.enqueueMany([stage.envelope({ payload: bytes })]), TOO_LARGE)
    await stage.nothing(queue)
    const fits = stage.envelope({ payload: 'y'.repeat(Math.floor(stage.maxBytes / 2)) })
    const { envelope } = (await stage.giveAll(queue, [fits]))[0]!
    assert.equal(envelope.payload, fits.payload)
  },
})

ENQUEUE_CASES.where({ needs: ['commands'] })({
  async 'reports of progress reach their submitter, and no other'(stage, one, two) {
    const heard: unknown[] = []
    const others: unknown[] = []
    const end = await one.commands!.onProgress('me', (id, value) => heard.push([id, value]))
    await one.commands!.onProgress('you', (...report) => others.push(report))
    await two.commands!.report([
      { commandId: 'a', submitter: 'me', value: { done: 0.5, of: [1, null] } },
      { commandId: 'b', submitter: 'unknown', value: 1 },
      { commandId: 'c', submitter: 'me', value: undefined },
    ])
    await stage.until('both have come', () => heard.length === 2)
    assert.deepEqual(heard, [
      ['a', { done: 0.5, of: [1, null] }],
      ['c', undefined],
    ])
    await end()
    await two.commands!.report([{ commandId: 'a', submitter: 'me', value: 'late' }])
    await two.commands!.report([{ commandId: 'd', submitter: 'you', value: 'last' }])
    await stage.until('the last has come', () => others.length === 1)
    assert.equal(heard.length, 2)
    assert.deepEqual(others, [['d', 'last']])
    await refused('no report', one.commands!.report([]))
  },
})

ENQUEUE_CASES.where({ needs: ['delay'] })({
  async 'a command with a delay is kept back for it, and wakes a worker that waits'(stage, queue) {
    const late = stage.envelope({ options: { delayMs: 1000 }, submitter: 'me' })
    const prompt = stage.envelope()
    const enqueuedMs = nowMs()
    await stage.fill(queue, [late, prompt])
    assert.deepEqual(await queue.enqueueMany([late]), ['duplicate'])
    assert.deepEqual(await stateOf(queue, late), { state: 'pending' })
    await holds(queue, { delayed: 1 })
    assert.equal((await stage.takeOne(queue)).envelope.id, prompt.id)
    const [delivery] = await stage.woken(queue)
    assert.equal(delivery!.envelope.id, late.id)
    // The engine's clock may count whole milliseconds.
    assert.ok(nowMs() - enqueuedMs >= 995, 'it was kept back')
    assert.ok(delivery!.acceptedAtMs < enqueuedMs + 900, 'its age counts from its acceptance')
    await holds(queue, { delayed: 0 })
    await finish(queue, [delivery!])
  },
  async 'a worker that waits already is given a command when its delay is over'(stage, queue) {
    const wait = stage.woken(queue)
    const envelope = await stage.put(queue, { options: { delayMs: 150 } })
    assert.deepEqual(idsOf(await wait), [envelope.id])
  },
})

ENQUEUE_CASES.where({ needs: ['delay', 'leases'] })({
  async 'a redriven command waits for no delay'(stage, queue) {
    const envelope = stage.envelope({ options: { delayMs: 100 } })
    await stage.fill(queue, [envelope, stage.envelope({ options: { delayMs: 60_000 } })])
    const delivery = await stage.takeOne(queue)
    await deadLetter(queue, delivery)
    assert.equal(await queue.dead.redrive([envelope.id]), 1)
    assert.deepEqual(idsOf(await queue.lease(stage.request())), [envelope.id])
  },
})

for (const strategy of PORTABLE_STRATEGIES) {
  const numPartitions = strategy === 'single' ? 1 : 4
  ENQUEUE_CASES.where({ needs: ['leases'], strategy, numPartitions })({
    async [`an id that many submitters give is one command, under the strategy ${strategy}`](
      stage,
      queue,
    ) {
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
  })
}
