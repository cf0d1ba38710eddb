// Dead letters: commands that failed for good, to be listed, redriven or dropped.

import type { CommandReference, DeadCommand, DeadCommands } from '../contract/distributed-queue.ts'
import type { CommandResult } from '../contract/envelope.ts'
import type { Behind } from '../contract/leased-engine.ts'
import { inBatches, positionsBy, type RedisEngine, readAll, referencesTo } from './engine.ts'
import { decodeEnvelope, decodeResult, unreadEnvelope } from './envelope-codec.ts'
import { laneOf } from './keys.ts'
import { REDRIVE } from './scripts/redrive.ts'

export function deadIn(engine: RedisEngine): Behind<DeadCommands> {
  const { keys, caller, plan } = engine
  const each = async (
    commands: readonly (CommandReference | string)[],
    act: (reference: CommandReference) => Promise<number>,
  ): Promise<number> => {
    const references = commands.flatMap((command) =>
      typeof command === 'string' ? referencesTo(command, plan.numPartitions) : [command],
    )
    const counts = await inBatches(references, (some) => Promise.all(some.map(act)))
    return counts.reduce((sum, count) => sum + count, 0)
  }
  return {
    list: (max = 100) => list(engine, max),
    redrive: (commands) => each(commands, (reference) => redrive(engine, reference)),
    drop: (commands) =>
      each(commands, ({ commandId, partitionId }) => {
        const { dead, deadOrder, deadLanes } = keys.partition(partitionId)
        return caller.run<number>(REDRIVE, [dead, deadOrder, deadLanes], [commandId])
      }),
  }
}

async function list(engine: RedisEngine, max: number): Promise<DeadCommand[]> {
  const { keys, caller } = engine
  const range = ['0', String(max - 1), 'WITHSCORES']
  const all = keys.partitions.map(async ({ deadOrder }, partition) => {
    const dead = await caller.send(['ZRANGE', deadOrder, ...range])
    const pairs = dead as unknown as [id: Buffer, diedAt: number][]
    return pairs.map(([id, diedAt]) => ({ partition, id, diedAt }))
  })
  // Only those are read, which may be large.
  const oldest = (await Promise.all(all))
    .flat()
    .sort((a, b) => a.diedAt - b.diedAt)
    .slice(0, max)
  const split = positionsBy(oldest, ({ partition }) => partition)
  const letters = Array.from(split, ([partition, positions]) => {
    const ids = positions.map((at) => oldest[at]!.id)
    return lettersOf(engine, partition, ids)
  })
  return (await Promise.all(letters))
    .flat()
    .filter((letter) => letter !== undefined)
    .sort((a, b) => a.diedAt - b.diedAt)
}

async function redrive(engine: RedisEngine, reference: CommandReference): Promise<number> {
  const { commandId, partitionId } = reference
  const names = engine.keys.partition(partitionId)
  for (;;) {
    // The lane names the stream, which the script needs as a key.
    const [letter] = await lettersOf(engine, partitionId, [commandId])
    if (letter === undefined) return 0
    // What cannot be read lies among those without a group.
    const { laneId, group } = letter.envelope
    const place = laneOf(letter.envelope)
    const own = [names.command(commandId), names.stream(place), names.lanes, names.own]
    const count = await engine.caller.run<number>(
      REDRIVE,
      [names.dead, names.deadOrder, names.deadLanes, ...own, ...names.groups(place)],
      [commandId, laneId, group ?? ''],
    )
    if (count >= 0) return count
  }
}

/** Dead commands by their ids; undefined for those that are not dead, or no record. */
export async function lettersOf(
  { keys, caller, plan }: RedisEngine,
  partition: number,
  ids: readonly (string | Buffer)[],
): Promise<(DeadCommand | undefined)[]> {
  if (ids.length === 0) return []
  const records = await readAll(caller, [keys.partition(partition).dead], ids)
  return records.map((record, i) =>
    record === null ? undefined : letterOf(record, String(ids[i]), partition, plan.maxBytes),
  )
}

/** Reads a record: lane, time of death and two lengths, then reason, entry and result. */
function letterOf(
  record: Buffer,
  id: string,
  partition: number,
  maxBytes: number,
): DeadCommand | undefined {
  const head = /^([^:]*):(\d+):(\d+):(\d+):/.exec(record.toString('latin1', 0, 256))
  if (head === null) return undefined
  const [{ length }, lane, diedAt, reasonLength, valueLength] = head
  const valueAt = length + Number(reasonLength)
  const resultAt = valueAt + Number(valueLength)
  let envelope = unreadEnvelope(id, `${diedAt}-0`, partition, lane!)
  try {
    const value = record.subarray(valueAt, resultAt)
    envelope = decodeEnvelope(value, lane!, partition, maxBytes).envelope
  } catch {
    // That is what it died of.
  }
  return {
    envelope,
    reason: record.toString('utf8', length, valueAt),
    diedAt: Number(diedAt),
    result: readResult(record.subarray(resultAt), maxBytes),
  }
}

/** A result; undefined if it cannot be read. */
export function readResult(bytes: Buffer, maxBytes: number): CommandResult | undefined {
  try {
    return decodeResult(bytes, maxBytes)
  } catch {
    return undefined
  }
}
