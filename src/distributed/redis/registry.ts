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
import { batches, positionsBy, RedisPart, readAll } from './engine.ts'
import { userLane } from './keys.ts'
import { COUNT } from './scripts/count.ts'
import { FORGET } from './scripts/forget.ts'
import { SCRIPT_MAX } from './scripts/script.ts'
import { pairsOf } from './start-check.ts'
import { undecodableResult } from './undecodable.ts'

const PENDING = 'P'.charCodeAt(0)
const NONE = Buffer.alloc(0)

export class Registry extends RedisPart {
  /** Lanes in Redis that ever had a command in a partition. */
  async lanesOf(partition: number): Promise<string[]> {
    const { keys, caller } = this.engine
    const reply = await caller.send(['SMEMBERS', keys.partition(partition).lanes])
    // A list or a set, as the protocol has it.
    const names = Array.from(reply as unknown as Iterable<Buffer>, textOf)
    return names.filter((name) => isPortableName(userLane(name))).sort()
  }

  /** Those of all partitions. */
  async allLanes(): Promise<Map<number, string[]>> {
    const { partitions } = this.engine.keys
    const all = partitions.map(async (_, p) => [p, await this.lanesOf(p)] as const)
    return new Map(await Promise.all(all))
  }

  async look(commands: readonly CommandReference[]): Promise<CommandState[]> {
    const { keys, caller } = this.engine
    const states = new Array<CommandState>(commands.length)
    const split = positionsBy(commands, ({ partitionId }) => partitionId)
    await Promise.all(
      [...split].map(async ([partition, positions]) => {
        const names = keys.partition(partition)
        const words = positions.map((at) => names.command(commands[at]!.commandId))
        const values = await readAll(caller, words)
        for (const [i, at] of positions.entries()) {
          states[at] = this.#stateOf(commands[at]!, values[i] ?? NONE)
        }
        // Commands whose results have expired may be dead, and then their results are there.
        const unknown = positions.filter((at) => states[at]!.state === 'unknown')
        const ids = unknown.map((at) => commands[at]!.commandId)
        for (const [i, letter] of (await lettersOf(this.engine, partition, ids)).entries()) {
          const at = unknown[i]!
          if (letter !== undefined) states[at] = this.#ended(commands[at]!, letter.result)
        }
      }),
    )
    return states
  }

  /** A command that has ended or is dead; undefined if it is neither. */
  async ended(command: CommandReference): Promise<FoundCommand | undefined> {
    const { commandId, partitionId } = command
    const [letter] = await lettersOf(this.engine, partitionId, [commandId])
    if (letter !== undefined) return { state: 'dead', commandId, partitionId, ...letter }
    const [known] = await this.look([command])
    if (known?.state !== 'ended') return undefined
    return { state: 'ended', commandId, partitionId, result: known.result }
  }

  #stateOf(command: CommandReference, value: Buffer): CommandState {
    if (value.length === 0) return { state: 'unknown' }
    if (value[0] === PENDING) return { state: 'pending' }
    return this.#ended(command, readResult(value.subarray(1), this.engine.plan.maxBytes))
  }

  /** The state of a command that has ended, even if its result cannot be read. */
  #ended({ commandId, partitionId }: CommandReference, result?: CommandResult): CommandState {
    const { workerId } = this.engine.plan
    const unread = () => undecodableResult({ id: commandId, partitionId }, workerId)
    return { state: 'ended', result: result ?? unread() }
  }

  async forget(commands: readonly CommandReference[]): Promise<void> {
    const { keys, caller } = this.engine
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

  async counts(): Promise<QueueCounts> {
    const { keys, caller } = this.engine
    const byLane = new Map<string, LaneCounts>()
    let dead = 0
    const partitions = await Promise.all(
      Array.from(await this.allLanes(), async ([partition, lanes]) => {
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
}
