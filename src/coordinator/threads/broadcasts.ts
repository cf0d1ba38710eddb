// Broadcasts: runs a handler once on every partition, outside lanes and windows.
// Owns: their numbering, and those that are kept for threads to come.

import { LaneError } from '../../base/errors.ts'
import type { Broadcast } from '../../wire/control.ts'
import { fromSideValue, toCallValue } from '../../wire/side-payload.ts'
import type { BroadcastOptions } from '../options.ts'
import type { Incarnation, ThreadTerminator } from './incarnation.ts'
import type { PartitionHandle } from './partition-handle.ts'

/**
 * A thread that does not answer a withdrawal for so long, and has begun the broadcast, is stuck in
 * its handler.
 */
const WITHDRAW_TIMEOUT_MS = 1000

export class Broadcasts {
  readonly #partitions: readonly PartitionHandle[]
  readonly #timeoutMs: number
  readonly #terminator: ThreadTerminator
  #count = 0
  /** By key, or by type without one: the latest sticky broadcast that succeeded, oldest first. */
  readonly #kept = new Map<string, Broadcast>()
  /** Sticky broadcasts under way, in order; each runs on a thread that was made meanwhile. */
  readonly #underWay = new Set<(incarnation: Incarnation) => void>()

  /**
   * @param timeoutMs - How long one may take on each partition.
   * @param terminator - Gives up a thread that is stuck in a broadcast.
   */
  constructor(
    partitions: readonly PartitionHandle[],
    timeoutMs: number,
    terminator: ThreadTerminator,
  ) {
    this.#partitions = partitions
    this.#timeoutMs = timeoutMs
    this.#terminator = terminator
  }

  /** What a new thread runs before its first command, in order. */
  get kept(): Broadcast[] {
    return [...this.#kept.values()]
  }

  /**
   * Forgets kept broadcasts whose handler is gone.
   *
   * @param types - Names of the handlers that there are.
   */
  prune(types: readonly string[]): void {
    for (const [name, { type }] of this.#kept) if (!types.includes(type)) this.#kept.delete(name)
  }

  /**
   * Runs the sticky broadcasts under way on a thread, which was made with the kept ones only.
   *
   * @param incarnation - The thread; not loaded yet.
   */
  join(incarnation: Incarnation): void {
    for (const join of this.#underWay) join(incarnation)
  }

  /**
   * Runs a handler once on every partition that has a thread.
   *
   * @param type - Name of the handler.
   * @param payload - Copied to each.
   * @param options - Checked. A sticky broadcast is kept once it has succeeded everywhere.
   * @returns The results, by partition.
   */
  async run(type: string, payload: unknown, options: BroadcastOptions): Promise<unknown[]> {
    const id = `broadcast-${++this.#count}`
    const broadcast = { id, type, payload: toCallValue(payload, 'payload') }
    const present = this.#partitions.flatMap(({ incarnation }) => incarnation?.living ?? [])
    const outcome = Promise.all(present.map((one) => this.#call(one, broadcast)))
    if (options.sticky !== true) return outcome
    const join = (one: Incarnation) => {
      // A thread without what all others run by then is replaced.
      const replace = () => void one.terminate()
      this.#call(one, broadcast).catch(() => outcome.then(replace, () => {}))
    }
    this.#underWay.add(join)
    for (const { successor } of this.#partitions) if (successor?.living) join(successor)
    try {
      const results = await outcome
      const name = options.key === undefined ? `type ${type}` : `key ${options.key}`
      // Its turn among the others is that of its latest run.
      this.#kept.delete(name)
      this.#kept.set(name, broadcast)
      return results
    } finally {
      this.#underWay.delete(join)
    }
  }

  async #call(incarnation: Incarnation, broadcast: Broadcast): Promise<unknown> {
    const { ok, side } = await incarnation
      .call('broadcast', this.#timeoutMs, (control) => control.broadcast(broadcast))
      .catch((error) => {
        if (isTimeout(error)) this.#withdraw(incarnation, broadcast.id, error)
        throw error
      })
    const value = fromSideValue(side)
    if (!ok) throw value
    return value
  }

  /** Lets a partition go on whose time for a broadcast is up. */
  #withdraw(incarnation: Incarnation, id: string, reason: LaneError): void {
    const { code, details } = reason
    incarnation
      .call('withdraw', WITHDRAW_TIMEOUT_MS, (control) => control.withdraw(id, code, details))
      .catch((error) => {
        const isStuck = isTimeout(error) && incarnation.begunBroadcast === id
        if (isStuck) this.#terminator.giveUpThread(incarnation, reason)
      })
  }
}

function isTimeout(error: unknown): error is LaneError {
  return error instanceof LaneError && error.code === 'CORELANE_CONTROL_TIMEOUT'
}
