// Enqueuer: puts commands into the streams, one call at a time for each partition.
// Owns: the commands that wait for the call before theirs.
//
// One call at a time keeps the order of a partition even if a call must be repeated. Commands
// that come meanwhile go together in the next one, so it costs nothing to enqueue one by one.

import { outside } from '../../base/async-context.ts'
import { timers } from '../../base/clock.ts'
import type { EnqueueStatus } from '../contract/distributed-queue.ts'
import type { CommandEnvelope } from '../contract/envelope.ts'
import { batches, pack, positionsBy, RedisPart } from './engine.ts'
import { encodeEnvelope } from './envelope-codec.ts'
import { laneOf } from './keys.ts'
import { ENQUEUE } from './scripts/enqueue.ts'
import { SCRIPT_MAX } from './scripts/script.ts'

interface Wish {
  readonly statuses: EnqueueStatus[]
  left: number
  readonly resolve: (statuses: EnqueueStatus[]) => void
  readonly reject: (error: unknown) => void
}

interface Waiting {
  readonly id: string
  /** The lane in Redis. */
  readonly lane: string
  readonly group: string | undefined
  readonly value: Buffer
  /** How long it is kept back, in milliseconds. */
  readonly delayMs: number
  readonly wish: Wish
  readonly position: number
}

export class Enqueuer extends RedisPart {
  /** By partition, while a call of it is under way. */
  readonly #waiting = new Map<number, Waiting[]>()

  async add(envelopes: readonly CommandEnvelope[]): Promise<EnqueueStatus[]> {
    const { maxBytes } = this.engine.plan
    // All are encoded before the first is sent: a bad one takes no others with it.
    const values = envelopes.map((each) => encodeEnvelope(each, maxBytes))
    return new Promise((resolve, reject) => {
      const wish = {
        statuses: new Array(envelopes.length),
        left: envelopes.length,
        resolve,
        reject,
      }
      for (const [position, envelope] of envelopes.entries()) {
        const { id, group, options } = envelope
        const delayMs = Math.ceil(options?.delayMs ?? 0)
        const value = values[position]!
        const lane = laneOf(envelope)
        this.#wait(envelope.partitionId, { id, lane, group, value, delayMs, wish, position })
      }
    })
  }

  #wait(partition: number, one: Waiting): void {
    const waiting = this.#waiting.get(partition)
    if (waiting !== undefined) {
      waiting.push(one)
      return
    }
    this.#waiting.set(partition, [one])
    // At the end of the turn, so that those enqueued in one loop go together.
    outside(timers.queueMicrotask, () => void this.#drain(partition))
  }

  async #drain(partition: number): Promise<void> {
    for (;;) {
      const waiting = this.#waiting.get(partition)!
      if (waiting.length === 0) break
      this.#waiting.set(partition, [])
      const bytesAt = (at: number): number => waiting[at]!.value.length
      for (const positions of batches([...waiting.keys()], bytesAt, SCRIPT_MAX)) {
        const batch = positions.map((at) => waiting[at]!)
        await this.#send(partition, batch).catch((error: unknown) => {
          for (const { wish } of batch) wish.reject(error)
        })
      }
    }
    this.#waiting.delete(partition)
  }

  async #send(partition: number, batch: readonly Waiting[]): Promise<void> {
    const { keys, caller } = this.engine
    const names = keys.partition(partition)
    const lanes = positionsBy(batch, ({ lane }) => lane)
    const ordered = [...lanes.values()].flat().map((at) => batch[at]!)
    const isDelayed = batch.some(({ delayMs }) => delayMs > 0)
    const groups = ordered.flatMap(({ group }) => (group === undefined ? [] : [Buffer.from(group)]))
    const isGrouped = groups.length > 0
    const laneIds = [...lanes.keys()]
    const values = pack(ordered.map(({ value }) => value))
    const delays = isDelayed ? ordered.map(({ delayMs }) => delayMs).join(' ') : ''
    const statuses = await caller.run<number[]>(
      ENQUEUE,
      [
        names.lanes,
        names.deadOrder,
        ...names.streams(laneIds),
        ...ordered.map(({ id }) => names.command(id)),
        ...(isDelayed ? laneIds.map((lane) => names.delayed(lane)) : []),
        ...(isGrouped ? [...names.groups(...laneIds), names.own] : []),
      ],
      [
        ...[lanes.size, values, delays],
        ...Array.from(lanes.values(), (ones) => ones.length),
        ...(isGrouped ? [pack(groups)] : []),
      ],
    )
    for (const [i, { wish, position }] of ordered.entries()) {
      wish.statuses[position] = statuses[i] === 1 ? 'accepted' : 'duplicate'
      if (--wish.left === 0) wish.resolve(wish.statuses)
    }
  }
}
