// Acknowledger: tells Redis the ends of deliveries: kept, completed, given back, dead-lettered.

import { nowMs } from '../../base/clock.ts'
import type {
  Delivery,
  LeaseExtension,
  ReleaseOptions,
  SettleStatus,
} from '../contract/distributed-queue.ts'
import { type CommandResult, leavesNothing } from '../contract/envelope.ts'
import type { Call } from './caller.ts'
import { batches, Numbering, pack, positionsBy, type RedisEngine } from './engine.ts'
import { encodeResult } from './envelope-codec.ts'
import type { DeliveryName } from './holdings.ts'
import type { PartitionKeys } from './keys.ts'
import { COMPLETE } from './scripts/complete.ts'
import { DEAD_LETTER } from './scripts/dead-letter.ts'
import { KEEP } from './scripts/keep.ts'
import { RELEASE } from './scripts/release.ts'
import { SCRIPT_MAX } from './scripts/script.ts'

export interface Completion {
  readonly delivery: Delivery
  readonly result: CommandResult
}

/** Deliveries of one partition that a call is about. */
interface Batch {
  readonly names: PartitionKeys
  /** Their positions among all that are settled. */
  readonly positions: readonly number[]
  /** The lanes in Redis that occur. */
  readonly lanes: readonly string[]
  /** Of each delivery, in one text: number of its lane, from 1, entry and counter. */
  readonly words: readonly string[]
}

export function complete(
  engine: RedisEngine,
  completions: readonly Completion[],
): Promise<SettleStatus[]> {
  const { keys, plan, consumer } = engine
  const envelopes = completions.map(({ delivery }) => delivery.envelope)
  const results = completions.map(({ result }, i) =>
    encodeResult(result, envelopes[i]!.submitter !== undefined, plan.maxBytes),
  )
  const callOf = ({ names, positions, lanes, words }: Batch): Call => {
    const channels = new Numbering()
    const lines = positions.map((position, i) => {
      const envelope = envelopes[position]!
      const { submitter } = envelope
      const silent = leavesNothing(envelope) ? -1 : 0
      const channel = submitter === undefined ? silent : channels.of(keys.results(submitter))
      return `${words[i]} ${channel}`
    })
    const commands = positions.map((position) => names.command(envelopes[position]!.id))
    const packed = pack(positions.map((position) => results[position]!))
    const args = [consumer, plan.resultTtlMs, lanes.length, lines.join('\n'), packed]
    return [
      COMPLETE,
      [...names.streams(lanes), ...commands, ...names.groups(...lanes)],
      [...args, ...channels.names],
    ]
  }
  const deliveries = completions.map(({ delivery }) => delivery)
  return settle(engine, deliveries, callOf, 'end', (position) => results[position]!.length)
}

export function release(
  engine: RedisEngine,
  deliveries: readonly DeliveryName[],
  { reason, delayMs = 0 }: ReleaseOptions,
): Promise<SettleStatus[]> {
  const moves = reason === 'retry' || delayMs > 0
  return settle(engine, deliveries, ({ names, positions, lanes, words }) => {
    const moved = moves ? positions : []
    const commands = moved.map((position) => names.command(deliveries[position]!.envelope.id))
    return [
      RELEASE,
      [...names.pairs(lanes), ...commands, ...names.groups(...lanes)],
      [engine.consumer, reason, Math.ceil(delayMs), lanes.length, words.join('\n')],
    ]
  })
}

export async function deadLetter(
  engine: RedisEngine,
  delivery: DeliveryName,
  reason: string,
  result: CommandResult,
): Promise<SettleStatus> {
  const { keys, plan, consumer } = engine
  const { id, laneId, submitter } = delivery.envelope
  const end = [reason.slice(0, 1024), encodeResult(result, true, plan.maxBytes)]
  const channel = submitter === undefined ? '' : keys.results(submitter)
  const [status] = await settle(engine, [delivery], ({ names, lanes, words }) => {
    const { dead, deadOrder, deadLanes } = names
    const place = [...names.streams(lanes), names.command(id)]
    const command = [consumer, ...words[0]!.split(' ').slice(1), plan.resultTtlMs, id, laneId]
    return [
      DEAD_LETTER,
      [...place, dead, deadOrder, deadLanes, ...names.groups(...lanes)],
      [...command, ...end, channel, plan.maxDead],
    ]
  })
  return status!
}

export async function extend(
  engine: RedisEngine,
  deliveries: readonly Delivery[],
): Promise<LeaseExtension> {
  const leasedUntilMs = nowMs() + engine.plan.leaseMs
  const statuses = await keep(engine, deliveries, 'keep')
  const lost = deliveries.filter((_, i) => statuses[i] === 'stale')
  return { lost: lost.map(({ fence }) => fence), leasedUntilMs }
}

/** Keeps deliveries, or counts those that are about to start. */
export function keep(
  engine: RedisEngine,
  deliveries: readonly Delivery[],
  mode: 'keep' | 'start',
): Promise<SettleStatus[]> {
  const { plan, consumer } = engine
  const own = [consumer, plan.workerId, mode === 'keep' ? plan.leaseMs : '']
  const callOf = ({ names, lanes, words }: Batch): Call => [
    KEEP,
    [names.own, ...names.streams(lanes)],
    [...own, words.join('\n')],
  ]
  return settle(engine, deliveries, callOf, mode)
}

/** Sends one call for each batch of a partition; all of them at once. */
async function settle(
  { keys, plan, caller, holdings }: RedisEngine,
  deliveries: readonly DeliveryName[],
  callOf: (batch: Batch) => Call,
  mode: 'end' | 'keep' | 'start' = 'end',
  bytesAt: (position: number) => number = () => 0,
): Promise<SettleStatus[]> {
  const statuses = new Array<SettleStatus>(deliveries.length).fill('stale')
  const fences = deliveries.map((delivery) => holdings.partsOf(delivery))
  // From before it was sent, as the contract says.
  const untilMs = nowMs() + plan.leaseMs
  const send = async (partition: number, positions: readonly number[]): Promise<void> => {
    const names = keys.partition(partition)
    const parts = positions.map((position) => fences[position]!)
    const lanes = new Numbering()
    const words = parts.map(({ lane, entry, counter }) => `${lanes.of(lane)} ${entry} ${counter}`)
    const call = callOf({ names, positions, lanes: lanes.names, words })
    const flags = [await caller.run<number | number[]>(...call)].flat()
    for (const [i, { lane, entry, counter }] of parts.slice(0, flags.length).entries()) {
      if (flags[i] === 1) statuses[positions[i]!] = 'done'
      if (mode === 'end' || flags[i] !== 1) holdings.drop(partition, lane, entry, Number(counter))
      else if (mode === 'keep' && holdings.has(partition, lane, entry)) {
        holdings.take(partition, lane, entry, Number(counter), untilMs)
      }
    }
    if (flags.length < positions.length) await send(partition, positions.slice(flags.length))
  }
  const calls: Promise<void>[] = []
  const ours = positionsBy(deliveries, ({ envelope }) => envelope.partitionId)
  for (const [partition, all] of ours) {
    const known = all.filter((position) => fences[position] !== undefined)
    for (const batch of batches(known, bytesAt, SCRIPT_MAX)) calls.push(send(partition, batch))
  }
  await Promise.all(calls)
  return statuses
}
