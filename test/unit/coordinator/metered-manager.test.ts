// Metered manager: when a command could have started, through delays and runs that are followed by
// another.

import { expect, test } from 'vitest'
import { nowMs } from '../../../src/base/clock.ts'
import { laneError } from '../../../src/base/errors.ts'
import { CommandState } from '../../../src/coordinator/command.ts'
import { SubmitClock, startableNow } from '../../../src/coordinator/metered-manager.ts'
import { planLane } from '../../../src/model/lane.ts'
import { RetryPolicy } from '../../../src/model/retry.ts'
import { block, until } from '../../support/deadline.ts'
import { newCommand, services } from './support/rig.ts'

const submit = (clock: SubmitClock) => newCommand({}, () => {}, clock.present)

test('commands of one turn share a reading of the clock, those of the next have another', () => {
  const clock = new SubmitClock(services())
  const before = nowMs()
  const [first, second] = [submit(clock), submit(clock)]
  block(2)
  clock.endTurn()
  const third = submit(clock)
  expect(first.manager.atMs).toBeGreaterThanOrEqual(before)
  expect(second.manager.atMs).toBe(first.manager.atMs)
  expect(third.manager.atMs).toBeGreaterThan(first.manager.atMs!)
})

test('no more than 32 commands share one', () => {
  const clock = new SubmitClock(services())
  const readings = Array.from({ length: 65 }, () => {
    block(0.01)
    return submit(clock).manager.atMs
  })
  expect(new Set(readings).size).toBe(3)
})

test('a command that can start again could have started then, and was submitted before', () => {
  const made = submit(new SubmitClock(services()))
  const { submittedAtMs } = made
  block(2)
  startableNow(made)
  expect(made.manager.atMs).toBeGreaterThan(submittedAtMs)
  expect(made.submittedAtMs).toBe(submittedAtMs)
})

test('commands that run again, or come due, can start from then on', async () => {
  const { retry } = planLane('lane', { retry: RetryPolicy.fixed(3, 0).withLost() })
  const given = services()
  const { recovery, timers } = given
  const { present } = new SubmitClock(given)
  const [again, due] = [0, 1].map(() => newCommand({ options: { retry } }, () => {}, present))
  block(2)
  const lost = laneError('CORELANE_PARTITION_LOST', { partition: 0 })
  expect(recovery.lost(again!, lost, 0, 'none')).toBe(true)
  due!.admit()
  timers.delay(due!, 1)
  await until(() => due!.state === CommandState.QUEUED, 'the end of the delay')
  for (const made of [again!, due!]) expect(made.manager.atMs).toBeGreaterThan(present.atMs!)
})

test('without metrics a command knows neither', () => {
  const made = newCommand()
  startableNow(made)
  expect([made.manager.atMs, made.submittedAtMs, made.extras]).toEqual([undefined, 0, undefined])
})
