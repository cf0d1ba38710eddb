// Local names: which lanes and handlers the workers of this process have, as they announce it.
// Owns: the announcements. Time is a parameter.

import type { NameState } from '../contract/distributed-queue.ts'
import { NAMES_MAX, REMEMBERED_MS } from '../contract/engine-checks.ts'

export class LocalNames {
  /** By name: until when a worker has it. */
  readonly #untilMs = new Map<string, number>()

  /**
   * A worker has these.
   *
   * @param untilMs - When that is over, unless it says so again.
   */
  announce(
    names: readonly string[],
    others: readonly string[],
    nowMs: number,
    untilMs: number,
  ): void {
    for (const [name, until] of this.#untilMs) {
      if (until < nowMs - REMEMBERED_MS) this.#untilMs.delete(name)
    }
    const keep = (name: string, until: number): unknown =>
      this.#untilMs.set(name, Math.max(until, this.#untilMs.get(name) ?? 0))
    for (const name of names) keep(name, untilMs)
    for (const name of others) keep(name, nowMs - 1)
  }

  /** Names that workers have announced, some of them. */
  get known(): readonly string[] {
    return [...this.#untilMs.keys()].slice(0, NAMES_MAX)
  }

  stateOf(name: string, nowMs: number): NameState {
    const untilMs = this.#untilMs.get(name)
    if (untilMs === undefined) return this.#untilMs.size === 0 ? 'unserved' : 'unknown'
    return untilMs >= nowMs ? 'served' : 'unserved'
  }

  /** Some of these that no live worker has. */
  unserved(names: Iterable<string>, nowMs: number): string[] {
    const isUnserved = (name: string): boolean => this.stateOf(name, nowMs) !== 'served'
    return [...names].filter(isUnserved).slice(0, NAMES_MAX)
  }
}
