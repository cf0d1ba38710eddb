// Chaos cases: workers that do everything at once, by chance.

import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { nowMs } from '../../base/clock.ts'
import { randomFrom } from '../../base/random.ts'
import type { Delivery, LeasedQueue } from '../contract/distributed-queue.ts'
import { type CaseOfContract, where } from './contract-case.ts'
import { type ContractStage, complete, holds, pause, referenceTo } from './contract-stage.ts'

const COMMANDS = 200
const PATIENCE_MS = 25_000

/** What the workers did, for the judge. */
class Ledger {
  /** Completions that counted, by id. */
  readonly done = new Map<string, number>()
  readonly fences = new Set<string>()
  /** Completions that are kept until their lease has ended. */
  readonly late: Promise<void>[] = []

  async complete(queue: LeasedQueue, delivery: Delivery): Promise<void> {
    const { id } = delivery.envelope
    if ((await complete(queue, delivery, id)) === 'done')
      this.done.set(id, (this.done.get(id) ?? 0) + 1)
  }
}

/** Does one of the things that become of a delivery. */
async function meddle(
  queue: LeasedQueue,
  delivery: Delivery,
  ledger: Ledger,
  chance: number,
): Promise<void> {
  const { id } = delivery.envelope
  assert.ok(!ledger.fences.has(`${id}/${delivery.fence}`), `a fence of ${id} came twice`)
  ledger.fences.add(`${id}/${delivery.fence}`)
  if (chance < 0.1) await queue.release([delivery], { reason: 'retry' })
  else if (chance < 0.2) await queue.release([delivery], { reason: 'unstarted' })
  else if (chance < 0.3) await queue.release([delivery], { reason: 'crash' })
  else if (chance < 0.4) {
    await queue.extend([delivery])
    await ledger.complete(queue, delivery)
  } else if (chance < 0.45) {
    const afterwards = pause(queue.leaseMs * 1.2).then(() => ledger.complete(queue, delivery))
    ledger.late.push(afterwards)
  } else if (chance >= 0.5) await ledger.complete(queue, delivery)
  // Between the two it is forgotten, as by a worker that dies.
}

async function riot(stage: ContractStage, seed: number): Promise<void> {
  const queues = await stage.workers('w1', 'w2', 'w3')
  const received = new Set<string>()
  if (queues[0]!.capabilities.results) {
    await queues[0]!.announce('me', ({ commandId }) => received.add(commandId))
  }
  const envelopes = Array.from({ length: COMMANDS }, (_, index) =>
    stage.envelope({ partitionId: index % 4, submitter: 'me' }),
  )
  await stage.fill(queues[0]!, envelopes)
  const ledger = new Ledger()
  const endMs = nowMs() + PATIENCE_MS
  await Promise.all(
    queues.map(async (queue, index) => {
      const chance = randomFrom(seed + index)
      while (ledger.done.size < COMMANDS) {
        assert.ok(nowMs() < endMs, `only ${ledger.done.size} of ${COMMANDS} commands ended`)
        const given = await queue.lease(stage.request({ max: 10, waitMs: 20 }))
        for (const delivery of given) await meddle(queue, delivery, ledger, chance())
      }
    }),
  )
  await Promise.all(ledger.late)
  assert.deepEqual(
    [...ledger.done].filter(([, count]) => count !== 1),
    [],
  )
  await stage.nothing(queues[1]!)
  const states = await queues[2]!.look(envelopes.map(referenceTo))
  assert.deepEqual(new Set(states.map(({ state }) => state)), new Set(['ended']))
  await holds(queues[1]!, { waiting: 0, leased: 0, delayed: 0, dead: 0 })
  if (queues[0]!.capabilities.results) {
    await stage.until('all results arrive', () => received.size === COMMANDS)
  }
}

/** Workers that do everything at once. */
export const CHAOS_CASES: readonly CaseOfContract[] = [
  where({ needs: ['leases'], leaseMs: 300, maxDeliveries: 1000 })(
    'whatever workers do and leave, each command ends once',
    async (stage) => {
      const seed = randomInt(2 ** 31)
      try {
        await riot(stage, seed)
      } catch (error) {
        throw new Error(`with seed ${seed}: ${(error as Error).message}`, { cause: error })
      }
    },
  ),
]
