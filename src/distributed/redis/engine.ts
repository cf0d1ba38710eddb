// Engine: the data that the parts of a queue on Redis share.
// Owns: nothing; data only.

import type { CommandReference } from '../contract/distributed-queue.ts'
import type { RedisCaller } from './caller.ts'
import type { Holdings } from './holdings.ts'
import type { QueueKeys } from './keys.ts'
import type { RedisIncident, RedisQueuePlan } from './options.ts'
import { READ } from './scripts/read.ts'
import { ANSWER_BYTES, SCRIPT_MAX } from './scripts/script.ts'
import type { Subscriptions, Wakes } from './subscriptions.ts'

/** What every part is given. */
export interface RedisEngine {
  readonly plan: RedisQueuePlan
  readonly keys: QueueKeys
  readonly caller: RedisCaller
  readonly holdings: Holdings
  /** Name of the worker among the consumers of a stream: it ends with the length of its lease. */
  readonly consumer: string
  readonly report: (kind: RedisIncident['kind'], detail: string) => void
  readonly subscriptions: Subscriptions
  readonly wakes: Wakes
}

/** A part of a queue on Redis that keeps something. */
export class RedisPart {
  protected readonly engine: RedisEngine

  constructor(engine: RedisEngine) {
    this.engine = engine
  }
}

/** Splits items by what they belong to: positions in `items`, in their order. */
export function positionsBy<Item, Key>(
  items: readonly Item[],
  keyOf: (item: Item) => Key,
): Map<Key, number[]> {
  const split = new Map<Key, number[]>()
  for (let i = 0; i < items.length; i++) {
    const key = keyOf(items[i]!)
    const positions = split.get(key)
    if (positions === undefined) split.set(key, [i])
    else positions.push(i)
  }
  return split
}

/** Does something about items, some of them at a time: other calls of this worker go between. */
export async function inBatches<Item, Answer>(
  items: readonly Item[],
  act: (some: readonly Item[]) => Promise<Answer[]>,
): Promise<Answer[]> {
  const answers: Answer[] = []
  for (let from = 0; from < items.length; from += SCRIPT_MAX) {
    answers.push(...(await act(items.slice(from, from + SCRIPT_MAX))))
  }
  return answers
}

/**
 * Reads values: of keys, or of ids in the one hash that is the key.
 *
 * @returns In their order; null for what is not there.
 */
export async function readAll(
  caller: RedisCaller,
  keys: readonly string[],
  ids: readonly (string | Buffer)[] = [],
): Promise<(Buffer | null)[]> {
  const values: (Buffer | null)[] = []
  const count = ids.length > 0 ? ids.length : keys.length
  while (values.length < count) {
    const at = values.length
    const rest = ids.length > 0 ? keys : keys.slice(at)
    values.push(...(await caller.run<(Buffer | null)[]>(READ, rest, ids.slice(at))))
  }
  return values
}

/** A command in each partition in which it may be. */
export function referencesTo(commandId: string, numPartitions: number): CommandReference[] {
  return Array.from({ length: numPartitions }, (_, partitionId) => ({ commandId, partitionId }))
}

/**
 * Cuts positions into batches that one call may take.
 *
 * @param bytesMax - Most bytes in a batch; one that is larger goes alone.
 */
export function* batches(
  positions: readonly number[],
  bytesAt: (position: number) => number,
  countMax: number,
  bytesMax: number = ANSWER_BYTES,
): Generator<number[]> {
  let batch: number[] = []
  let bytes = 0
  for (const position of positions) {
    const more = bytesAt(position)
    if (batch.length === countMax || (batch.length > 0 && bytes + more > bytesMax)) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(position)
    bytes += more
  }
  if (batch.length > 0) yield batch
}

/** Numbers names in the order in which they come, from 1. */
export class Numbering {
  readonly names: string[] = []
  readonly #numbers = new Map<string, number>()

  of(name: string): number {
    let number = this.#numbers.get(name)
    if (number === undefined) {
      this.names.push(name)
      number = this.names.length
      this.#numbers.set(name, number)
    }
    return number
  }
}

/**
 * Puts bytes one after the other, each with its length before it. One piece for a call is many
 * times cheaper to send than one for each command.
 */
export function pack(parts: readonly Buffer[]): Buffer {
  let length = 0
  for (const part of parts) length += 4 + part.length
  const packed = Buffer.allocUnsafe(length)
  let at = 0
  for (const part of parts) {
    at = packed.writeUInt32BE(part.length, at)
    packed.set(part, at)
    at += part.length
  }
  return packed
}
