// Option cases: what a command asks for in its envelope, in place of the options of its lane.

import assert from 'node:assert/strict'
import { nowMs } from '../../base/clock.ts'
import type { EnvelopeOptions } from '../contract/envelope.ts'
import { always, type CaseOfContract, delaying, leased, where } from './contract-case.ts'
import {
  deadLetter,
  finish,
  holds,
  idsOf,
  referenceTo,
  refused,
  stateOf,
} from './contract-stage.ts'

const LATER_MS = 60_000

/** Options that no engine may take. */
const BAD_OPTIONS: readonly unknown[] = [
  'soon',
  null,
  { delayMs: -1 },
  { delayMs: 2 ** 31 },
  { delayMs: '5' },
  { timeoutMs: 0 },
  { timeoutMs: Number.NaN },
  { progress: 'often' },
  { keepResult: 'none' },
  { trace: '00-a-b-01' },
  { trace: { traceparent: 1 } },
  { retry: 3 },
  { retry: { retries: 101 } },
  { retry: { backoff: 'linear' } },
  { retry: { jitter: 2 } },
  { retry: { retryable: () => true } },
]

/** What a command asks for. */
export const OPTION_CASES: readonly CaseOfContract[] = [
  always('options of a command are given out with it, and no others', async (stage, queue) => {
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
  }),
  where({ needs: ['commands'] })(
    'reports of progress reach their submitter, and no other',
    async (stage, one, two) => {
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
  ),
  leased(
    'a command without a submitter leaves nothing where its result is not to be kept',
    async (stage, queue) => {
      const options = { keepResult: false }
      const all = [
        stage.envelope({ options }),
        stage.envelope({ options, submitter: 'me' }),
        stage.envelope({ options }),
        stage.envelope({ options: { keepResult: true } }),
      ]
      const given = await stage.giveAll(queue, all)
      const [ended, wanted, dead, kept] = all.map(
        ({ id }) => given.find(({ envelope }) => envelope.id === id)!,
      )
      await finish(queue, [ended!, wanted!, kept!])
      await deadLetter(queue, dead!)
      const states = async (): Promise<string[]> =>
        (await queue.look(all.map(referenceTo))).map(({ state }) => state)
      await stage.until('the first is forgotten', async () => (await states())[0] === 'unknown')
      assert.deepEqual(await states(), ['unknown', 'ended', 'ended', 'ended'])
      assert.deepEqual(await queue.enqueueMany(all), [
        'accepted',
        'duplicate',
        'duplicate',
        'duplicate',
      ])
      await finish(queue, await stage.take(queue, 1))
    },
  ),
  always('bad options of a command are refused', async (stage, queue) => {
    for (const options of BAD_OPTIONS) {
      const envelope = stage.envelope({ options: options as EnvelopeOptions })
      await refused(JSON.stringify(options), queue.enqueue(envelope), 'CORELANE_INVALID_ENVELOPE')
    }
    await stage.nothing(queue)
  }),
  delaying(
    'a command with a delay is kept back for it, and wakes a worker that waits',
    async (stage, queue) => {
      const [late, prompt] = [
        stage.envelope({ options: { delayMs: 1000 }, submitter: 'me' }),
        stage.envelope(),
      ]
      const enqueuedMs = nowMs()
      await stage.fill(queue, [late, prompt])
      assert.deepEqual(await queue.enqueueMany([late]), ['duplicate'])
      assert.deepEqual(await stateOf(queue, late), { state: 'pending' })
      await holds(queue, { delayed: 1 })
      assert.deepEqual(idsOf(await stage.take(queue, 1)), [prompt.id])
      const [delivery] = await queue.lease(stage.request({ waitMs: 10_000 }))
      assert.equal(delivery!.envelope.id, late.id)
      // The engine's clock may count whole milliseconds.
      assert.ok(nowMs() - enqueuedMs >= 995, 'it was kept back')
      assert.ok(delivery!.acceptedAtMs < enqueuedMs + 900, 'its age counts from its acceptance')
      await holds(queue, { delayed: 0 })
      await finish(queue, [delivery!])
    },
  ),
  delaying(
    'a worker that waits already is given a command with a delay when it is over',
    async (stage, queue) => {
      const wait = queue.lease(stage.request({ waitMs: 10_000 }))
      const envelope = stage.envelope({ options: { delayMs: 150 } })
      await stage.fill(queue, [envelope])
      assert.deepEqual(idsOf(await wait), [envelope.id])
    },
  ),
  where({ needs: ['delay', 'leases'] })(
    'a redriven command waits for no delay',
    async (stage, queue) => {
      const envelope = stage.envelope({ options: { delayMs: 100 } })
      await stage.fill(queue, [envelope, stage.envelope({ options: { delayMs: LATER_MS } })])
      const delivery = await stage.takeOne(queue)
      await deadLetter(queue, delivery)
      assert.equal(await queue.dead.redrive([envelope.id]), 1)
      assert.deepEqual(idsOf(await queue.lease(stage.request())), [envelope.id])
    },
  ),
]
