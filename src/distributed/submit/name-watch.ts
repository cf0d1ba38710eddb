// Name watch: whether any worker takes the lanes, or has the handlers, that commands name.
// Owns: the last answer of the queue about each name.

import { nowMs } from '../../base/clock.ts'
import { type ErrorCode, type LaneError, laneError, show } from '../../base/errors.ts'
import type { NameRegistry, NameState } from '../contract/distributed-queue.ts'
import { Reported } from '../reported.ts'

/** How long an answer is relied on. One that is bad news may be another any moment. */
const SERVED_MS = 10_000
const OTHER_MS = 1_000

/** Past so many names all answers are dropped, and asked for again. */
const KNOWN_MAX = 10_000

interface Answer {
  readonly state: NameState
  readonly untilMs: number
  /** Names that workers have, for the message. */
  readonly known: readonly string[]
}

export class NameWatch {
  readonly #registry: NameRegistry | undefined
  readonly #refusal: ErrorCode | undefined
  /** Names without a worker that were reported. */
  readonly #reported = new Reported()
  readonly #report: (unserved: readonly string[]) => void
  readonly #answers = new Map<string, Answer>()
  /** Whether a name is unknown, by these answers. */
  #refuses = false

  /**
   * @param refusal - The error for a name that no worker has ever announced; undefined: such
   * commands wait.
   * @param report - Called once with names for which commands wait without a worker.
   */
  constructor(
    registry: NameRegistry | undefined,
    refusal: ErrorCode | undefined,
    report: (unserved: readonly string[]) => void,
  ) {
    this.#registry = registry
    this.#refusal = refusal
    this.#report = report
  }

  /** Looks up the names of commands, unless that was done lately. */
  async look<T>(commands: readonly T[], nameOf: (command: T) => string): Promise<void> {
    const registry = this.#registry
    if (registry === undefined) return
    const now = nowMs()
    const open = new Set<string>()
    let last: string | undefined
    for (const command of commands) {
      const name = nameOf(command)
      // Most commands have the same.
      if (name !== last && (this.#answers.get(name)?.untilMs ?? 0) <= now) open.add(name)
      last = name
    }
    if (open.size === 0) return
    const asked = [...open]
    let answer: Awaited<ReturnType<NameRegistry['look']>>
    try {
      answer = await registry.look(asked)
    } catch {
      // The commands go to the same queue next; its failure is reported then.
      return
    }
    if (this.#answers.size + asked.length > KNOWN_MAX) this.#answers.clear()
    const { known, states } = answer
    for (const [index, name] of asked.entries()) {
      const state = states[index]!
      const untilMs = nowMs() + (state === 'served' ? SERVED_MS : OTHER_MS)
      this.#answers.set(name, { state, untilMs, known })
      if (state === 'served') this.#reported.delete(name)
    }
    this.#refuses =
      this.#refusal !== undefined &&
      [...this.#answers.values()].some(({ state }) => state === 'unknown')
    this.#reportUnserved(asked)
  }

  /** Why commands with a name are refused; undefined if they are not. */
  refusalOf(name: string): LaneError | undefined {
    const answer = this.#refuses ? this.#answers.get(name) : undefined
    if (answer?.state !== 'unknown') return undefined
    return laneError(this.#refusal!, { received: show(name), allowed: answer.known.join(', ') })
  }

  #reportUnserved(asked: readonly string[]): void {
    const names = asked.filter((name) => {
      const isServed = this.#answers.get(name)!.state === 'served'
      return !isServed && this.refusalOf(name) === undefined && this.#reported.add(name)
    })
    if (names.length > 0) this.#report(names)
  }
}
