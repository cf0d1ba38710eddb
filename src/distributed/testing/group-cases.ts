// Group cases: fair turns of groups, and their limits over all workers.

import assert from 'node:assert/strict'
import { nowMs } from '../../base/clock.ts'
import type {
  Delivery,
  GroupTerms,
  LaneDemand,
  LeasedQueue,
} from '../contract/distributed-queue.ts'
import { type CommandEnvelope, groupPartition } from '../contract/envelope.ts'
import { type CaseOfContract, where } from './contract-case.ts'
import {
  type ContractStage,
  complete,
  deadLetter,
  demand,
  finish,
  holds,
  idsOf,
  pause,
  referenceTo,
  refused,
} from './contract-stage.ts'

const GROUPS = { needs: ['groups'] } as const
/** All groups meet in one partition. */
const TOGETHER = { ...GROUPS, numPartitions: 1 } as const
const grouped = where(GROUPS)
const together = where(TOGETHER)

/** Commands of a group, in its partition. */
function some(
  stage: ContractStage,
  group: string,
  count: number,
  members: Partial<CommandEnvelope> = {},
): CommandEnvelope[] {
  const partitionId = groupPartition(group, stage.settings.numPartitions)
  return stage.envelopes(count, { group, partitionId, ...members })
}

/** A request for the lane under terms of its groups. */
function under(groups: GroupTerms, changes: Partial<LaneDemand> = {}): { lanes: LaneDemand[] } {
  return { lanes: [demand('lane', { groups, ...changes })] }
}

function tally(deliveries: readonly Delivery[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { envelope } of deliveries) {
    const group = envelope.group ?? ''
    counts[group] = (counts[group] ?? 0) + 1
  }
  return counts
}

const turns: readonly CaseOfContract[] = [
  grouped('a command keeps its group', async (stage, queue) => {
    const [one] = some(stage, 'a "group" – ü', 1)
    const given = (await stage.giveAll(queue, [one!]))[0]!
    assert.equal(given.envelope.group, one!.group)
    assert.equal(given.startByMs, undefined)
    await finish(queue, [given])
    await holds(queue, { waiting: 0 })
  }),
  grouped('a command must be in the partition of its group', async (stage, queue) => {
    const partitionId = (groupPartition('a', stage.settings.numPartitions) + 1) % 4
    const [stray] = some(stage, 'a', 1, { partitionId })
    await refused('another partition', queue.enqueueMany([stray!]), 'CORELANE_INVALID_ENVELOPE')
  }),
  together('the commands of a group come in their order', async (stage, queue) => {
    const all = some(stage, 'a', 30)
    await stage.fill(queue, all)
    const given = [...(await stage.take(queue, 7)), ...(await stage.take(queue, 23))]
    assert.deepEqual(
      idsOf(given),
      all.map(({ id }) => id),
    )
  }),
  together('a group that floods its lane leaves the others their turns', async (stage, queue) => {
    await stage.fill(queue, some(stage, 'flood', 200))
    await stage.fill(queue, some(stage, 'few', 3))
    await stage.fill(queue, some(stage, 'one', 1))
    const given = await stage.take(queue, 8)
    const { flood, few, one } = tally(given)
    assert.deepEqual([few, one], [3, 1])
    assert.equal(flood, 4)
  }),
  together('groups that wait all the time get equal shares', async (stage, queue) => {
    for (const group of ['a', 'b', 'c']) await stage.fill(queue, some(stage, group, 40))
    for (let turn = 0, given: Delivery[] = []; turn < 10; turn++) {
      given = [...given, ...(await stage.take(queue, 3 + turn))]
      const counts = Object.values(tally(given))
      assert.ok(Math.max(...counts) - Math.min(...counts) <= 2, `${counts}`)
    }
  }),
  together('weights divide the turns', async (stage, queue) => {
    for (const group of ['a', 'b', 'c']) await stage.fill(queue, some(stage, group, 100))
    const terms = under({ weights: new Map([['b', 3]]) })
    const { a, b, c } = tally(await stage.take(queue, 100, terms))
    assert.ok(Math.abs(a! - c!) <= 2 && Math.abs(b! - 3 * a!) <= 6, `${a} ${b} ${c}`)
  }),
  together('commands with and without a group share a lane', async (stage, queue) => {
    const plain = stage.envelopes(20)
    await stage.fill(queue, plain)
    await stage.fill(queue, some(stage, 'a', 20))
    const given = await stage.take(queue, 40)
    assert.deepEqual(tally(given), { '': 20, a: 20 })
    assert.deepEqual(
      idsOf(given.filter(({ envelope }) => envelope.group === undefined)),
      plain.map(({ id }) => id),
    )
    await finish(queue, given)
  }),
  together('no more is given than is wanted of a lane', async (stage, queue) => {
    await stage.fill(queue, stage.envelopes(10))
    await stage.fill(queue, some(stage, 'a', 10))
    const given = await queue.lease(stage.request({ lanes: [demand('lane', { max: 3 })] }))
    assert.equal(given.length, 3)
  }),
  grouped('a worker that waits is given a command of a group as it comes', async (stage, queue) => {
    const waiting = queue.lease(stage.request({ waitMs: 10_000 }))
    await pause(50)
    const [one] = some(stage, 'a', 1)
    await stage.fill(queue, [one!])
    assert.deepEqual(idsOf(await waiting), [one!.id])
  }),
]

const limits: readonly CaseOfContract[] = [
  grouped('no more of a group than its limit are out, on all workers', async (stage) => {
    const queues = await stage.workers('w1', 'w2')
    await stage.fill(queues[0]!, some(stage, 'a', 10))
    await stage.fill(queues[0]!, some(stage, 'b', 1))
    const terms = under({ concurrency: 2 })
    const first = await stage.take(queues[0]!, 3, terms)
    assert.deepEqual(tally(first), { a: 2, b: 1 })
    for (const queue of queues) await stage.nothing(queue, terms)
    const one = first.find(({ envelope }) => envelope.group === 'a')!
    await finish(queues[0]!, [one])
    await stage.take(queues[1]!, 1, terms)
    for (const queue of queues) await stage.nothing(queue, terms)
  }),
  grouped('a worker that waits hears of a slot of a group', async (stage, one, two) => {
    await stage.fill(one, some(stage, 'a', 2))
    const terms = under({ concurrency: 1 })
    const given = await stage.take(one, 1, terms)
    const waiting = two.lease(stage.request({ ...terms, waitMs: 10_000 }))
    await pause(50)
    await finish(one, given)
    assert.equal((await waiting).length, 1)
  }),
  together('every way to end a delivery gives its slot back, once', async (stage, queue) => {
    const terms = under({ concurrency: 1 })
    await stage.fill(queue, some(stage, 'a', 6))
    const ends: ((given: Delivery) => Promise<unknown>)[] = [
      (given) => queue.release([given], { reason: 'unstarted' }),
      (given) => queue.release([given], { reason: 'crash' }),
      (given) => queue.release([given], { reason: 'retry' }),
      (given) => deadLetter(queue, given, 'failed', 'no'),
      (given) => finish(queue, [given]),
      (given) => finish(queue, [given]),
    ]
    let last = ''
    for (const [i, end] of ends.entries()) {
      const [given] = await stage.take(queue, 1, terms)
      await stage.nothing(queue, terms)
      // What was given back keeps its place; what is to be retried leaves it.
      if (i === 1 || i === 2) assert.equal(given!.envelope.id, last)
      else assert.notEqual(given!.envelope.id, last)
      last = given!.envelope.id
      await end(given!)
    }
    const left = await stage.take(queue, 1, terms)
    await stage.nothing(queue, terms)
    await finish(queue, left)
    for (;;) {
      const given = await queue.lease(stage.request({ ...terms, waitMs: 50 }))
      if (given.length === 0) break
      assert.equal(given.length, 1)
      await finish(queue, given)
    }
    await holds(queue, { waiting: 0, leased: 0, dead: 1 })
    assert.equal(await queue.dead.redrive([(await queue.dead.list())[0]!.envelope.id]), 1)
    const [again] = await stage.take(queue, 1, terms)
    assert.equal(again!.envelope.group, 'a')
    await finish(queue, [again!])
  }),
  where({ ...TOGETHER, leaseMs: 500 })(
    'a worker that dies gives its slots back with its leases',
    async (stage, one, two) => {
      const terms = under({ concurrency: 2 })
      const all = some(stage, 'a', 5)
      await stage.fill(one, all)
      const lost = await stage.take(one, 2, terms)
      stage.kill(one)
      const again = await stage.take(two, 2, terms)
      assert.deepEqual(idsOf(again).toSorted(), idsOf(lost).toSorted())
      assert.deepEqual(
        again.map(({ deliveries }) => deliveries),
        [2, 2],
      )
      await stage.nothing(two, terms)
      await finish(two, again)
      // What the dead worker says now changes nothing.
      assert.deepEqual(await one.release(lost, { reason: 'unstarted' }), ['stale', 'stale'])
      const rest = await stage.take(two, 2, terms)
      await stage.nothing(two, terms)
      await finish(two, rest)
      await finish(two, await stage.take(two, 1, terms))
    },
  ),
  grouped('no group starts more often than its rate allows, on all workers', async (stage) => {
    const queues = await stage.workers('w1', 'w2')
    for (const group of ['a', 'b']) await stage.fill(queues[0]!, some(stage, group, 20))
    const terms = under({ rate: { limit: 4, windowMs: 60_000 } })
    const given = (
      await Promise.all(queues.map((queue) => queue.lease(stage.request({ ...terms, waitMs: 50 }))))
    ).flat()
    for (const queue of queues) given.push(...(await queue.lease(stage.request(terms))))
    const { a = 0, b = 0 } = tally(given)
    assert.ok(a >= 1 && a <= 4 && b >= 1 && b <= 4, `${a} ${b}`)
    const now = nowMs()
    for (const { startByMs } of given) assert.ok(startByMs! > 0 && startByMs! < now + 60_000)
    // A token that is not used is lost, so that the bound holds whatever it was.
    await queues[0]!.release(given.slice(0, 1), { reason: 'unstarted' })
    await queues[1]!.release(given.slice(0, 1), { reason: 'unstarted' })
    const more = tally(await queues[0]!.lease(stage.request(terms)))
    assert.ok(a + (more.a ?? 0) <= 4 && b + (more.b ?? 0) <= 4)
  }),
  together('a group whose rate is spent goes on as soon as it may', async (stage, queue) => {
    await stage.fill(queue, some(stage, 'a', 6))
    const terms = under({ rate: { limit: 2, windowMs: 200 } })
    const startMs = nowMs()
    const given: Delivery[] = []
    while (given.length < 6) {
      given.push(...(await queue.lease(stage.request({ ...terms, waitMs: 5000 }))))
    }
    // 2 at once, and 10 a second from then on.
    assert.ok(nowMs() - startMs >= 350, `${nowMs() - startMs}`)
    await finish(queue, given)
  }),
  where({ needs: ['groups', 'delay'], numPartitions: 1 })(
    'a delayed command of a group comes when it is due',
    async (stage, queue) => {
      const [late] = some(stage, 'a', 1, { options: { delayMs: 150 } })
      const [later] = some(stage, 'a', 1, { options: { delayMs: 600_000 } })
      const startMs = nowMs()
      await stage.fill(queue, [late!, later!])
      const given = await stage.takeOne(queue)
      assert.ok(nowMs() - startMs >= 145, `${nowMs() - startMs}`)
      await holds(queue, { delayed: 1 })
      await queue.release([given], { reason: 'retry', delayMs: 100 })
      const again = await stage.takeOne(queue)
      assert.deepEqual([again.envelope.id, again.envelope.retryCount], [late!.id, 1])
      await finish(queue, [again])
    },
  ),
  where({ needs: ['groups', 'commands'], numPartitions: 1 })(
    'commands of groups are found, listed and cancelled',
    async (stage, queue) => {
      const terms = under({ concurrency: 1 })
      const all = some(stage, 'a', 4)
      await stage.fill(queue, all)
      const [given] = await stage.take(queue, 1, terms)
      const commands = queue.commands!
      const listed = await commands.peek('lane')
      assert.deepEqual(
        listed.map(({ commandId, envelope }) => [commandId, envelope!.group]),
        all.slice(1).map(({ id }) => [id, 'a']),
      )
      const states = await Promise.all(all.map((one) => commands.find(referenceTo(one))))
      assert.deepEqual(
        states.map((found) => found!.state),
        ['leased', 'waiting', 'waiting', 'waiting'],
      )
      assert.deepEqual(await commands.cancel([all[1]!.id, all[0]!.id]), ['cancelled', 'stopping'])
      await queue.release([given!], { reason: 'unstarted' })
      const [next] = await stage.take(queue, 1, terms)
      assert.equal(next!.envelope.id, all[2]!.id)
      await stage.nothing(queue, terms)
      await queue.release([next!], { reason: 'retry' })
      const [last] = await stage.take(queue, 1, terms)
      assert.equal(last!.envelope.id, all[3]!.id)
      assert.equal((await commands.find(all[2]!.id))!.state, 'waiting')
      await finish(queue, [last!])
      await finish(queue, await stage.take(queue, 1, terms))
      await holds(queue, { waiting: 0, leased: 0 })
    },
  ),
  where({ ...GROUPS, leaseMs: 400, numPartitions: 2, maxDeliveries: 1000 })(
    'no slot is lost or doubled, however deliveries end',
    async (stage, one, two, three) => {
      await chaos(stage, [one, two, three])
    },
  ),
]

const CONCURRENCY = 2

/** Ends deliveries in all ways, by numbers that look random and are the same in every run. */
async function chaos(stage: ContractStage, queues: readonly LeasedQueue[]): Promise<void> {
  const names = ['a', 'b', 'c', 'd', 'e']
  const terms = under({ concurrency: CONCURRENCY })
  for (const group of names) await stage.fill(queues[0]!, some(stage, group, 12))
  let seed = 7
  const chance = (): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed / 2_147_483_647
  }
  /** Deliveries that a worker still has, as far as it can be sure. */
  const out = new Set<Delivery>()
  let done = 0
  for (let round = 0; done < 60; round++) {
    const queue = queues[round % queues.length]!
    const given = await queue.lease(stage.request({ ...terms, max: 4, waitMs: 20 }))
    for (const each of given) out.add(each)
    const now = nowMs()
    const counts = tally([...out].filter(({ leasedUntilMs }) => leasedUntilMs > now))
    for (const [group, count] of Object.entries(counts)) {
      assert.ok(count <= CONCURRENCY, `${count} of group ${group} are out`)
    }
    for (const each of given) {
      const way = round > 100 ? 1 : chance()
      // Its worker says nothing more of it.
      if (way < 0.15) continue
      out.delete(each)
      if (way < 0.3) await queue.release([each], { reason: 'unstarted' })
      else if (way < 0.4) await queue.release([each], { reason: 'crash' })
      else if (way < 0.5) await queue.release([each], { reason: 'retry' })
      else if ((await complete(queue, each)) === 'done') done++
    }
  }
  assert.equal(done, 60)
  await holds(queues[0]!, { waiting: 0, leased: 0 })
}

/** Fair turns of groups, and their limits over all workers. */
export const GROUP_CASES: readonly CaseOfContract[] = [...turns, ...limits]
