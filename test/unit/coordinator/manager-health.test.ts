// Manager health: which losses of threads keep commands from running, and who is told.

import { expect, test } from 'vitest'
import { laneError } from '../../../src/base/errors.ts'
import { ManagerHealth } from '../../../src/coordinator/manager-health.ts'
import type { Incarnation } from '../../../src/coordinator/threads/incarnation.ts'
import { PartitionHandle } from '../../../src/coordinator/threads/partition-handle.ts'
import type { PartitionStrategy } from '../../../src/model/partition-config.ts'
import { range } from '../../support/range.ts'

/** As much of a thread as health looks at. */
function thread(detachedCount = 0): Incarnation {
  return { isLoaded: true, window: { watch: { detachedCount } } } as unknown as Incarnation
}

function world(strategy: PartitionStrategy, count = 2) {
  const partitions = range(count).map((index) => new PartitionHandle(index))
  for (const partition of partitions) partition.occupy(thread())
  const state = { isEnding: false }
  const plan = { strategy, partitionCount: count, terminatingMax: 1 }
  const health = new ManagerHealth(plan, partitions, {
    get state() {
      return state.isEnding ? 'shutdown' : 'running'
    },
  })
  const lose = (index: number, failures: number): void => {
    const partition = partitions[index]!
    partition.vacate('waiting')
    partition.failures = failures
    partition.setback = laneError('CORELANE_HANDLERS_FAILED', { module: 'm', reason: 'r' })
  }
  return { partitions, health, lose, state }
}

test('a thread that is replaced at once is no trouble, one that is not is', () => {
  const { health, lose, partitions } = world('hash')
  expect([health.trouble, health.working]).toEqual([undefined, 2])
  lose(1, 1)
  expect([health.trouble, health.working]).toEqual([undefined, 2])
  lose(1, 2)
  expect(health.trouble).toMatchObject({ code: 'CORELANE_HANDLERS_FAILED' })
  expect(health.working).toBe(1)
  partitions[1]!.occupy(thread())
  expect([health.trouble, health.working]).toEqual([undefined, 2])
})

test('where any partition will do, all must be down', () => {
  const { health, lose, partitions } = world('balanced')
  lose(0, 9)
  partitions[0]!.vacate('failed')
  expect([health.trouble, health.working]).toEqual([undefined, 1])
  lose(1, 2)
  expect(health.trouble).toBe(partitions[0]!.failure)
  expect(health.working).toBe(0)
})

test('threads that do not end keep a partition down', () => {
  const { health, partitions } = world('single', 1)
  const [partition] = partitions
  partition!.vacate('waiting')
  partition!.terminating.add(thread())
  expect(health.trouble).toBeUndefined()
  partition!.terminating.add(thread())
  expect(health.trouble).toMatchObject({ code: 'CORELANE_PARTITION_LOST' })
})

test('a manager that ends is of no use any more', () => {
  const { health, state } = world('balanced')
  state.isEnding = true
  expect(health.trouble).toMatchObject({ code: 'CORELANE_CLOSED' })
})

test('listeners are called until they stop', () => {
  const { health } = world('balanced')
  let calls = 0
  const stop = health.watch(() => calls++)
  health.changed()
  health.progressed()
  stop()
  health.changed()
  expect(calls).toBe(1)
})

test('it is quiet once nothing runs on that was given up', () => {
  const { health, partitions } = world('balanced')
  expect(health.isQuiet).toBe(true)
  const [first, second] = partitions
  first!.occupy(thread(1))
  const old = thread()
  second!.terminating.add(old)
  const told: string[] = []
  health.whenQuiet(() => told.push('a'))
  const stop = health.whenQuiet(() => told.push('b'))
  first!.occupy(thread())
  health.progressed()
  expect(told).toEqual([])
  stop()
  second!.terminating.delete(old)
  health.progressed()
  health.progressed()
  expect(told).toEqual(['a'])
})
