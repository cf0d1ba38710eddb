// Registry: looks up what the queue knows: commands, lanes, counts.

import { isPortableName } from '../../base/portable-name.ts'
import { addCounts, type LaneCounts, type QueueCounts } from '../../model/queue-standing.ts'
import type { CommandReference, CommandState, FoundCommand } from '../contract/distributed-queue.ts'
import type { CommandResult } from '../contract/envelope.ts'
import { type Reply, textOf } from './caller.ts'
import { partsOf, readDead } from './dead-letters.ts'
import { batches, byPartition, type RedisEngine } from './engine.ts'
import { decodeResult } from './envelope-codec.ts'
import { userLane } from './keys.ts'
import { COUNT } from './scripts/count.ts'
import { FORGET } from './scripts/forget.ts'
import { SCRIPT_MAX } from './scripts/script.ts'
import { pairsOf } from './start-check.ts'
import { undecodableResult } from './undecodable.ts'

const PENDING = 'P'.charCodeAt(0)
const ENDED = Buffer.from('E')

export class Registry {
  readonly #engine: RedisEngine

  constructor(engine: RedisEngine) {
    this.#engine = engine
  }

  /** Lanes in Redis that ever had a command in a partition. */
  async lanesOf(partition: number): Promise<string[]> {
    const { keys, caller } = this.#engine
    const reply = await caller.send(['SMEMBERS', keys.partition(partition).lanes])
    // A list or a set, as the protocol has it.
    const names = Array.from(reply as unknown as Iterable<Buffer>, textOf)
    return names.filter((name) => isPortableName(userLane(name))).sort()
  }

  /** Those of all partitions. */
  async allLanes(): Promise<Map<number, string[]>> {
    const length = this.#engine.plan.numPartitions
    const all = Array.from({ length }, async (_, p) => [p, await this.lanesOf(p)] as const)
    return new Map(await Promise.all(all))
  }

  async look(commands: readonly CommandReference[]): Promise<CommandState[]> {
    const { keys, caller } = this.#engine
    const states = new Array<CommandState>(commands.length)
    const split = byPartition(commands, ({ partitionId }) => partitionId)
    await Promise.all(
      [...split].map(async ([partition, positions]) => {
        const names = keys.partition(partition)
        const words = positions.map((at) => names.command(commands[at]!.commandId))
        const values = (await caller.send(['MGET', ...words])) as (Buffer | null)[]
        const dead = await this.#deadAmong(
          names.dead,
          positions.filter((_, i) => !values[i]).map((at) => commands[at]!.commandId),
        )
        for (const [i, at] of positions.entries()) {
          const command = commands[at]!
          states[at] = this.#stateOf(command, values[i] ?? dead.get(command.commandId))
        }
      }),
    )
    return states
  }

  /** Commands whose results have expired may be dead, and then their results are there. */
  async #deadAmong(key: string, ids: readonly string[]): Promise<ReadonlyMap<string, Buffer>> {
    const found = new Map<string, Buffer>()
    if (ids.length === 0) return found
    const records = (await this.#engine.caller.send(['HMGET', key, ...ids])) as (Buffer | null)[]
    for (const [i, id] of ids.entries()) {
      const result = records[i] ? partsOf(records[i])?.result : undefined
      if (result !== undefined) found.set(id, Buffer.concat([ENDED, result]))
    }
    return found
  }

  /** A command that has ended or is dead; undefined if it is neither. */
  async ended(command: CommandReference): Promise<FoundCommand | undefined> {
    const { commandId, partitionId } = command
    const { keys, caller, plan } = this.#engine
    const { dead } = keys.partition(partitionId)
    const record = (await caller.send(['HGET', dead, commandId])) as Buffer | null
    const letter = record === null ? undefined : readDead(plan, partitionId, commandId, record)
    if (letter !== undefined) return { state: 'dead', commandId, partitionId, ...letter }
    const [known] = await this.look([command])
    if (known?.state !== 'ended') return undefined
    return { state: 'ended', commandId, partitionId, result: known.result }
  }

  #stateOf({ commandId, partitionId }: CommandReference, value: Buffer | undefined): CommandState {
    if (value === undefined || value.length === 0) return { state: 'unknown' }
    if (value[0] === PENDING) return { state: 'pending' }
    const { maxBytes, workerId } = this.#engine.plan
    let result: CommandResult
    try {
      result = decodeResult(value.subarray(1), maxBytes)
    } catch {
      // It has ended; its result cannot be read.
      result = undecodableResult({ id: commandId, partitionId }, workerId)
    }
    return { state: 'ended', result }
  }

  async forget(commands: readonly CommandReference[]): Promise<void> {
    const { keys, caller } = this.#engine
    const calls: Promise<unknown>[] = []
    for (const [partition, positions] of byPartition(commands, (each) => each.partitionId)) {
      const names = keys.partition(partition)
      for (const batch of batches(positions, () => 0, SCRIPT_MAX)) {
        const words = batch.map((at) => names.command(commands[at]!.commandId))
        calls.push(caller.run(FORGET, words, []))
      }
    }
    await Promise.all(calls)
  }

  async counts(): Promise<QueueCounts> {
    const { keys, caller } = this.#engine
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
    const all = [...byLane.values()]
    const sum = (of: (counts: LaneCounts) => number) => all.reduce((n, each) => n + of(each), 0)
    return {
      waiting: sum(({ waiting }) => waiting),
      delayed: sum(({ delayed }) => delayed),
      leased: sum(({ leased }) => leased),
      dead,
      lanes: Object.fromEntries(
        Array.from(byLane, ([lane, { waiting, leased }]) => [lane, waiting + leased]),
      ),
      byLane: Object.fromEntries(byLane),
      partitions,
    }
  }
}
