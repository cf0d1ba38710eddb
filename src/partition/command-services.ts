// Command services: the work behind the members of a handler's context.

import { laneError } from '../base/errors.ts'
import type { PartitionSlots } from '../memory/slots.ts'
import type { NestedOptions } from '../model/command.ts'
import type { NestedSubmits } from './nested-submits.ts'
import type { Outbox } from './outbox.ts'
import type { RunningSignals, RunServices } from './run-context.ts'

/** What services need of the duty cycle. */
export interface ServiceHost {
  /** Whether a command has started and not ended. */
  isRunning(id: number): boolean
  /** A report was kept, since the result ring is full. */
  kept(): void
  /** A handler waits for one more command of its own, or for one less. */
  waits(id: number, change: 1 | -1): void
}

/** Services of commands; a broadcast has others. */
export class CommandServices implements RunServices {
  readonly #slots: PartitionSlots
  readonly #outbox: Outbox
  readonly #nested: NestedSubmits
  readonly #signals: RunningSignals
  readonly #host: ServiceHost

  /**
   * @param outbox - Sends reports.
   * @param nested - Submits commands.
   * @param signals - Of the commands that run.
   * @param host - The duty cycle.
   */
  constructor(
    slots: PartitionSlots,
    outbox: Outbox,
    nested: NestedSubmits,
    signals: RunningSignals,
    host: ServiceHost,
  ) {
    this.#slots = slots
    this.#outbox = outbox
    this.#nested = nested
    this.#signals = signals
    this.#host = host
  }

  signalOf(id: number): AbortSignal {
    // A context may outlive its run: what it asks for then would be kept for ever.
    if (!this.#host.isRunning(id)) return new AbortController().signal
    const signal = this.#signals.signalOf(id)
    // It was aborted before anybody asked for its signal.
    if (this.#slots.isAborted(id)) {
      this.#signals.abort(id, laneError('CORELANE_ABORTED', { stage: 'running' }))
    }
    return signal
  }

  isAborted(id: number): boolean {
    return this.#slots.isAborted(id)
  }

  progress(id: number, value: unknown): void {
    this.#outbox.sendProgress(id, value)
    if (!this.#outbox.isClear) this.#host.kept()
  }

  async submit(
    id: number,
    lane: string,
    type: string,
    payload: unknown,
    options: NestedOptions | undefined,
  ): Promise<unknown> {
    const submitted = this.#nested.submit(id, lane, type, payload, options)
    if (options?.wait === false) return submitted
    this.#host.waits(id, 1)
    try {
      return await submitted
    } finally {
      this.#host.waits(id, -1)
    }
  }
}
