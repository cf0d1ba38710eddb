// Local partition: that lanes which are not used any more leave nothing, and no order is lost.

import { expect, test } from 'vitest'
import {
  LocalCommand,
  type LocalLane,
  LocalLanePlans,
  LocalPartition,
} from '../../../src/distributed/local/local-partition.ts'
import { range } from '../../support/range.ts'

function commandOf(laneId: string, sequence: number, group?: string): LocalCommand {
  const times = { createdAt: 0, retryCount: 0, version: 1 }
  const names = { commandType: 'work', laneId, partitionId: 0, group }
  const envelope = { id: `${sequence}`, ...names, ...times }
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

test.each([
  ['without limits', undefined],
  ['with a maximum', { concurrency: 2 }],
])('a hundred thousand groups that were seen once are forgotten: %s', (_, groups) => {
  const plans = new LocalLanePlans()
  const grouped = new Set<LocalLane>()
  const partition = new LocalPartition(plans, grouped)
  let sequence = 0
  while (sequence < 100_000) {
    for (let n = 0; n < 1000; n++, sequence++) {
      partition.add(commandOf('lane', sequence, `tenant ${sequence}`), sequence)
    }
    const demands = plans.open([{ laneId: 'lane', max: 1000, priority: 5, boost: [], groups }])
    const taken = range(1000).map(() => partition.take(demands, sequence)!)
    for (const command of taken) partition.leave(command, sequence)
  }
  const [lane] = grouped
  // Some may come again soon.
  expect(lane!.groups!.groupCount).toBeLessThan(20_000)
  for (let i = 1; i <= 3; i++) lane!.groups!.advance(sequence + i * 2000)
  expect([lane!.groups!.groupCount, lane!.groups!.changesAtMs]).toEqual([0, Infinity])
})
