// Local partition: that lanes which are not used any more leave nothing, and no order is lost.

import { expect, test } from 'vitest'
import { LocalCommand } from '../../../src/distributed/local/local-command.ts'
import { LocalLanePlans, LocalPartition } from '../../../src/distributed/local/local-partition.ts'

function commandOf(laneId: string, sequence: number): LocalCommand {
  const times = { createdAt: 0, retryCount: 0, version: 1 }
  const envelope = { id: `${sequence}`, commandType: 'work', laneId, partitionId: 0, ...times }
  const command = new LocalCommand(envelope, 0)
  command.queueUp(sequence, 0)
  return command
}

test('lanes that are empty are kept up to a bound', () => {
  const plans = new LocalLanePlans()
  const partition = new LocalPartition(plans)
  for (let sequence = 0; sequence < 10_000; sequence++) {
    const laneId = `tenant-${sequence}`
    partition.add(commandOf(laneId, sequence), 0)
    const demands = plans.open([{ laneId, max: 1, priority: sequence % 256, boost: [] }])
    expect(partition.take(demands, 0)?.envelope.laneId).toBe(laneId)
  }
  expect([...partition.laneIds].length).toBeLessThan(100)
})

test('a lane that holds something is kept, and its order, whatever becomes of others', () => {
  const plans = new LocalLanePlans()
  const partition = new LocalPartition(plans)
  const kept = { laneId: 'kept', max: 9, priority: 7, boost: [] }
  for (let sequence = 0; sequence < 3; sequence++) partition.add(commandOf('kept', sequence), 0)
  for (let sequence = 3; sequence < 6000; sequence++) {
    const laneId = `tenant-${sequence}`
    partition.add(commandOf(laneId, sequence), 0)
    partition.take(plans.open([{ laneId, max: 1, priority: 3, boost: [] }]), 0)
  }
  const demands = plans.open([kept])
  const taken = [0, 1, 2, 3].map(() => partition.take(demands, 0)?.envelope.id)
  expect(taken).toEqual(['0', '1', '2', undefined])
})
