// Lifted submits: what a lifted queue knows of the commands that went through it.
// Owns: their results as far as they ended here, and the listeners.

import { epochMs, nowMs, timers } from '../../base/clock.ts'
import type { CommandState } from '../contract/distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from '../contract/envelope.ts'
import { Listeners } from '../contract/listeners.ts'

interface Known {
  readonly submitter: string | undefined
  readonly acceptedAtMs: number
  result: CommandResult | undefined
}

/** Commands that were enqueued or taken through one object. */
export class LiftedSubmits {
  readonly #maxKnown: number
  /** By id, the oldest first. */
  readonly #known = new Map<string, Known>()
  /** By submitter. */
  readonly #listeners = new Listeners<[CommandResult]>()

  /**
   * @param maxKnown - Most that are remembered; the oldest goes first.
   */
  constructor(maxKnown: number) {
    this.#maxKnown = maxKnown
  }

  /** Whether a command went through here. */
  knows(id: string): boolean {
    return this.#known.has(id)
  }

  /**
   * Remembers a command.
   *
   * @returns The same.
   */
  remember(envelope: CommandEnvelope): CommandEnvelope {
    const { id, submitter } = envelope
    if (this.#known.has(id)) return envelope
    this.#known.set(id, { submitter, acceptedAtMs: estimateOf(envelope), result: undefined })
    if (this.#known.size > this.#maxKnown) {
      const [oldest] = this.#known.keys()
      this.#known.delete(oldest!)
    }
    return envelope
  }

  /** When the queue accepted a command, monotonic milliseconds. */
  acceptedAtMs(envelope: CommandEnvelope): number {
    return this.#known.get(envelope.id)?.acceptedAtMs ?? estimateOf(envelope)
  }

  /** Forgets a command: it was not enqueued after all. */
  forget(id: string): void {
    this.#known.delete(id)
  }

  /** Remembers how a command ended, and tells its submitter. */
  end(result: CommandResult): void {
    const known = this.#known.get(result.commandId)
    if (known === undefined) return
    known.result = result
    const listeners = known.submitter === undefined ? [] : this.#listeners.get(known.submitter)
    for (const listener of listeners ?? []) timers.queueMicrotask(() => listener(result))
  }

  /** What is known of a command. */
  look(id: string): CommandState {
    const known = this.#known.get(id)
    if (known === undefined) return { state: 'unknown' }
    const { result } = known
    return result === undefined ? { state: 'pending' } : { state: 'ended', result }
  }

  /**
   * Tells a submitter of results.
   *
   * @param listener - Called with each result.
   * @returns Ends it.
   */
  listen(submitter: string, listener: (result: CommandResult) => void): () => Promise<void> {
    const end = this.#listeners.add(submitter, listener)
    return async () => end()
  }
}

/** The least queue measures no ages: an estimate from the wall clocks of both machines. */
function estimateOf({ createdAt }: CommandEnvelope): number {
  return nowMs() - Math.max(0, epochMs() - createdAt)
}
