// Local archive: how commands ended, and those that failed for good, in the engine of this process.
// Owns: results until they expire, dead commands until they are redriven or
// dropped.

import { Deque } from '../../base/deque.ts'
import type { DeadCommand } from '../contract/distributed-queue.ts'
import { type CommandEnvelope, type CommandResult, leavesNothing } from '../contract/envelope.ts'

/** Results that were forgotten may take so much room more than those that are kept. */
const FORGOTTEN_MAX = 1024

/** How a command ended, until that expires. */
export class KeptResult {
  readonly id: string
  /** Undefined once it is forgotten. */
  result: CommandResult | undefined
  readonly untilMs: number

  constructor(id: string, result: CommandResult, untilMs: number) {
    this.id = id
    this.result = result
    this.untilMs = untilMs
  }
}

/** What is kept of commands that ended. */
export class LocalArchive {
  readonly #ttlMs: number
  readonly #maxResults: number
  readonly #maxDead: number
  /** By id; of commands that have not ended, too. */
  readonly #entries: Map<string, object>
  /** In the order in which they ended, which is that in which they expire; forgotten ones, too. */
  readonly #results = new Deque<KeptResult>()
  #kept = 0
  readonly #dead = new Map<string, DeadCommand>()

  /**
   * @param maxResults - Most results kept; the oldest goes first.
   * @param maxDead - Most dead commands kept; the oldest goes first.
   * @param entries - Where results are kept by id, each in the place of its command.
   */
  constructor(
    ttlMs: number,
    maxResults: number,
    maxDead: number,
    entries: Map<string, object> = new Map(),
  ) {
    this.#entries = entries
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
  keep(envelope: CommandEnvelope, result: CommandResult, nowMs: number): void {
    const { id, submitter } = envelope
    const kept = submitter === undefined ? { ...result, value: undefined } : result
    if (leavesNothing(envelope)) {
      this.forget(id)
      this.#entries.delete(id)
      return
    }
    const entry = new KeptResult(id, kept, nowMs + this.#ttlMs)
    // It takes the place of its command, or of an older result, which is still in the order.
    this.#entries.set(id, entry)
    this.#results.push(entry)
    this.#kept++
    while (this.#kept > this.#maxResults) this.#forgetOldest()
    if (this.#results.length > 2 * this.#kept + FORGOTTEN_MAX) this.#results.filter(isKept)
  }

  /** Forgets results that have expired. */
  expire(nowMs: number): void {
    for (;;) {
      const oldest = this.#results.first
      if (oldest === undefined || (isKept(oldest) && oldest.untilMs > nowMs)) return
      this.#forgetOldest()
    }
  }

  /** Forgets a result. */
  forget(id: string): void {
    const entry = this.#entries.get(id)
    if (!(entry instanceof KeptResult)) return
    entry.result = undefined
    this.#entries.delete(id)
    this.#kept--
  }

  /** How a command ended; undefined if nothing is known. */
  resultOf(id: string): CommandResult | undefined {
    const entry = this.#entries.get(id)
    return (entry instanceof KeptResult ? entry : this.#dead.get(id))?.result
  }

  /** A dead command. */
  deadOf(id: string): DeadCommand | undefined {
    return this.#dead.get(id)
  }

  /** Whether a command of that id has ended, or not yet. */
  knows(id: string): boolean {
    return this.#entries.has(id) || this.#dead.has(id)
  }

  /** Forgets the oldest result, unless that is done. */
  #forgetOldest(): void {
    const oldest = this.#results.shift()!
    if (!isKept(oldest)) return
    this.#kept--
    if (this.#entries.get(oldest.id) === oldest) this.#entries.delete(oldest.id)
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

  /** All dead commands, the oldest first. */
  dead(): IterableIterator<DeadCommand> {
    return this.#dead.values()
  }

  /** Dead commands, the oldest first. */
  listDead(max: number): DeadCommand[] {
    const listed: DeadCommand[] = []
    for (const command of this.dead()) {
      if (listed.length >= max) break
      listed.push(command)
    }
    return listed
  }
}

function isKept({ result }: KeptResult): boolean {
  return result !== undefined
}
