// Lifted polls: polls a queue that can only give its next command.
// Owns: the pauses between polls, and commands that were taken before a worker wanted them.

import { nowMs } from '../../base/clock.ts'
import type { LeaseRequest } from '../contract/distributed-queue.ts'
import type { CommandEnvelope } from '../contract/envelope.ts'
import { Pause } from '../contract/pause.ts'

/** Takes the next command of a partition; undefined if there is none. */
export type TakeNext = (partitionId: number) => Promise<CommandEnvelope | undefined>

/**
 * Most commands of a partition that are kept here because their lane is not wanted at the moment.
 * Past it the partition is not asked: a lane that no worker wants holds up the others of its
 * partition.
 */
const KEPT_MAX = 256

interface Wanted {
  /** Most of each lane; undefined: any lane will do. */
  readonly lanes?: Map<string, number>
  left: number
}

/** Commands as they are asked for, one by one. */
export class LiftedPolls {
  readonly #next: TakeNext
  readonly #minMs: number
  readonly #maxMs: number
  /** By partition: taken from the queue, but their lane was not wanted. */
  readonly #kept = new Map<number, CommandEnvelope[]>()
  readonly #pause = new Pause()
  readonly #rounds = new Set<Promise<unknown>>()
  #isClosed = false

  constructor(next: TakeNext, minMs: number, maxMs: number) {
    this.#next = next
    this.#minMs = minMs
    this.#maxMs = maxMs
  }

  /** Ends pauses: something was enqueued here. */
  wake(): void {
    this.#pause.end()
  }

  /** Takes what is wanted, waiting for the first command. */
  async take({ partitions, lanes, max, waitMs, signal }: LeaseRequest): Promise<CommandEnvelope[]> {
    const endMs = nowMs() + waitMs
    const wanted = { lanes: new Map(lanes.map((lane) => [lane.laneId, lane.max])), left: max }
    let pauseMs = this.#minMs
    for (;;) {
      const taken = await this.#round(partitions, wanted)
      const leftMs = endMs - nowMs()
      if (taken.length > 0 || leftMs <= 0 || signal?.aborted || this.#isClosed) return taken
      // Rounded up: a timer cuts fractions off, and would ask once more just before the end.
      const spanMs = Math.ceil(Math.min(pauseMs, leftMs))
      const isWoken = await this.#pause.wait(spanMs, true, signal)
      pauseMs = isWoken ? this.#minMs : Math.min(pauseMs * 2, this.#maxMs)
    }
  }

  /** Takes the next command of a partition, whatever its lane, without waiting. */
  async takeNext(partitionId: number): Promise<CommandEnvelope | undefined> {
    return (await this.#round([partitionId], { left: 1 }))[0]
  }

  /** Stops waiting. Resolves with what was taken from the queue and not given out. */
  async close(): Promise<CommandEnvelope[]> {
    this.#isClosed = true
    this.wake()
    await Promise.allSettled(this.#rounds)
    const kept = [...this.#kept.values()].flat()
    this.#kept.clear()
    return kept
  }

  /** Asks every partition until it has nothing or everything that is wanted has come. */
  #round(partitions: readonly number[], wanted: Wanted): Promise<CommandEnvelope[]> {
    const round = this.#ask(partitions, wanted)
    this.#rounds.add(round)
    return round.finally(() => this.#rounds.delete(round))
  }

  async #ask(partitions: readonly number[], wanted: Wanted): Promise<CommandEnvelope[]> {
    const taken: CommandEnvelope[] = []
    try {
      for (const partitionId of partitions) {
        const kept = this.#keptOf(partitionId)
        takeKept(kept, wanted, taken)
        while (wanted.left > 0 && kept.length < KEPT_MAX && !this.#isClosed) {
          const envelope = await this.#next(partitionId)
          if (envelope === undefined) break
          // Through the kept ones, so that what others kept meanwhile goes before it.
          kept.push(envelope)
          takeKept(kept, wanted, taken)
          if (kept.at(-1) === envelope) this.wake()
        }
      }
    } catch (error) {
      // Commands that came must not be lost with the error; the next request meets it again.
      if (taken.length === 0) throw error
    }
    if (!this.#isClosed) return taken
    // They cannot be completed any more: they go back with the kept ones.
    for (const envelope of taken) this.#keptOf(envelope.partitionId).push(envelope)
    return []
  }

  #keptOf(partitionId: number): CommandEnvelope[] {
    const kept = this.#kept.get(partitionId) ?? []
    this.#kept.set(partitionId, kept)
    return kept
  }
}

function takeKept(kept: CommandEnvelope[], wanted: Wanted, taken: CommandEnvelope[]): void {
  for (let index = 0; index < kept.length && wanted.left > 0; ) {
    const envelope = kept[index]!
    const { lanes } = wanted
    const left = lanes === undefined ? wanted.left : (lanes.get(envelope.laneId) ?? 0)
    if (left > 0) {
      kept.splice(index, 1)
      lanes?.set(envelope.laneId, left - 1)
      wanted.left--
      taken.push(envelope)
    } else index++
  }
}
