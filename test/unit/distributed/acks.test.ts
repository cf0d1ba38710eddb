// Acks: a completion waits for others the longer, the longer its command has been under way.

import { expect, test } from 'vitest'
import { nowMs } from '../../../src/base/clock.ts'
import { Acknowledger } from '../../../src/distributed/work/acks.ts'
import { HeldCommands, type WorkerCore } from '../../../src/distributed/work/held.ts'
import { WorkerLane } from '../../../src/distributed/work/lane.ts'
import { planLane } from '../../../src/model/lane.ts'
import { deliveryOf } from '../../support/envelopes.ts'
import { UNHEARD } from '../../support/worker-events.ts'

/** Completes a command of an age while another runs; how long the queue waits for it. */
function waitOf(ageMs: number): Promise<number> {
  const held = new HeldCommands(UNHEARD, 1, false)
  const lane = new WorkerLane(planLane('lane', {}), false, undefined)
  const now = nowMs()
  const [first] = ['a', 'b'].map((id) => {
    const lease = { leasedUntilMs: now + 60_000, acceptedAtMs: now - ageMs }
    const one = held.add(deliveryOf(id, {}, lease), lane)
    held.submit(one)
    return one
  })
  held.runEnded()
  return new Promise((resolve) => {
    const core = {
      queue: {
        workerId: 'worker',
        leaseMs: 60_000,
        capabilities: { delay: true },
        completeMany: async () => {
          resolve(nowMs() - now)
          return ['done']
        },
      },
      held,
      events: UNHEARD,
      pace: { perMs: 10, sinceMs: now },
      plan: {},
    } as unknown as WorkerCore
    const names = { commandId: 'a', partitionId: 0, workerId: 'worker', success: true }
    const result = { ...names, retryCount: 0, durationMs: 1, completedAt: 0 }
    new Acknowledger(core).complete(first!, result)
  })
}

test.each([
  [0, 4],
  [400, 20],
  [60_000, 25],
])('the completion of a command of %i ms waits for %i ms', async (ageMs, leastMs) => {
  // Timers of Node.js may fire a millisecond early.
  expect(await waitOf(ageMs)).toBeGreaterThan(leastMs - 1.5)
})
