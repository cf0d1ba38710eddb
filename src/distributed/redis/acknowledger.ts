// Acknowledger: tells Redis the ends of deliveries: kept, completed, given back, dead-lettered.

import { nowMs } from '../../base/clock.ts'
import type { Delivery, ReleaseOptions, SettleStatus } from '../contract/distributed-queue.ts'
import { type CommandResult, checkName, leavesNothing } from '../contract/envelope.ts'
import { checkReference, checkRelease } from '../contract/lease-request.ts'
import type { Call, Reply } from './caller.ts'
import { batches, byPartition, Numbering, pack, type RedisEngine } from './engine.ts'
import { encodeResult } from './envelope-codec.ts'
import type { DeliveryName, Fence } from './holdings.ts'
import { COMPLETE } from './scripts/complete.ts'
import { DEAD_LETTER } from './scripts/dead-letter.ts'
import { EXTEND } from './scripts/extend.ts'
import { RELEASE } from './scripts/release.ts'
import { SCRIPT_MAX } from './scripts/script.ts'
import { START } from './scripts/start.ts'

/** A command and how it ended. */
export interface Completion {
  readonly delivery: Delivery
  readonly result: CommandResult
}

/** Settles. */
export class RedisAcknowledger {
  readonly #engine: RedisEngine

  constructor(engine: RedisEngine) {
    this.#engine = engine
  }

  /** Ends commands. */
  async complete(completions: readonly Completion[]): Promise<SettleStatus[]> {
    const results = completions.map(({ delivery, result }) =>
      this.#encode(result, delivery.envelope.submitter !== undefined),
    )
    return this.#settle(
      completions.map(({ delivery }) => delivery),
      (position) => results[position]!.length,
      (partition, positions, parts) =>
        this.#completeCall(partition, positions, parts, completions, results),
    )
  }

  #completeCall(
    partition: number,
    positions: readonly number[],
    parts: readonly Fence[],
    completions: readonly Completion[],
    results: readonly Buffer[],
  ): Call {
    const { keys, plan, consumer } = this.#engine
    const names = keys.partition(partition)
    const lanes = new Numbering()
    const channels = new Numbering()
    const lines: string[] = []
    const commands: string[] = []
    for (const [i, position] of positions.entries()) {
      const { envelope } = completions[position]!.delivery
      const { id, submitter } = envelope
      const { lane, entry, counter } = parts[i]!
      const silent = leavesNothing(envelope) ? -1 : 0
      const channel = submitter === undefined ? silent : channels.of(keys.results(submitter))
      lines.push(`${lanes.of(lane)} ${entry} ${counter} ${channel}`)
      commands.push(names.command(id))
    }
    return {
      script: COMPLETE,
      keys: [
        ...lanes.names.map((lane) => names.stream(lane)),
        ...commands,
        ...names.groups(...lanes.names),
      ],
      args: [
        consumer,
        String(plan.resultTtlMs),
        '0',
        String(lanes.names.length),
        lines.join('\n'),
        pack(positions.map((position) => results[position]!)),
        ...channels.names,
      ],
      repeatMark: 2,
    }
  }

  /**
   * Gives commands back.
   *
   * @param options - Why, and for how long no worker may have them.
   */
  release(deliveries: readonly DeliveryName[], options: ReleaseOptions): Promise<SettleStatus[]> {
    const { reason, delayMs = 0 } = options
    checkRelease(options)
    const { keys, consumer } = this.#engine
    const moves = reason === 'retry' || delayMs > 0
    return this.#settle(
      deliveries,
      () => 0,
      (partition, positions, parts) => {
        const names = keys.partition(partition)
        const { lanes, words } = placesOf(parts)
        const idOf = (position: number): string => deliveries[position]!.envelope.id
        return {
          script: RELEASE,
          keys: [
            ...names.pairs(lanes),
            ...(moves ? positions.map((position) => names.command(idOf(position))) : []),
            ...names.groups(...lanes),
          ],
          args: [
            consumer,
            reason,
            String(Math.ceil(delayMs)),
            String(partition),
            keys.wakes,
            String(lanes.length),
            ...lanes,
            ...words,
          ],
        }
      },
    )
  }

  /** Counts deliveries that are about to start. */
  start(deliveries: readonly Delivery[]): Promise<SettleStatus[]> {
    const { keys, consumer } = this.#engine
    return this.#settle(
      deliveries,
      () => 0,
      (partition, _, parts) => {
        const names = keys.partition(partition)
        const { lanes, words } = placesOf(parts)
        return {
          script: START,
          keys: lanes.map((lane) => names.stream(lane)),
          args: [consumer, ...words],
        }
      },
      'start',
    )
  }

  /**
   * Keeps deliveries for another lease.
   *
   * @returns For each whether it is held.
   */
  async extend(deliveries: readonly Delivery[]): Promise<boolean[]> {
    const { keys, plan, consumer } = this.#engine
    const statuses = await this.#settle(
      deliveries,
      () => 0,
      (partition, _, parts) => {
        const names = keys.partition(partition)
        const { lanes, words } = placesOf(parts)
        return {
          script: EXTEND,
          keys: [names.own, ...lanes.map((lane) => names.stream(lane))],
          args: [consumer, plan.workerId, String(plan.leaseMs), ...words],
        }
      },
      'keep',
    )
    return statuses.map((status) => status === 'done')
  }

  /** Ends a command that failed for good. */
  async deadLetter(
    delivery: DeliveryName,
    reason: string,
    result: CommandResult,
  ): Promise<SettleStatus> {
    const parts = this.#engine.holdings.partsOf(delivery)
    if (parts === undefined) return 'stale'
    const { keys, caller, plan, consumer } = this.#engine
    const { id, partitionId, laneId, submitter } = delivery.envelope
    this.#checkPlace(delivery)
    const names = keys.partition(partitionId)
    const reply = await caller.run({
      script: DEAD_LETTER,
      keys: [
        names.stream(parts.lane),
        names.command(id),
        names.dead,
        names.deadOrder,
        names.deadLanes,
        ...names.groups(parts.lane),
      ],
      args: [
        consumer,
        parts.entry,
        parts.counter,
        '0',
        String(plan.resultTtlMs),
        id,
        laneId,
        String(reason).slice(0, 1024),
        this.#encode(result, true),
        submitter === undefined ? '' : keys.results(submitter),
        String(plan.maxDead),
      ],
      repeatMark: 3,
    })
    this.#engine.holdings.drop(partitionId, parts.lane, parts.entry)
    return reply === 1 ? 'done' : 'stale'
  }

  /** A result that cannot travel is recorded as the failure that it is. */
  #encode(result: CommandResult, isKept: boolean): Buffer {
    const { maxBytes } = this.#engine.plan
    try {
      return encodeResult(result, isKept, maxBytes)
    } catch (error) {
      const { name, message, code } = error as Error & { code?: string }
      const { value: _, ...others } = result
      const failure = { name, message, ...(typeof code === 'string' ? { code } : {}) }
      return encodeResult({ ...others, success: false, error: failure }, false, maxBytes)
    }
  }

  #checkPlace({ envelope }: DeliveryName): void {
    const { id, partitionId } = envelope
    checkReference({ commandId: id, partitionId }, this.#engine.plan.numPartitions)
    checkName('laneId', envelope.laneId)
  }

  /** Sends one call for each batch of a partition; all of them at once. */
  async #settle(
    deliveries: readonly DeliveryName[],
    bytesAt: (position: number) => number,
    callOf: (partition: number, positions: readonly number[], parts: readonly Fence[]) => Call,
    mode: 'end' | 'keep' | 'start' = 'end',
  ): Promise<SettleStatus[]> {
    const { caller, holdings } = this.#engine
    caller.checkOpen()
    const statuses = new Array<SettleStatus>(deliveries.length).fill('stale')
    const parts = deliveries.map((delivery) => {
      this.#checkPlace(delivery)
      return holdings.partsOf(delivery)
    })
    const calls: Promise<void>[] = []
    // From before it was sent, as the contract says.
    const untilMs = nowMs() + this.#engine.plan.leaseMs
    const ours = byPartition(deliveries, ({ envelope }) => envelope.partitionId)
    for (const [partition, all] of ours) {
      const known = all.filter((position) => parts[position] !== undefined)
      for (const batch of batches(known, bytesAt, SCRIPT_MAX)) {
        const call = callOf(
          partition,
          batch,
          batch.map((position) => parts[position]!),
        )
        const isKeeping = mode !== 'end'
        calls.push(
          caller.run(call).then((reply) => {
            const flags = isKeeping ? keptOf(reply as number[], batch.length) : (reply as Reply[])
            for (const [i, position] of batch.entries()) {
              const { lane, entry, counter } = parts[position]!
              if (flags[i] === 1) statuses[position] = 'done'
              if (!isKeeping || flags[i] !== 1) holdings.drop(partition, lane, entry)
              else if (mode === 'keep' && holdings.has(partition, lane, entry)) {
                holdings.take(partition, lane, entry, Number(counter), untilMs)
              }
            }
          }),
        )
      }
    }
    await Promise.all(calls)
    return statuses
  }
}

/** Where deliveries are: lane, by its number among those that occur, entry and counter of each. */
function placesOf(parts: readonly Fence[]): {
  readonly lanes: readonly string[]
  readonly words: readonly string[]
} {
  const lanes = new Numbering()
  const words = parts.flatMap(({ lane, entry, counter }) => [
    String(lanes.of(lane)),
    entry,
    counter,
  ])
  return { lanes: lanes.names, words }
}

/** Turns positions of lost ones, from 1, into flags of kept ones. */
function keptOf(lost: readonly number[], count: number): number[] {
  const flags = new Array<number>(count).fill(1)
  for (const position of lost) flags[position - 1] = 0
  return flags
}
