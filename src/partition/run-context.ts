// Run context: the context of a run, as its handler sees it.
// Owns: the abort controllers of running commands, made when first asked for.

import type { CommandContext, NestedOptions } from '../model/command.ts'
import { carrierIn, idIn, type TracedRun } from '../model/command-trace.ts'

/** Aborts the signals of the commands that run. */
export class RunningSignals {
  readonly #controllers = new Map<number, AbortController>()

  /**
   * The signal of a running command.
   *
   * @param id - The command's id in its ring.
   */
  signalOf(id: number): AbortSignal {
    let controller = this.#controllers.get(id)
    if (controller === undefined) {
      controller = new AbortController()
      this.#controllers.set(id, controller)
    }
    return controller.signal
  }

  /**
   * Forgets a command that has ended.
   *
   * @param id - The command's id in its ring.
   */
  end(id: number): void {
    if (this.#controllers.size > 0) this.#controllers.delete(id)
  }

  /**
   * Aborts the signal of a command, if it was asked for.
   *
   * @param id - The command's id in its ring.
   * @param reason - What the signal reports.
   */
  abort(id: number, reason: unknown): void {
    this.#controllers.get(id)?.abort(reason)
  }

  /**
   * Aborts every signal that was asked for.
   *
   * @param reason - What the signals report.
   */
  abortAll(reason: unknown): void {
    for (const controller of this.#controllers.values()) controller.abort(reason)
  }
}

/** What a context does for its handler. Ids are those of the commands in their ring. */
export interface RunServices {
  /** The command's signal. */
  signalOf(id: number): AbortSignal
  /** Whether the command's result is not wanted any more. */
  isAborted(id: number): boolean
  /** Sends what the handler reports. */
  progress(id: number, value: unknown): void
  /** Submits a command for the handler. */
  submit(
    id: number,
    lane: string,
    type: string,
    payload: unknown,
    options: NestedOptions | undefined,
  ): Promise<unknown>
}

/** The fields of a context that are known when a run starts. */
export interface RunFields {
  readonly lane: string
  readonly type: string
  readonly key: string | undefined
  readonly attempt: number
  readonly deadlineAtMs: number | undefined
  readonly startedAtMs: number
  readonly partition: number
  /** The command's id in its ring; 0 for a broadcast. */
  readonly slotId: number
}

/** The context of one run. */
export class RunContext implements CommandContext, TracedRun {
  readonly lane: string
  readonly type: string
  readonly key: string | undefined
  readonly attempt: number
  readonly deadline: number | undefined
  readonly startedAt: number
  readonly partition: number
  readonly #name: number | string
  readonly #slotId: number
  readonly #services: RunServices
  #signal: AbortSignal | undefined

  /**
   * @param name - The command's id; a number is turned into text when it is asked for.
   * @param fields - Copied: the window's entries are reused.
   * @param services - What the context does for its handler.
   */
  constructor(name: number | string, fields: RunFields, services: RunServices) {
    this.lane = fields.lane
    this.type = fields.type
    this.key = fields.key
    this.attempt = fields.attempt
    this.deadline = fields.deadlineAtMs
    this.startedAt = fields.startedAtMs
    this.partition = fields.partition
    this.#name = name
    this.#slotId = fields.slotId
    this.#services = services
  }

  get id(): string {
    return typeof this.#name === 'number' ? String(this.#name) : idIn(this.#name)
  }

  /** The trace that it goes on with. */
  get carrier(): string | undefined {
    return typeof this.#name === 'number' ? undefined : carrierIn(this.#name)
  }

  get signal(): AbortSignal {
    this.#signal ??= this.#services.signalOf(this.#slotId)
    return this.#signal
  }

  get aborted(): boolean {
    return this.#services.isAborted(this.#slotId)
  }

  progress(value: unknown): void {
    this.#services.progress(this.#slotId, value)
  }

  submit(lane: string, type: string, payload?: unknown, options?: NestedOptions): Promise<unknown> {
    return this.#services.submit(this.#slotId, lane, type, payload, options)
  }
}
