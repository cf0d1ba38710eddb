// Local partition: that lanes which are not used any more leave nothing, and no order is lost.

import { expect, test } from 'vitest'
import {
  LocalCommand,
  type LocalLane,
  LocalLanePlans,
  LocalPartition,
} from '../../../src/distributed/local/local-partition.ts'
import { collectGarbage } from '../../support/garbage.ts'
import { range } from '../../support/range.ts'

function commandOf(laneId: string, sequence: number, group?: string, key?: string): LocalCommand {
  const times = { createdAt: 0, retryCount: 0, version: 1 }
  const names = { commandType: 'work', laneId, partitionId: 0, group, key }
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

test('what was dropped is let go of though no worker asks for its lane or key', async () => {
  const plans = new LocalLanePlans()
  const partition = new LocalPartition(plans)
  const dropped: WeakRef<LocalCommand>[] = []
  const drop = (laneId: string, sequence: number, key?: string): void => {
    const command = commandOf(laneId, sequence, undefined, key)
    partition.add(command, 0)
    partition.drop(command, 0)
    dropped.push(new WeakRef(command))
  }
  for (const [sequence, key] of [undefined, 'k', 'k'].entries()) {
    partition.add(commandOf('lane', sequence, undefined, key), 0)
  }
  for (let sequence = 3; sequence < 3000; sequence += 3) {
    drop('lane', sequence)
    drop('lane', sequence + 1, 'k')
    drop(`tenant-${sequence}`, sequence + 2)
  }
  partition.add(commandOf('lane', 3000, undefined, 'k'), 0)
  // A WeakRef holds what it refers to until the end of the turn.
  await new Promise(setImmediate)
  collectGarbage()
  expect(dropped.filter((one) => one.deref()).length).toBeLessThan(200)
  expect([...partition.laneIds].length).toBeLessThan(200)
  const demands = plans.open([{ laneId: 'lane', max: 9, priority: 5, boost: [] }])
  const taken: string[] = []
  for (let next = partition.take(demands, 0); next; next = partition.take(demands, 0)) {
    taken.push(next.envelope.id)
    partition.leave(next, 0)
  }
  expect(taken).toEqual(['0', '1', '2', '3000'])
})
