// Limit cases: tokens of a rate, slots of a concurrency, and turns and limits of groups, over all
// workers.

import assert from 'node:assert/strict'
import { nowMs } from '../../base/clock.ts'
import { show } from '../../base/errors.ts'
import { randomFrom } from '../../base/random.ts'
import type { Delivery, GroupTerms, LeasedQueue } from '../contract/distributed-queue.ts'
import { type CommandEnvelope, groupPartition } from '../contract/envelope.ts'
import type { SharedRate } from '../contract/live-limits.ts'
import { ContractCases } from './contract-case.ts'
import { complete, deadLetter, finish, holds, refused } from './contract-moves.ts'
import { type ContractStage, demand, idsOf, pause, referenceTo } from './contract-stage.ts'

const SLOTS = { needs: ['globalConcurrency'] } as const

/** What an engine's clock and this process's may differ by in the span of a case. */
const CLOCK_SLACK_MS = 2

/** A batch of tokens: used somewhere between the answer and its expiry. */
interface Grant {
  readonly fromMs: number
  readonly untilMs: number
  readonly count: number
}

async function collect(
  queue: LeasedQueue,
  rate: SharedRate,
  batch: (turn: number) => number,
  untilMs: number,
): Promise<Grant[]> {
  const grants: Grant[] = []
  for (let turn = 0; nowMs() < untilMs; turn++) {
    const wanted = batch(turn)
    const answer = await queue.limits.takeTokens('lane', rate, wanted)
    const { granted, expiresAtMs, retryAfterMs } = answer
    const fromMs = nowMs()
    // Those whose answer came too late can never be used.
    if (granted > 0 && fromMs <= expiresAtMs) {
      grants.push({ fromMs, untilMs: expiresAtMs, count: granted })
    }
    if (granted < wanted) await pause(Math.max(1, Math.min(retryAfterMs, 50)))
  }
  return grants
}

/**
 * Sees that a limit holds for every choice of moments of use: for each interval, everything that
 * could have been used within it was.
 */
function assertBound(grants: readonly Grant[], { limit, windowMs }: SharedRate): void {
  for (const from of grants) {
    for (const until of grants) {
      // The shortest interval with both: from the last moment of one to the first of the other.
      const startMs = from.untilMs
      const endMs = Math.max(startMs, until.fromMs)
      const used = grants
        .filter((grant) => grant.untilMs >= startMs && grant.fromMs <= endMs)
        .reduce((sum, { count }) => sum + count, 0)
      const allowed = limit + (limit * (endMs - startMs + CLOCK_SLACK_MS)) / windowMs
      assert.ok(used <= allowed, `${used} starts in ${endMs - startMs} ms, allowed: ${allowed}`)
    }
  }
}

const GROUPS = { needs: ['groups'] } as const
/** All groups meet in one partition. */
const TOGETHER = { ...GROUPS, numPartitions: 1 } as const

function some(
  stage: ContractStage,
  group: string,
  count: number,
  members: Partial<CommandEnvelope> = {},
): CommandEnvelope[] {
  const partitionId = groupPartition(group, stage.settings.numPartitions)
  return stage.envelopes(count, { group, partitionId, ...members })
}

function under(groups: GroupTerms) {
  return { lanes: [demand('lane', { groups })] }
}

function tally(deliveries: readonly Delivery[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { envelope } of deliveries) {
    const group = envelope.group ?? ''
    counts[group] = (counts[group] ?? 0) + 1
  }
  return counts
}

const CONCURRENCY = 2

/** Ends deliveries in all ways, by numbers that look random and are the same in every run. */
async function chaos(stage: ContractStage, queues: readonly LeasedQueue[]): Promise<void> {
  const names = ['a', 'b', 'c', 'd', 'e']
  const terms = under({ concurrency: CONCURRENCY })
  for (const group of names) await stage.fill(queues[0]!, some(stage, group, 12))
  const chance = randomFrom(7)
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

export const LIMIT_CASES = new ContractCases()

LIMIT_CASES.where({ needs: ['rates'] })({
  async 'tokens keep the bound of a limit, whenever they are used'(_, one, two, three) {
    const rate = { limit: 50, windowMs: 500 }
    // Batches of sizes that look random and are the same in every run.
    const batch = (turn: number) => 1 + ((turn * 7919) % 13)
    // A machine too busy to ask gets fewer; an engine that withholds some does so each time.
    let share = 0
    for (let tries = 0; tries < 10 && share < 0.7; tries++) {
      const startMs = nowMs()
      const endMs = startMs + 1500
      const all = await Promise.all(
        [one, two, three].map((queue) => collect(queue, rate, batch, endMs)),
      )
      const grants = all.flat()
      assertBound(grants, rate)
      const used = grants.reduce((sum, { count }) => sum + count, 0)
      share = (used * rate.windowMs) / ((nowMs() - startMs) * rate.limit)
    }
    assert.ok(share >= 0.7, `a part of ${share} of the tokens was granted`)
  },
  async 'an idle limit grants a batch at once, and tells when to ask again'(_, queue) {
    const rate = { limit: 2, windowMs: 2000 }
    const askedMs = nowMs()
    const first = await queue.limits.takeTokens('lane', rate, 2)
    assert.equal(first.granted, 2)
    assert.ok(first.expiresAtMs > askedMs)
    const second = await queue.limits.takeTokens('lane', rate, 1)
    assert.equal(second.granted, 0)
    assert.ok(second.retryAfterMs > 0 && second.retryAfterMs <= 2000, `${second.retryAfterMs}`)
    await pause(second.retryAfterMs + 5)
    assert.ok((await queue.limits.takeTokens('lane', rate, 1)).granted >= 1)
  },
  async 'no more tokens are granted than asked for, nor than the limit'(_, queue) {
    const rate = { limit: 10, windowMs: 60_000 }
    assert.equal((await queue.limits.takeTokens('lane', rate, 3)).granted, 3)
    const { granted } = await queue.limits.takeTokens('lane', rate, 1000)
    assert.ok(granted <= 7, `${granted}`)
  },
  async 'each lane has a limit of its own'(_, queue) {
    const rate = { limit: 1, windowMs: 60_000 }
    for (const lane of ['a', 'b']) {
      assert.equal((await queue.limits.takeTokens(lane, rate, 1)).granted, 1)
      assert.equal((await queue.limits.takeTokens(lane, rate, 1)).granted, 0)
    }
  },
  async 'a limit is shared by all workers'(_, one, two) {
    const rate = { limit: 5, windowMs: 60_000 }
    let granted = 0
    for (let turn = 0; turn < 10; turn++) {
      granted += (await [one, two][turn % 2]!.limits.takeTokens('lane', rate, 1)).granted
    }
    assert.ok(granted >= 1 && granted <= 5, `${granted}`)
  },
  async 'a limit that was far less before holds back no longer than its own window'(stage, queue) {
    const before = { limit: 1, windowMs: 3_600_000 }
    assert.equal((await queue.limits.takeTokens('lane', before, 1)).granted, 1)
    const rate = { limit: 5, windowMs: 50 }
    await stage.until('a token by the new limit', async () => {
      const { granted, retryAfterMs } = await queue.limits.takeTokens('lane', rate, 1)
      assert.ok(retryAfterMs <= 400, `${retryAfterMs}`)
      await pause(retryAfterMs)
      return granted === 1
    })
  },
})

LIMIT_CASES.where(SLOTS)({
  async 'there are no more slots than max; who has one keeps it until it is given back'(_, one) {
    const { limits } = one
    assert.deepEqual(await limits.takeSlots('lane', 2, ['a', 'b', 'c']), ['a', 'b'])
    assert.deepEqual(await limits.takeSlots('lane', 2, ['d']), [])
    assert.deepEqual(await limits.takeSlots('other', 2, ['d']), ['d'])
    assert.deepEqual((await limits.takeSlots('lane', 2, ['c', 'b', 'a'])).toSorted(), ['a', 'b'])
    await limits.releaseSlots('lane', ['a', 'unknown'])
    assert.deepEqual(await limits.takeSlots('lane', 2, ['c', 'd']), ['c'])
  },
  async 'a worker that was refused a slot hears when one is given back'(stage, one, two) {
    // Engines that cannot tell are asked again and again instead.
    if (two.limits.onSlotFree === undefined) return
    await one.limits.takeSlots('lane', 2, ['a', 'b'])
    let calls = 0
    const stop = two.limits.onSlotFree('lane', () => calls++)
    assert.deepEqual(await two.limits.takeSlots('lane', 2, ['c']), [])
    await stage.until('it hears of a slot', async () => {
      // An engine may have to subscribe first.
      if (calls === 0) {
        await one.limits.releaseSlots('lane', ['a'])
        await pause(20)
        if (calls === 0) await one.limits.takeSlots('lane', 2, ['a'])
      }
      return calls > 0
    })
    assert.deepEqual(await two.limits.takeSlots('lane', 2, ['c']), ['c'])
    stop()
    const before = calls
    await one.limits.releaseSlots('lane', ['b'])
    await pause(30)
    assert.equal(calls, before)
  },
  async 'workers that take slots at once do not take too many'(_, one, two, three) {
    for (let turn = 0; turn < 10; turn++) {
      const lane = `lane-${turn}`
      const take = ({ limits, workerId }: LeasedQueue): Promise<string[]> =>
        limits.takeSlots(lane, 5, [`${workerId}.0`, `${workerId}.1`, `${workerId}.2`])
      const taken = await Promise.all([one, two, three].map(take))
      assert.equal(taken.flat().length, 5)
    }
  },
})

LIMIT_CASES.where({ ...SLOTS, leaseMs: 700 })({
  async 'slots expire with the lease unless they are kept'(_, one, two) {
    await one.limits.takeSlots('lane', 2, ['a', 'b'])
    for (let turn = 0; turn < 5; turn++) {
      await pause(150)
      assert.deepEqual(await one.limits.takeSlots('lane', 2, ['b']), ['b'])
    }
    assert.deepEqual(await two.limits.takeSlots('lane', 2, ['c', 'd']), ['c'])
  },
})

LIMIT_CASES.where({ needs: ['lanes'] })({
  async 'limits that are set on a lane are known until they are reset'(stage, one, two) {
    let calls = 0
    const end = two.lanes!.onLimits(() => calls++)
    assert.deepEqual(await one.lanes!.limits(), [])
    await one.lanes!.setConcurrency('b', 3)
    await one.lanes!.setRateLimit('b', { limit: 5, windowMs: 100 })
    await one.lanes!.setRateLimit('a', { limit: 1 })
    await one.lanes!.setConcurrency('b', 4)
    await stage.until('the other worker hears of it', async () => {
      // An engine may have to subscribe first.
      if (calls === 0) await one.lanes!.setConcurrency('b', 4)
      await pause(10)
      return calls > 0
    })
    const a = { laneId: 'a', rate: { limit: 1, windowMs: 1000 } }
    const b = { laneId: 'b', rate: { limit: 5, windowMs: 100 } }
    assert.deepEqual(await two.lanes!.limits(), [a, { ...b, concurrency: 4 }])
    await two.lanes!.setRateLimit('a', undefined)
    await two.lanes!.setConcurrency('a', undefined)
    await two.lanes!.setConcurrency('b', undefined)
    assert.deepEqual(await one.lanes!.limits(), [b])
    end()
    const later = await stage.worker('w3')
    await later.lanes!.setRateLimit('b', undefined)
    assert.deepEqual(await one.lanes!.limits(), [])
  },
  async 'limits that no lane can have are refused'(_, { lanes }) {
    for (const concurrency of [0, -1, 1.5, 65_537, Number.NaN, '3']) {
      await refused(`${concurrency}`, lanes!.setConcurrency('lane', concurrency as number))
    }
    const sliding = { limit: 1, algorithm: 'sliding-window' } as const
    const own = { limit: 1, scope: 'partition' } as const
    for (const rate of [{}, { limit: 0 }, { limit: 1, windowMs: 0 }, sliding, own, 'fast']) {
      await refused(show(rate), lanes!.setRateLimit('lane', rate as { limit: number }))
    }
    await refused('no name', lanes!.setConcurrency('a b', 1))
    await refused('no name', lanes!.setRateLimit('', { limit: 1 }))
    assert.deepEqual(await lanes!.limits(), [])
  },
})

LIMIT_CASES.where(GROUPS)({
  async 'a command keeps its group, and must be in the partition of it'(stage, queue) {
    const { numPartitions } = stage.settings
    const partitionId = (groupPartition('a', numPartitions) + 1) % numPartitions
    const [stray] = some(stage, 'a', 1, { partitionId })
    await refused('another partition', queue.enqueueMany([stray!]), 'CORELANE_INVALID_ENVELOPE')
    const [one] = some(stage, 'a "group" – ü', 1)
    const given = (await stage.giveAll(queue, [one!]))[0]!
    assert.equal(given.envelope.group, one!.group)
    assert.equal(given.startByMs, undefined)
    await finish(queue, [given])
    await holds(queue, { waiting: 0 })
  },
  async 'a worker that waits is given a command of a group as it comes'(stage, queue) {
    const waiting = stage.woken(queue)
    await pause(50)
    const [one] = await stage.fill(queue, some(stage, 'a', 1))
    assert.deepEqual(idsOf(await waiting), [one!.id])
  },
  async 'no more of a group than its limit are out, on all workers'(stage, one, two) {
    await stage.fill(one, [...some(stage, 'a', 10), ...some(stage, 'b', 1)])
    const terms = under({ concurrency: 2 })
    const first = await stage.take(one, 3, terms)
    assert.deepEqual(tally(first), { a: 2, b: 1 })
    for (const queue of [one, two]) await stage.nothing(queue, terms)
    await finish(one, [first.find(({ envelope }) => envelope.group === 'a')!])
    await stage.take(two, 1, terms)
    for (const queue of [one, two]) await stage.nothing(queue, terms)
  },
  async 'a worker that waits hears of a slot of a group'(stage, one, two) {
    await stage.fill(one, some(stage, 'a', 2))
    const terms = under({ concurrency: 1 })
    const given = await stage.take(one, 1, terms)
    const waiting = stage.woken(two, terms)
    await pause(50)
    await finish(one, given)
    assert.equal((await waiting).length, 1)
  },
  async 'no group starts more often than its rate allows, on all workers'(stage, one, two) {
    for (const group of ['a', 'b']) await stage.fill(one, some(stage, group, 20))
    const terms = under({ rate: { limit: 4, windowMs: 60_000 } })
    const leases = [one, two].map((queue) => queue.lease(stage.request({ ...terms, waitMs: 50 })))
    const given = (await Promise.all(leases)).flat()
    for (const queue of [one, two]) given.push(...(await queue.lease(stage.request(terms))))
    const { a = 0, b = 0 } = tally(given)
    assert.ok(a >= 1 && a <= 4 && b >= 1 && b <= 4, `${a} ${b}`)
    const now = nowMs()
    for (const { startByMs } of given) assert.ok(startByMs! > 0 && startByMs! < now + 60_000)
    // A token that is not used is lost, so that the bound holds whatever it was.
    for (const queue of [one, two]) await queue.release(given.slice(0, 1), { reason: 'unstarted' })
    const more = tally(await one.lease(stage.request(terms)))
    assert.ok(a + (more.a ?? 0) <= 4 && b + (more.b ?? 0) <= 4)
  },
})

LIMIT_CASES.where(TOGETHER)({
  async 'the commands of a group come in their order'(stage, queue) {
    const all = await stage.fill(queue, some(stage, 'a', 30))
    const given = [...(await stage.take(queue, 7)), ...(await stage.take(queue, 23))]
    assert.deepEqual(idsOf(given), idsOf(all))
  },
  async 'a group that floods its lane leaves the others their turns'(stage, queue) {
    const counts = { flood: 200, few: 3, one: 1 }
    for (const [group, count] of Object.entries(counts)) {
      await stage.fill(queue, some(stage, group, count))
    }
    assert.deepEqual(tally(await stage.take(queue, 8)), { ...counts, flood: 4 })
  },
  async 'groups that wait all the time get equal shares'(stage, queue) {
    for (const group of ['a', 'b', 'c']) await stage.fill(queue, some(stage, group, 40))
    for (let turn = 0, given: Delivery[] = []; turn < 10; turn++) {
      given = [...given, ...(await stage.take(queue, 3 + turn))]
      const counts = Object.values(tally(given))
      assert.ok(Math.max(...counts) - Math.min(...counts) <= 2, `${counts}`)
    }
  },
  async 'weights divide the turns'(stage, queue) {
    for (const group of ['a', 'b', 'c']) await stage.fill(queue, some(stage, group, 100))
    const terms = under({ weights: new Map([['b', 3]]) })
    const { a, b, c } = tally(await stage.take(queue, 100, terms))
    assert.ok(Math.abs(a! - c!) <= 2 && Math.abs(b! - 3 * a!) <= 6, `${a} ${b} ${c}`)
  },
  async 'commands with and without a group share a lane'(stage, queue) {
    const plain = await stage.fill(queue, stage.envelopes(20))
    await stage.fill(queue, some(stage, 'a', 20))
    // No more is given than is wanted of it.
    const given = await queue.lease(stage.request({ lanes: [demand('lane', { max: 3 })] }))
    assert.equal(given.length, 3)
    given.push(...(await stage.take(queue, 37)))
    assert.deepEqual(tally(given), { '': 20, a: 20 })
    const others = given.filter(({ envelope }) => envelope.group === undefined)
    assert.deepEqual(idsOf(others), idsOf(plain))
    await finish(queue, given)
  },
  async 'every way to end a delivery gives its slot back, once'(stage, queue) {
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
      const given = await stage.takeOne(queue, terms)
      await stage.nothing(queue, terms)
      // What was given back keeps its place; what is to be retried leaves it.
      if (i === 1 || i === 2) assert.equal(given.envelope.id, last)
      else assert.notEqual(given.envelope.id, last)
      last = given.envelope.id
      await end(given)
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
    const again = await stage.takeOne(queue, terms)
    assert.equal(again.envelope.group, 'a')
    await finish(queue, [again])
  },
  async 'a group whose rate is spent goes on as soon as it may'(stage, queue) {
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
  },
})

LIMIT_CASES.where({ ...TOGETHER, leaseMs: 500 })({
  async 'a worker that dies gives its slots back with its leases'(stage, one, two) {
    const terms = under({ concurrency: 2 })
    await stage.fill(one, some(stage, 'a', 5))
    const lost = await stage.take(one, 2, terms)
    stage.kill(one)
    const again = await stage.take(two, 2, terms)
    assert.deepEqual(idsOf(again).toSorted(), idsOf(lost).toSorted())
    assert.ok(again.every(({ deliveries }) => deliveries === 2))
    await stage.nothing(two, terms)
    await finish(two, again)
    // What the dead worker says now changes nothing.
    assert.deepEqual(await one.release(lost, { reason: 'unstarted' }), ['stale', 'stale'])
    const rest = await stage.take(two, 2, terms)
    await stage.nothing(two, terms)
    await finish(two, rest)
    await finish(two, await stage.take(two, 1, terms))
  },
})

LIMIT_CASES.where({ needs: ['groups', 'delay'], numPartitions: 1 })({
  async 'a delayed command of a group comes when it is due'(stage, queue) {
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
})

LIMIT_CASES.where({ needs: ['groups', 'commands'], numPartitions: 1 })({
  async 'commands of groups are found, listed and cancelled'(stage, queue) {
    const terms = under({ concurrency: 1 })
    const all = await stage.fill(queue, some(stage, 'a', 4))
    const given = await stage.takeOne(queue, terms)
    const commands = queue.commands!
    const listed = (await commands.peek('lane')).map(({ envelope }) => envelope!)
    assert.deepEqual(idsOf(listed), idsOf(all.slice(1)))
    assert.ok(listed.every(({ group }) => group === 'a'))
    const states = await Promise.all(all.map((one) => commands.find(referenceTo(one))))
    const stages = states.map((found) => found!.state)
    assert.deepEqual(stages, ['leased', 'waiting', 'waiting', 'waiting'])
    assert.deepEqual(await commands.cancel([all[1]!.id, all[0]!.id]), ['cancelled', 'stopping'])
    await queue.release([given], { reason: 'unstarted' })
    const next = await stage.takeOne(queue, terms)
    assert.equal(next.envelope.id, all[2]!.id)
    await stage.nothing(queue, terms)
    await queue.release([next], { reason: 'retry' })
    const last = await stage.takeOne(queue, terms)
    assert.equal(last.envelope.id, all[3]!.id)
    assert.equal((await commands.find(all[2]!.id))!.state, 'waiting')
    await finish(queue, [last])
    await finish(queue, await stage.take(queue, 1, terms))
    await holds(queue, { waiting: 0, leased: 0 })
  },
})

LIMIT_CASES.where({ ...GROUPS, leaseMs: 400, numPartitions: 2, maxDeliveries: 1000 })({
  async 'no slot is lost or doubled, however deliveries end'(stage, one, two, three) {
    await chaos(stage, [one, two, three])
  },
})
