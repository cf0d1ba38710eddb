// Stats: where a partition is said to be in its life. What is counted is in test/integration.

import { expect, test } from 'vitest'
import { partitionState } from '../../../src/coordinator/stats.ts'
import { PartitionHandle } from '../../../src/coordinator/threads/partition-handle.ts'

test('a thread that gets no more commands and has not ended drains, one that loads starts', () => {
  const partition = new PartitionHandle(0)
  const thread = { isUp: false, isReady: false }
  expect(partitionState(partition, 'starting')).toBe('starting')
  partition.occupy(thread as never)
  expect(partitionState(partition, 'starting')).toBe('starting')
  Object.assign(thread, { isUp: true, isReady: true })
  expect(partitionState(partition, 'running')).toBe('ready')
  // It hands over, tears down, or is to end after a command that kills it.
  thread.isReady = false
  expect(partitionState(partition, 'running')).toBe('draining')
  expect(partitionState(partition, 'shutdown')).toBe('draining')
  thread.isUp = false
  expect(partitionState(partition, 'running')).toBe('starting')
  partition.vacate('dormant')
  expect(partitionState(partition, 'running')).toBe('dormant')
  partition.vacate('failed')
  expect(partitionState(partition, 'running')).toBe('failed')
  expect(partitionState(partition, 'closed')).toBe('failed')
  partition.vacate('waiting')
  expect(partitionState(partition, 'closed')).toBe('ended')
})
