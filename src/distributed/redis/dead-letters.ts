// Dead letters: commands that failed for good, to be listed, redriven or dropped.

import type { CommandReference, DeadCommand, DeadCommands } from '../contract/distributed-queue.ts'
import type { CommandResult } from '../contract/envelope.ts'
import { checkReference, checkWhole } from '../contract/lease-request.ts'
import type { Reply } from './caller.ts'
import { type RedisEngine, referencesTo } from './engine.ts'
import { decodeEnvelope, decodeResult } from './envelope-codec.ts'
import { laneOf } from './keys.ts'
import type { RedisQueuePlan } from './options.ts'
import { REDRIVE } from './scripts/redrive.ts'
import { unreadEnvelope } from './undecodable.ts'

const LIST_MAX = 10_000

/** A record of the dead, taken apart. */
export interface DeadRecord {
  readonly lane: string
  readonly diedAt: number
  readonly reason: string
  readonly value: Buffer
  readonly result: Buffer
}

/**
 * Takes a record of the dead apart.
 *
 * @returns Nothing if it is none.
 */
export function partsOf(record: Buffer): DeadRecord | undefined {
  const head = /^([^:]*):(\d+):(\d+):(\d+):/.exec(record.toString('latin1', 0, 256))
  if (head === null) return undefined
  const [whole, lane, diedAt, reasonLength, valueLength] = head
  const value = whole.length + Number(reasonLength)
  const result = value + Number(valueLength)
  return {
    lane: lane!,
    diedAt: Number(diedAt),
    reason: record.toString('utf8', whole.length, value),
    value: record.subarray(value, result),
    result: record.subarray(result),
  }
}

export class RedisDeadLetters implements DeadCommands {
  readonly #engine: RedisEngine

  constructor(engine: RedisEngine) {
    this.#engine = engine
  }

  async list(max = 100): Promise<DeadCommand[]> {
    checkWhole('max', max, 1, LIST_MAX)
    const { keys, caller, plan } = this.#engine
    const lists = await Promise.all(
      Array.from({ length: plan.numPartitions }, async (_, partition) => {
        const { dead, deadOrder } = keys.partition(partition)
        const ids = (await caller.send(['ZRANGE', deadOrder, '0', String(max - 1)])) as Buffer[]
        if (ids.length === 0) return []
        const records = (await caller.send(['HMGET', dead, ...ids])) as (Buffer | null)[]
        return ids.flatMap((id, i) => {
          const record = records[i]
          return (record && readDead(plan, partition, id.toString('latin1'), record)) || []
        })
      }),
    )
    return lists
      .flat()
      .sort((a, b) => a.diedAt - b.diedAt)
      .slice(0, max)
  }

  async redrive(commands: readonly (CommandReference | string)[]): Promise<number> {
    return this.#each(commands, (reference) => this.#redriveOne(reference))
  }

  async drop(commands: readonly (CommandReference | string)[]): Promise<number> {
    const { keys, caller } = this.#engine
    return this.#each(commands, ({ commandId, partitionId }) => {
      const { dead, deadOrder, deadLanes } = keys.partition(partitionId)
      return caller.run<number>(REDRIVE, [dead, deadOrder, deadLanes], [commandId])
    })
  }

  async #each(
    commands: readonly (CommandReference | string)[],
    act: (reference: CommandReference) => Promise<number>,
  ): Promise<number> {
    const { numPartitions } = this.#engine.plan
    const references = commands.flatMap((command) =>
      typeof command === 'string' ? referencesTo(command, numPartitions) : [command],
    )
    for (const reference of references) checkReference(reference, numPartitions)
    const counts = await Promise.all(references.map(act))
    return counts.reduce((sum, count) => sum + count, 0)
  }

  async #redriveOne({ commandId, partitionId }: CommandReference): Promise<number> {
    const { keys, caller, plan } = this.#engine
    const names = keys.partition(partitionId)
    for (;;) {
      // The lane names the stream, which the script needs as a key.
      const record = (await caller.send(['HGET', names.dead, commandId])) as Reply
      const parts = Buffer.isBuffer(record) ? partsOf(record) : undefined
      if (parts === undefined) return 0
      const { lane } = parts
      const group = groupIn(parts, partitionId, plan)
      const place = laneOf({ laneId: lane, group })
      const own = [names.command(commandId), names.stream(place), names.lanes, names.own]
      const count = await caller.run<number>(
        REDRIVE,
        [names.dead, names.deadOrder, names.deadLanes, ...own, ...names.groups(place)],
        [commandId, lane, group ?? ''],
      )
      if (count >= 0) return count
    }
  }
}

/** The group of a dead command; undefined if it has none, or is no command. */
function groupIn(
  { value, lane }: DeadRecord,
  partition: number,
  { maxBytes }: RedisQueuePlan,
): string | undefined {
  try {
    return decodeEnvelope(value, lane, partition, maxBytes).envelope.group
  } catch {
    // It lies among those without a group, as whatever cannot be read.
    return undefined
  }
}

/**
 * Reads a record of the dead.
 *
 * @returns Nothing if it is none.
 */
export function readDead(
  { maxBytes }: RedisQueuePlan,
  partition: number,
  id: string,
  record: Buffer,
): DeadCommand | undefined {
  const parts = partsOf(record)
  if (parts === undefined) return undefined
  const { lane, diedAt, reason, value } = parts
  let envelope = unreadEnvelope(id, `${diedAt}-0`, partition, lane)
  let result: CommandResult | undefined
  try {
    envelope = decodeEnvelope(value, lane, partition, maxBytes).envelope
  } catch {
    // That is what it died of.
  }
  try {
    result = decodeResult(parts.result, maxBytes)
  } catch {
    // It is listed without.
  }
  return { envelope, reason, diedAt, result }
}
