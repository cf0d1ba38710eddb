// Local archive: how commands ended, and those that failed for good, in the engine of this process.
// Owns: results until they expire, dead commands until they are redriven or
// dropped.

import type { DeadCommand } from '../contract/distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from '../contract/envelope.ts'

interface KeptResult {
  readonly result: CommandResult
  readonly untilMs: number
}

/** What is kept of commands that ended. */
export class LocalArchive {
  readonly #ttlMs: number
  readonly #maxResults: number
  readonly #maxDead: number
  /** In the order in which they ended, which is that in which they expire. */
  readonly #results = new Map<string, KeptResult>()
  #order = this.#results.keys()
  /** No result expires before. */
  #expiresMs = 0
  readonly #dead = new Map<string, DeadCommand>()

  /**
   * @param maxResults - Most results kept; the oldest goes first.
   * @param maxDead - Most dead commands kept; the oldest goes first.
   */
  constructor(ttlMs: number, maxResults: number, maxDead: number) {
    this.#ttlMs = ttlMs
    this.#maxResults = maxResults
    this.#maxDead = maxDead
  }

  /** How many commands are dead. */
  get deadCount(): number {
    return this.#dead.size
  }

  /**
   * Keeps a result.
   *
   * @param envelope - Of its command; without a submitter the value is not kept.
   */
  keep({ id, submitter }: CommandEnvelope, result: CommandResult, nowMs: number): void {
    const kept = submitter === undefined ? { ...result, value: undefined } : result
    this.#results.delete(id)
    this.#results.set(id, { result: kept, untilMs: nowMs + this.#ttlMs })
    if (this.#results.size > this.#maxResults) {
      // A fresh iterator would step over all that were deleted before.
      let oldest = this.#order.next()
      if (oldest.done) {
        this.#order = this.#results.keys()
        oldest = this.#order.next()
      }
      this.#results.delete(oldest.value!)
    }
  }

  /** Forgets results that have expired. */
  expire(nowMs: number): void {
    if (nowMs < this.#expiresMs) return
    for (const [id, { untilMs }] of this.#results) {
      this.#expiresMs = untilMs
      if (untilMs > nowMs) return
      this.#results.delete(id)
    }
  }

  /** Forgets a result. */
  forget(id: string): void {
    this.#results.delete(id)
  }

  /** How a command ended; undefined if nothing is known. */
  resultOf(id: string): CommandResult | undefined {
    return this.#results.get(id)?.result ?? this.#dead.get(id)?.result
  }

  /** Whether a command of that id has ended. */
  knows(id: string): boolean {
    return this.#results.has(id) || this.#dead.has(id)
  }

  /** Keeps a dead command. */
  deadLetter(command: DeadCommand): void {
    this.#dead.set(command.envelope.id, command)
    if (this.#dead.size > this.#maxDead) {
      for (const oldest of this.#dead.keys()) {
        this.#dead.delete(oldest)
        break
      }
    }
  }

  /** Takes a dead command out, so that it can live again. Its result stays until the next one. */
  restore(id: string): CommandEnvelope | undefined {
    const dead = this.#dead.get(id)
    if (dead === undefined) return undefined
    this.#dead.delete(id)
    return dead.envelope
  }

  /**
   * Forgets a dead command; its result is kept as long as any.
   *
   * @returns Whether there was one.
   */
  drop(id: string): boolean {
    return this.#dead.delete(id)
  }

  /** Dead commands, the oldest first. */
  listDead(max: number): DeadCommand[] {
    const listed: DeadCommand[] = []
    for (const command of this.#dead.values()) {
      if (listed.length >= max) break
      listed.push(command)
    }
    return listed
  }
}
