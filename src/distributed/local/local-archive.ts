// Local archive: how commands ended, and those that failed for good, in the engine of this process.
// Owns: results until they expire, dead commands until they are redriven or dropped.

import { Chain, type Linked } from '../../base/chain.ts'
import { RenewedMap } from '../../base/renewed-map.ts'
import type { DeadCommand } from '../contract/distributed-queue.ts'
import { type CommandEnvelope, type CommandResult, leavesNothing } from '../contract/envelope.ts'

/** What is known of an id: a command that has not ended, or how it ended, until that expires. */
export class LocalEntry<Command = unknown> implements Linked<LocalEntry<Command>> {
  readonly id: string
  /** Undefined once it has ended. */
  command: Command | undefined
  /** Undefined before, and once it is forgotten. */
  result: CommandResult | undefined = undefined
  untilMs: number = Number.NaN
  older: LocalEntry<Command> | undefined = undefined
  younger: LocalEntry<Command> | undefined = undefined

  constructor(id: string, command: Command | undefined) {
    this.id = id
    this.command = command
  }
}

export class LocalArchive<Command = unknown> {
  readonly #ttlMs: number
  readonly #maxResults: number
  readonly #maxDead: number
  /** By id; of commands that have not ended, too. */
  readonly entries = new RenewedMap<string, LocalEntry<Command>>()
  /** Those with a result, in the order in which they ended, which is that in which they expire. */
  readonly #results = new Chain<LocalEntry<Command>>()
  /** By id, the oldest first. */
  readonly dead = new Map<string, DeadCommand>()

  constructor(ttlMs: number, maxResults: number, maxDead: number) {
    this.#ttlMs = ttlMs
    this.#maxResults = maxResults
    this.#maxDead = maxDead
  }

  /** Keeps a result; its value only if its command has a submitter. */
  keep(
    envelope: CommandEnvelope,
    result: CommandResult,
    nowMs: number,
    entry: LocalEntry<Command>,
  ): void {
    const { id, submitter } = envelope
    entry.command = undefined
    if (leavesNothing(envelope)) {
      this.entries.delete(id)
      return
    }
    entry.result = submitter === undefined ? { ...result, value: undefined } : result
    entry.untilMs = nowMs + this.#ttlMs
    this.#results.add(entry)
    while (this.#results.size > this.#maxResults) this.forget(this.#results.oldest!.id)
  }

  expire(nowMs: number): void {
    let { oldest } = this.#results
    for (; oldest !== undefined && oldest.untilMs <= nowMs; oldest = this.#results.oldest) {
      this.forget(oldest.id)
    }
  }

  forget(id: string): void {
    const entry = this.entries.get(id)
    if (entry?.result === undefined) return
    entry.result = undefined
    this.entries.delete(id)
    this.#results.remove(entry)
  }

  /** How a command ended; undefined if nothing is known. */
  resultOf(id: string): CommandResult | undefined {
    return this.entries.get(id)?.result ?? this.dead.get(id)?.result
  }

  /** Whether a command of that id has ended, or not yet. */
  knows(id: string): boolean {
    return this.entries.has(id) || (this.dead.size > 0 && this.dead.has(id))
  }

  deadLetter(command: DeadCommand): void {
    this.dead.set(command.envelope.id, command)
    if (this.dead.size <= this.#maxDead) return
    const [oldest] = this.dead.keys()
    this.dead.delete(oldest!)
  }

  /** Takes a dead command out, so that it can live again. Its result stays until the next one. */
  restore(id: string): CommandEnvelope | undefined {
    const envelope = this.dead.get(id)?.envelope
    this.dead.delete(id)
    return envelope
  }

  /** Forgets a dead command; its result is kept as long as any. */
  drop(id: string): boolean {
    return this.dead.delete(id)
  }

  listDead(max: number): DeadCommand[] {
    return [...this.dead.values()].slice(0, max)
  }
}
