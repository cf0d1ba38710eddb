// Metered manager: when a command could have started, through delays and runs that are followed by
// another.

import { expect, test } from 'vitest'
import { laneError } from '../../../src/base/errors.ts'
import { CommandState } from '../../../src/coordinator/command.ts'
import { MeteredManager, startableNow } from '../../../src/coordinator/metered-manager.ts'
import { planLane } from '../../../src/model/lane.ts'
import { RetryPolicy } from '../../../src/model/retry.ts'
import { block, until } from '../../support/deadline.ts'
import { newCommand, services } from './support/rig.ts'

test('a command that can start again could have started then, and was submitted before', () => {
  const made = newCommand({}, () => {}, new MeteredManager(services()))
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
  const present = new MeteredManager(given)
  const [again, due] = [0, 1].map(() => newCommand({ options: { retry } }, () => {}, present))
  block(2)
  const lost = laneError('CORELANE_PARTITION_LOST', { partition: 0 })
  expect(recovery.lost(again!, lost, 0, 'none')).toBe(true)
  due!.admit()
  timers.delay(due!, 1)
  await until(() => due!.state === CommandState.QUEUED, 'the end of the delay')
  for (const made of [again!, due!]) expect(made.manager.atMs).toBeGreaterThan(present.atMs)
})

test('without metrics a command knows neither', () => {
  const made = newCommand()
  startableNow(made)
  expect([made.manager.atMs, made.submittedAtMs, made.extras]).toEqual([undefined, 0, undefined])
})
