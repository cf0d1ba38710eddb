// Registry: looks up what the queue knows: commands, lanes, counts.

import { isPortableName } from '../../base/portable-name.ts'
import {
  addCounts,
  type LaneCounts,
  type QueueCounts,
  queueCounts,
} from '../../model/queue-standing.ts'
import type { CommandReference, CommandState, FoundCommand } from '../contract/distributed-queue.ts'
import type { CommandResult } from '../contract/envelope.ts'
import { type Reply, textOf } from './caller.ts'
import { lettersOf, readResult } from './dead-letters.ts'
import { batches, positionsBy, type RedisEngine, readAll } from './engine.ts'
import { undecodableResult } from './envelope-codec.ts'
import { userLane } from './keys.ts'
import { COUNT } from './scripts/count.ts'
import { FORGET } from './scripts/forget.ts'
import { SCRIPT_MAX } from './scripts/script.ts'
import { pairsOf } from './start-check.ts'

const PENDING = 'P'.charCodeAt(0)
const NONE = Buffer.alloc(0)

/** Lanes in Redis that ever had a command in a partition. */
export async function lanesOf({ keys, caller }: RedisEngine, partition: number): Promise<string[]> {
  const reply = await caller.send(['SMEMBERS', keys.partition(partition).lanes])
  // A list or a set, as the protocol has it.
  const names = Array.from(reply as unknown as Iterable<Buffer>, textOf)
  return names.filter((name) => isPortableName(userLane(name))).sort()
}

/** Those of all partitions. */
export async function allLanes(engine: RedisEngine): Promise<Map<number, string[]>> {
  const { partitions } = engine.keys
  const all = partitions.map(async (_, p) => [p, await lanesOf(engine, p)] as const)
  return new Map(await Promise.all(all))
}

export async function statesOf(
  engine: RedisEngine,
  commands: readonly CommandReference[],
): Promise<CommandState[]> {
  const { keys, caller, plan } = engine
  const states = new Array<CommandState>(commands.length)
  const split = positionsBy(commands, ({ partitionId }) => partitionId)
  /** Of one that has ended, even if its result cannot be read. */
  const ended = (at: number, result: CommandResult | undefined): CommandState => {
    const { commandId: id, partitionId } = commands[at]!
    const known = result ?? undecodableResult({ id, partitionId }, plan.workerId)
    return { state: 'ended', result: known }
  }
  const stateOf = (at: number, value: Buffer): CommandState => {
    if (value.length === 0) return { state: 'unknown' }
    if (value[0] === PENDING) return { state: 'pending' }
    return ended(at, readResult(value.subarray(1), plan.maxBytes))
  }
  await Promise.all(
    [...split].map(async ([partition, positions]) => {
      const names = keys.partition(partition)
      const words = positions.map((at) => names.command(commands[at]!.commandId))
      const values = await readAll(caller, words)
      for (const [i, at] of positions.entries()) states[at] = stateOf(at, values[i] ?? NONE)
      // Commands whose results have expired may be dead, and then their results are there.
      const unknown = positions.filter((at) => states[at]!.state === 'unknown')
      const ids = unknown.map((at) => commands[at]!.commandId)
      for (const [i, letter] of (await lettersOf(engine, partition, ids)).entries()) {
        const at = unknown[i]!
        if (letter !== undefined) states[at] = ended(at, letter.result)
      }
    }),
  )
  return states
}

/** A command that has ended or is dead; undefined if it is neither. */
export async function findEnded(
  engine: RedisEngine,
  command: CommandReference,
): Promise<FoundCommand | undefined> {
  const { commandId, partitionId } = command
  const [letter] = await lettersOf(engine, partitionId, [commandId])
  if (letter !== undefined) return { state: 'dead', commandId, partitionId, ...letter }
  const [known] = await statesOf(engine, [command])
  if (known?.state !== 'ended') return undefined
  return { state: 'ended', commandId, partitionId, result: known.result }
}

export async function forget(
  { keys, caller }: RedisEngine,
  commands: readonly CommandReference[],
): Promise<void> {
  const calls: Promise<unknown>[] = []
  for (const [partition, positions] of positionsBy(commands, (each) => each.partitionId)) {
    const names = keys.partition(partition)
    for (const batch of batches(positions, () => 0, SCRIPT_MAX)) {
      const words = batch.map((at) => names.command(commands[at]!.commandId))
      calls.push(caller.run(FORGET, words, []))
    }
  }
  await Promise.all(calls)
}

export async function countsOf(engine: RedisEngine): Promise<QueueCounts> {
  const { keys, caller } = engine
  const byLane = new Map<string, LaneCounts>()
  let dead = 0
  const partitions = await Promise.all(
    Array.from(await allLanes(engine), async ([partition, lanes]) => {
      const names = keys.partition(partition)
      const { deadOrder, dead: letters, deadLanes } = names
      const [deadHere, deadByLane, ...counts] = await caller.run<[number, Reply, ...number[]]>(
        COUNT,
        [deadOrder, letters, deadLanes, ...names.pairs(lanes), ...names.groups(...lanes)],
        [lanes.length],
      )
      let here = 0
      dead += deadHere
      for (const [i, lane] of lanes.entries()) {
        const [length, held, late] = counts.slice(3 * i, 3 * i + 3) as [number, number, number]
        addCounts(byLane, userLane(lane), length - held, late, held)
        here += length
      }
      for (const [lane, count] of pairsOf(deadByLane)) {
        if (isPortableName(lane)) addCounts(byLane, lane, 0, 0, 0, Number(count))
      }
      return here
    }),
  )
  return { ...queueCounts(byLane, partitions), dead }
}
