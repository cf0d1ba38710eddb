// Command cases: finding, listing and cancelling commands by their ids, and the races of these.

import assert from 'node:assert/strict'
import { epochMs } from '../../base/clock.ts'
import type { CancelStatus, FoundCommand, LeasedQueue } from '../contract/distributed-queue.ts'
import type { CommandEnvelope } from '../contract/envelope.ts'
import { ContractCases } from './contract-case.ts'
import { complete, deadLetter, endOf, finish, holds, refused, stale } from './contract-moves.ts'
import { demand, idsOf, pause, referenceTo } from './contract-stage.ts'

const COMMANDS = { needs: ['leases', 'commands'] } as const
const DELAYED = { needs: ['leases', 'commands', 'delay'] } as const

async function cancel(queue: LeasedQueue, { id }: CommandEnvelope): Promise<CancelStatus> {
  return (await queue.commands!.cancel([id]))[0]!
}

async function errorOf(queue: LeasedQueue, envelope: CommandEnvelope): Promise<unknown> {
  return (await endOf(queue, envelope)).error?.code
}

async function found(queue: LeasedQueue, envelope: CommandEnvelope): Promise<FoundCommand> {
  const command = await queue.commands!.find(envelope.id)
  assert.ok(command !== undefined, `${envelope.id} is found`)
  const same = await queue.commands!.find(referenceTo(envelope))
  assert.equal(same?.state, command.state)
  assert.equal(command.commandId, envelope.id)
  assert.equal(command.partitionId, envelope.partitionId)
  return command
}

const ABORTED = 'CORELANE_ABORTED'

export const COMMAND_CASES = new ContractCases()

COMMAND_CASES.where(COMMANDS)({
  async 'a command that waits and is cancelled is not given out'(stage, queue) {
    const told = await stage.resultsOf(queue)
    const all = [0, 3, 3].map((partitionId) => stage.envelope({ partitionId, submitter: 'me' }))
    await stage.fill(queue, all)
    const [first, second, third] = all
    const statuses = await queue.commands!.cancel([second!.id, referenceTo(first!), 'unknown'])
    assert.deepEqual(statuses, ['cancelled', 'cancelled', 'unknown'])
    assert.equal((await stage.takeOne(queue)).envelope.id, third!.id)
    await stage.nothing(queue)
    await stage.until('its submitter receives the end', () => told.length === 2)
    for (const { success, error } of told)
      assert.deepEqual([success, error?.code], [false, ABORTED])
    assert.equal(await errorOf(queue, first!), ABORTED)
    assert.equal(await cancel(queue, first!), 'ended')
    assert.deepEqual(await queue.enqueueMany([first!]), ['duplicate'])
    await holds(queue, { waiting: 0, leased: 1, dead: 0 })
  },
  async 'a worker learns that a command it has is cancelled, and lost to it'(stage, one, two) {
    const heard: string[] = []
    const others: string[] = []
    one.commands!.onCancel((fences) => heard.push(...fences))
    two.commands!.onCancel((fences) => others.push(...fences))
    const given = await stage.giveAll(one, stage.envelopes(4))
    // Announcements are heard from some moment on; without one the extension says it.
    await stage.nothing(one)
    await pause(100)
    for (const { envelope } of given) assert.equal(await cancel(two, envelope), 'stopping')
    await stage.until('the worker hears of all', () => heard.length === 4)
    assert.deepEqual(heard.toSorted(), given.map(({ fence }) => fence).toSorted())
    assert.deepEqual(others, [])
    for (const delivery of given) await stale(one, delivery)
    await stage.nothing(one)
    for (const { envelope } of given) assert.equal(await errorOf(two, envelope), ABORTED)
    assert.deepEqual(await one.dead.list(), [])
    await holds(one, { leased: 0 })
  },
  async 'the first end of an id counts: completed or cancelled'(stage, queue) {
    const all = stage.envelopes(40)
    const given = await stage.giveAll(queue, all)
    const ends = given.map(async (delivery, index) => {
      const finished = () => complete(queue, delivery, 'done')
      const early = index % 2 === 0 ? finished() : undefined
      const cancelled = cancel(queue, delivery.envelope)
      const status = await (early ?? finished())
      return [status, await cancelled, await errorOf(queue, delivery.envelope)].join(' ')
    })
    for (const end of await Promise.all(ends)) {
      assert.ok(end === 'done ended ' || end === `stale stopping ${ABORTED}`, end)
    }
    await holds(queue, { leased: 0 })
  },
  async 'what is cancelled while it is given out ends once'(stage, queue) {
    for (let round = 0; round < 20; round++) {
      const all = stage.envelopes(4)
      const wait = queue.lease(stage.request({ waitMs: 100 }))
      await stage.fill(queue, all)
      const [given, ...statuses] = await Promise.all([
        wait,
        ...all.slice(0, 2).map((envelope) => cancel(queue, envelope)),
      ])
      const rest = await queue.lease(stage.request())
      const ids = idsOf([...given, ...rest])
      for (const [index, status] of statuses.entries()) {
        if (status === 'cancelled') assert.equal(ids.includes(all[index]!.id), false)
        else assert.equal(status, 'stopping')
        assert.equal(await errorOf(queue, all[index]!), ABORTED)
      }
      for (const delivery of [...given, ...rest]) {
        const isCancelled = all.slice(0, 2).some(({ id }) => id === delivery.envelope.id)
        assert.equal(await complete(queue, delivery), isCancelled ? 'stale' : 'done')
      }
    }
    await holds(queue, { waiting: 0, leased: 0 })
  },
  async 'a dead command has ended, and can be redriven'(stage, queue) {
    const delivery = await stage.give(queue)
    const { envelope } = delivery
    await deadLetter(queue, delivery)
    assert.equal(await cancel(queue, envelope), 'ended')
    assert.equal(await queue.dead.redrive([envelope.id]), 1)
    assert.equal(await cancel(queue, envelope), 'cancelled')
    await stage.nothing(queue)
    assert.deepEqual(await queue.dead.list(), [])
  },
  async 'what waits is listed lane by lane, the next first'(stage, queue) {
    const peek = async (laneId?: string, max?: number): Promise<string[]> =>
      (await queue.commands!.peek(laneId, max)).map(({ commandId }) => commandId)
    assert.deepEqual(await peek(), [])
    const [a, b] = [stage.envelopes(3), stage.envelopes(12, { laneId: 'b' })]
    for (const envelope of [...b, ...a]) {
      await stage.fill(queue, [{ ...envelope, partitionId: b.indexOf(envelope) % 2 === 0 ? 1 : 0 }])
      await pause(2)
    }
    assert.deepEqual(await peek(), idsOf([...b.slice(0, 10), ...a]))
    assert.deepEqual(await peek('lane', 2), idsOf(a.slice(0, 2)))
    assert.deepEqual(await peek('none'), [])
    const [first, second] = await stage.take(queue, 2)
    await queue.release([first!], { reason: 'unstarted' })
    assert.deepEqual(await peek('lane'), idsOf(a.filter(({ id }) => id !== second!.envelope.id)))
    await refused('no command', queue.commands!.peek('lane', 0))
    await refused('too many', queue.commands!.peek('lane', 1001))
    await refused('no names', queue.commands!.cancel([]))
    await refused('no name', queue.commands!.find('a:b'))
  },
})

COMMAND_CASES.where(DELAYED)({
  async 'a command that is kept back can be cancelled'(stage, queue) {
    const late = stage.envelope({ options: { delayMs: 500 } })
    const retried = stage.envelope()
    await stage.fill(queue, [late, retried])
    await queue.release(await stage.take(queue, 1), { reason: 'retry', delayMs: 500 })
    await holds(queue, { delayed: 2 })
    assert.equal(await cancel(queue, late), 'cancelled')
    assert.equal(await cancel(queue, retried), 'cancelled')
    await holds(queue, { delayed: 0 })
    await stage.nothing(queue, { waitMs: 600 })
    assert.equal(await errorOf(queue, retried), ABORTED)
  },
  async 'a command that came back, at once or after a while, can be cancelled'(stage, queue) {
    const all = stage.envelopes(5)
    const [a, b, c, d] = await stage.giveAll(queue, all)
    await queue.release([a!], { reason: 'retry' })
    await queue.release([b!], { reason: 'unstarted' })
    await queue.release([c!], { reason: 'crash' })
    await queue.release([d!], { reason: 'retry', delayMs: 20 })
    await pause(40)
    // What is due comes into its place.
    await queue.lease(stage.request({ lanes: [demand('lane', { max: 1 })] }))
    const statuses = await queue.commands!.cancel(idsOf(all))
    const expected = ['cancelled', 'cancelled', 'cancelled', 'stopping', 'stopping']
    assert.deepEqual(statuses.toSorted(), expected)
    await stage.nothing(queue)
    for (const envelope of all) assert.equal(await errorOf(queue, envelope), ABORTED)
  },
  async 'a command is found in each of its states'(stage, queue) {
    const envelope = stage.envelope({ partitionId: 2, payload: { a: 1 }, submitter: 'me' })
    assert.equal(await queue.commands!.find(envelope.id), undefined)
    assert.equal(await queue.commands!.find(referenceTo(envelope)), undefined)
    await stage.fill(queue, [...stage.envelopes(300, { partitionId: 2 }), envelope])
    const waiting = await found(queue, envelope)
    assert.equal(waiting.state, 'waiting')
    assert.deepEqual(waiting.envelope!.payload, { a: 1 })
    assert.equal(waiting.deliveries, 0)
    assert.ok(Math.abs(waiting.acceptedAt! - epochMs()) < 60_000)
    await finish(queue, await stage.take(queue, 300))
    const delivery = await stage.takeOne(queue)
    if (delivery.countsAtStart) await queue.start([delivery])
    const leased = await found(queue, envelope)
    assert.deepEqual([leased.state, leased.workerId, leased.deliveries], ['leased', 'w1', 1])
    await queue.release([delivery], { reason: 'retry', delayMs: 150 })
    const delayed = await found(queue, envelope)
    assert.deepEqual([delayed.state, delayed.envelope!.retryCount], ['delayed', 1])
    assert.ok(delayed.dueAt! >= delayed.acceptedAt! + 100)
    const again = await stage.takeOne(queue)
    assert.equal((await found(queue, envelope)).state, 'leased')
    await queue.release([again], { reason: 'crash' })
    const back = await found(queue, envelope)
    assert.deepEqual([back.state, back.deliveries, back.workerId], ['waiting', 1, undefined])
    // An engine may reckon it anew from a clock that counts otherwise.
    assert.ok(Math.abs(back.acceptedAt! - waiting.acceptedAt!) < 20)
    const last = await stage.takeOne(queue)
    await deadLetter(queue, last, 'no use', 'broken')
    const dead = await found(queue, envelope)
    assert.deepEqual([dead.state, dead.reason], ['dead', 'no use'])
    assert.equal(dead.result?.error?.message, 'broken')
    assert.ok(Math.abs(dead.diedAt! - epochMs()) < 60_000)
    await queue.dead.redrive([envelope.id])
    assert.equal((await found(queue, envelope)).state, 'waiting')
    const final = await stage.takeOne(queue)
    await complete(queue, final, 'the value')
    const ended = await found(queue, envelope)
    assert.deepEqual([ended.state, ended.result?.value], ['ended', 'the value'])
  },
})

COMMAND_CASES.where({ ...COMMANDS, leaseMs: 500 })({
  async 'what a dead worker had is cancelled, before its lease expires and after'(stage, one, two) {
    const [before, after] = stage.envelopes(2)
    await stage.giveAll(one, [before!, after!])
    stage.kill(one)
    assert.equal(await cancel(two, before!), 'stopping')
    await pause(600)
    const again = await stage.takeOne(two)
    assert.equal(again.envelope.id, after!.id)
    await two.release([again], { reason: 'unstarted' })
    assert.equal(await cancel(two, after!), 'cancelled')
    await stage.nothing(two)
    await holds(two, { leased: 0 })
  },
})

COMMAND_CASES.where({ needs: ['leases', 'commands', 'keyOrder'], strategy: 'hash' })({
  async 'a cancelled command keeps back none of its key, which keep their order'(stage, queue) {
    const all = await stage.fill(queue, stage.envelopes(6, { key: 'k' }))
    const [a, b, c, d, e, f] = all
    const first = await stage.take(queue, 1)
    assert.deepEqual(idsOf(first), [a!.id])
    for (const waiting of [c!, b!, f!]) assert.equal(await cancel(queue, waiting), 'cancelled')
    assert.equal(await cancel(queue, a!), 'stopping')
    await queue.release(first, { reason: 'unstarted' })
    const taken: string[] = []
    for (let i = 0; i < 2; i++) {
      const delivery = await stage.takeOne(queue)
      taken.push(delivery.envelope.id)
      await finish(queue, [delivery])
    }
    assert.deepEqual(taken, [d!.id, e!.id])
    await stage.nothing(queue)
    const last = stage.envelope({ key: 'k' })
    await finish(queue, await stage.giveAll(queue, [last]))
  },
})

COMMAND_CASES.where({ ...COMMANDS, resultTtlMs: 200 })({
  async 'a cancelled id is new once its result has expired'(stage, queue) {
    const envelope = await stage.put(queue)
    await cancel(queue, envelope)
    await pause(250)
    assert.equal(await cancel(queue, envelope), 'unknown')
    assert.deepEqual(idsOf(await stage.giveAll(queue, [envelope])), [envelope.id])
    await stage.nothing(queue)
  },
})
