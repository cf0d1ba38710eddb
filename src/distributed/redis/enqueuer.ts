// Enqueuer: puts commands into the streams, one call at a time for each partition.
// Thread: main.   Owns: what waits for the call before it.
//
// One call at a time keeps the order of a partition even if a call must be repeated. What comes
// meanwhile goes together in the next one, so it costs nothing to enqueue one by one.

import { laneError, show } from '../../base/errors.ts'
import type { EnqueueStatus } from '../distributed-queue.ts'
import { type CommandEnvelope, checkEnvelope } from '../envelope.ts'
import { checkWhole } from '../lease-request.ts'
import type { Reply } from './caller.ts'
import { byPartition, type RedisEngine } from './engine.ts'
import { encodeEnvelope } from './envelope-codec.ts'
import { ENQUEUE } from './giving-scripts.ts'
import { BATCH_MAX } from './script.ts'

const CALL_BYTES_MAX = 2 ** 22
const CALL_COUNT_MAX = 4096

interface Waiting {
  readonly envelope: CommandEnvelope
  readonly value: Buffer
  readonly resolve: (status: EnqueueStatus) => void
  readonly reject: (error: unknown) => void
}

/** Enqueues. */
export class Enqueuer {
  readonly #engine: RedisEngine
  readonly #takesKeys: boolean
  readonly #waiting = new Map<number, Waiting[]>()
  readonly #busy = new Set<number>()

  /** @param engine - The queue. */
  constructor(engine: RedisEngine) {
    this.#engine = engine
    this.#takesKeys = engine.plan.strategy === 'hash' || engine.plan.strategy === 'none'
  }

  /**
   * Adds commands.
   *
   * @param envelopes - 1 to 4,096, from anybody.
   */
  async add(envelopes: readonly CommandEnvelope[]): Promise<EnqueueStatus[]> {
    this.#engine.caller.checkOpen()
    checkWhole('envelopes', envelopes.length, 1, CALL_COUNT_MAX)
    // All are checked and encoded before the first is sent: a bad one takes no others with it.
    const checked = envelopes.map((envelope) => this.#check(envelope))
    const values = checked.map((each) => encodeEnvelope(each, this.#engine.plan.maxBytes))
    const statuses: Promise<EnqueueStatus>[] = new Array(checked.length)
    for (const [partition, positions] of byPartition(checked, (each) => each.partitionId)) {
      for (const at of positions) statuses[at] = this.#wait(checked[at]!, values[at]!)
      this.#start(partition)
    }
    return Promise.all(statuses)
  }

  #check(given: CommandEnvelope): CommandEnvelope {
    const envelope = checkEnvelope(given, this.#engine.plan.numPartitions)
    if (envelope.key !== undefined && !this.#takesKeys) {
      const allowed = 'none: only queues with the strategy hash or none take keys'
      throw laneError('CORELANE_INVALID_ENVELOPE', {
        field: 'key',
        received: show(envelope.key),
        allowed,
      })
    }
    return envelope
  }

  #wait(envelope: CommandEnvelope, value: Buffer): Promise<EnqueueStatus> {
    return new Promise((resolve, reject) => {
      const { partitionId } = envelope
      const one = { envelope, value, resolve, reject }
      const waiting = this.#waiting.get(partitionId)
      if (waiting === undefined) this.#waiting.set(partitionId, [one])
      else waiting.push(one)
    })
  }

  #start(partition: number): void {
    if (this.#busy.has(partition)) return
    this.#busy.add(partition)
    // At the end of the turn, so that those enqueued in one loop go together.
    queueMicrotask(() => void this.#drain(partition))
  }

  async #drain(partition: number): Promise<void> {
    for (;;) {
      const waiting = this.#waiting.get(partition)
      if (waiting === undefined || waiting.length === 0) break
      const batch = this.#next(waiting)
      try {
        await this.#send(partition, batch)
      } catch (error) {
        for (const one of batch) one.reject(error)
      }
    }
    this.#waiting.delete(partition)
    this.#busy.delete(partition)
  }

  #next(waiting: Waiting[]): Waiting[] {
    let count = 0
    let bytes = 0
    while (count < waiting.length && count < BATCH_MAX) {
      bytes += waiting[count]!.value.length
      if (count > 0 && bytes > CALL_BYTES_MAX) break
      count++
    }
    return waiting.splice(0, count)
  }

  async #send(partition: number, batch: readonly Waiting[]): Promise<void> {
    const { keys, caller } = this.#engine
    const names = keys.partition(partition)
    const lanes = new Map<string, Waiting[]>()
    for (const one of batch) {
      const lane = lanes.get(one.envelope.laneId)
      if (lane === undefined) lanes.set(one.envelope.laneId, [one])
      else lane.push(one)
    }
    const ordered = [...lanes.values()].flat()
    const script = {
      script: ENQUEUE,
      keys: [
        names.lanes,
        ...[...lanes.keys()].map((lane) => names.stream(lane)),
        ...ordered.map(({ envelope }) => names.command(envelope.id)),
      ],
      args: [
        String(lanes.size),
        String(partition),
        keys.wakes,
        ...[...lanes].flatMap(([lane, ones]) => [lane, String(ones.length)]),
        ...ordered.map(({ value }) => value),
      ],
    }
    const statuses = (await caller.run(script)) as Reply[]
    for (let i = 0; i < ordered.length; i++) {
      ordered[i]!.resolve(statuses[i] === 1 ? 'accepted' : 'duplicate')
    }
  }
}
