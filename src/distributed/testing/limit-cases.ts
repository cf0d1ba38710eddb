// Limit cases: tokens of a rate and slots of a concurrency, over all workers.

import assert from 'node:assert/strict'
import { nowMs } from '../../base/clock.ts'
import { show } from '../../base/errors.ts'
import type { LeasedQueue } from '../contract/distributed-queue.ts'
import { type CaseOfContract, where } from './contract-case.ts'
import { pause, refused } from './contract-stage.ts'

const rated = where({ needs: ['rates'] })
const SLOTS = { needs: ['slots'] } as const
const slotted = where(SLOTS)

/** What an engine's clock and this process's may differ by in the span of a case. */
const CLOCK_SLACK_MS = 2

interface Rate {
  readonly limit: number
  readonly windowMs: number
}

/** A batch of tokens: used somewhere between the answer and its expiry. */
interface Grant {
  readonly fromMs: number
  readonly untilMs: number
  readonly count: number
}

/** Asks for tokens as fast as they come. */
async function collect(
  queue: LeasedQueue,
  rate: Rate,
  batch: (turn: number) => number,
  untilMs: number,
): Promise<Grant[]> {
  const grants: Grant[] = []
  for (let turn = 0; nowMs() < untilMs; turn++) {
    const { granted, expiresAtMs, retryAfterMs } = await queue.limits.takeTokens(
      'lane',
      rate,
      batch(turn),
    )
    const fromMs = nowMs()
    // Those whose answer came too late can never be used.
    if (granted > 0 && fromMs <= expiresAtMs) {
      grants.push({ fromMs, untilMs: expiresAtMs, count: granted })
    }
    if (granted < batch(turn)) await pause(Math.max(1, Math.min(retryAfterMs, 50)))
  }
  return grants
}

/**
 * Sees that a limit holds for every choice of moments of use: for each interval, everything that
 * could have been used within it was.
 */
function assertBound(grants: readonly Grant[], { limit, windowMs }: Rate): void {
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

const rates: readonly CaseOfContract[] = [
  rated('tokens keep the bound of a limit, whenever they are used', async (_, one, two, three) => {
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
  }),
  rated('an idle limit grants a batch at once, and tells when to ask again', async (_, queue) => {
    const rate = { limit: 20, windowMs: 2000 }
    const first = await queue.limits.takeTokens('lane', rate, 20)
    assert.equal(first.granted, 20)
    assert.ok(first.expiresAtMs > nowMs())
    const second = await queue.limits.takeTokens('lane', rate, 5)
    assert.equal(second.granted, 0)
    assert.ok(second.retryAfterMs > 0 && second.retryAfterMs <= 2000, `${second.retryAfterMs}`)
    await pause(second.retryAfterMs + 5)
    assert.ok((await queue.limits.takeTokens('lane', rate, 5)).granted >= 1)
  }),
  rated('no more tokens are granted than were asked for, nor than the limit', async (_, queue) => {
    const rate = { limit: 10, windowMs: 60_000 }
    assert.equal((await queue.limits.takeTokens('lane', rate, 3)).granted, 3)
    const { granted } = await queue.limits.takeTokens('lane', rate, 1000)
    assert.ok(granted <= 7, `${granted}`)
  }),
  rated('each lane has a limit of its own', async (_, queue) => {
    const rate = { limit: 1, windowMs: 60_000 }
    for (const lane of ['a', 'b']) {
      assert.equal((await queue.limits.takeTokens(lane, rate, 1)).granted, 1)
      assert.equal((await queue.limits.takeTokens(lane, rate, 1)).granted, 0)
    }
  }),
  rated('a limit is shared by all workers', async (_, one, two) => {
    const rate = { limit: 5, windowMs: 60_000 }
    let granted = 0
    for (let turn = 0; turn < 10; turn++) {
      granted += (await [one, two][turn % 2]!.limits.takeTokens('lane', rate, 1)).granted
    }
    assert.ok(granted >= 1 && granted <= 5, `${granted}`)
  }),
]

const slots: readonly CaseOfContract[] = [
  slotted('there are no more slots than max', async (_, { limits }) => {
    assert.deepEqual(await limits.takeSlots('lane', 2, ['a', 'b', 'c']), ['a', 'b'])
    assert.deepEqual(await limits.takeSlots('lane', 2, ['d']), [])
    assert.deepEqual(await limits.takeSlots('other', 2, ['d']), ['d'])
  }),
  slotted('who has a slot keeps it', async (_, { limits }) => {
    await limits.takeSlots('lane', 2, ['a', 'b'])
    assert.deepEqual((await limits.takeSlots('lane', 2, ['c', 'b', 'a'])).toSorted(), ['a', 'b'])
  }),
  slotted('a slot that is given back is free', async (_, { limits }) => {
    await limits.takeSlots('lane', 2, ['a', 'b'])
    await limits.releaseSlots('lane', ['a', 'unknown'])
    assert.deepEqual(await limits.takeSlots('lane', 2, ['c', 'd']), ['c'])
  }),
  where({ ...SLOTS, leaseMs: 700 })(
    'slots expire with the lease unless they are kept',
    async (_, one, two) => {
      await one.limits.takeSlots('lane', 2, ['a', 'b'])
      for (let turn = 0; turn < 5; turn++) {
        await pause(150)
        assert.deepEqual(await one.limits.takeSlots('lane', 2, ['b']), ['b'])
      }
      assert.deepEqual(await two.limits.takeSlots('lane', 2, ['c', 'd']), ['c'])
    },
  ),
  slotted(
    'a worker that was refused a slot hears when one is given back',
    async (stage, one, two) => {
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
  ),
  slotted('workers that take slots at once do not take too many', async (_, one, two, three) => {
    for (let turn = 0; turn < 10; turn++) {
      const lane = `lane-${turn}`
      const taken = await Promise.all(
        [one, two, three].map((queue) =>
          queue.limits.takeSlots(
            lane,
            5,
            [0, 1, 2].map((n) => `${queue.workerId}.${n}`),
          ),
        ),
      )
      assert.equal(taken.flat().length, 5)
    }
  }),
]

const limited = where({ needs: ['lanes'] })

const live: readonly CaseOfContract[] = [
  limited(
    'limits that are set on a lane are known until they are reset',
    async (stage, one, two) => {
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
      const rate = { limit: 5, windowMs: 100 }
      const [a, b] = [
        { laneId: 'a', rate: { limit: 1, windowMs: 1000 } },
        { laneId: 'b', concurrency: 4, rate },
      ]
      assert.deepEqual(await two.lanes!.limits(), [a, b])
      await two.lanes!.setRateLimit('a', undefined)
      await two.lanes!.setConcurrency('a', undefined)
      await two.lanes!.setConcurrency('b', undefined)
      assert.deepEqual(await one.lanes!.limits(), [{ laneId: 'b', rate }])
      end()
      const later = await stage.worker('w3')
      await later.lanes!.setRateLimit('b', undefined)
      assert.deepEqual(await one.lanes!.limits(), [])
    },
  ),
  limited('limits that no lane can have are refused', async (_, { lanes }) => {
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
  }),
  rated(
    'a limit that was far less before holds back no longer than its own window',
    async (stage, queue) => {
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
  ),
]

/** Tokens of a rate and slots of a concurrency, over all workers. */
export const LIMIT_CASES: readonly CaseOfContract[] = [...rates, ...slots, ...live]
