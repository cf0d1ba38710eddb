// Command services: what the contexts of commands do for their handlers.
// Thread: partition.   Owns: nothing.

import { laneError } from '../base/errors.ts'
import type { PartitionSlots } from '../memory/slots.ts'
import type { NestedOptions } from '../model/command.ts'
import type { NestedSubmits } from './nested-submits.ts'
import type { Outbox } from './outbox.ts'
import type { RunningSignals, RunServices } from './run-context.ts'

/** Services of commands; a broadcast has others. */
export class CommandServices implements RunServices {
  readonly #slots: PartitionSlots
  readonly #outbox: Outbox
  readonly #nested: NestedSubmits
  readonly #signals: RunningSignals
  readonly #onKept: () => void

  /**
   * @param slots - The partition's.
   * @param outbox - Sends reports.
   * @param nested - Submits commands.
   * @param signals - Of what runs.
   * @param onKept - Called when a report was kept, since the result ring is full.
   */
  constructor(
    slots: PartitionSlots,
    outbox: Outbox,
    nested: NestedSubmits,
    signals: RunningSignals,
    onKept: () => void,
  ) {
    this.#slots = slots
    this.#outbox = outbox
    this.#nested = nested
    this.#signals = signals
    this.#onKept = onKept
  }

  signalOf(id: number): AbortSignal {
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
    if (!this.#outbox.isClear) this.#onKept()
  }

  submit(
    id: number,
    lane: string,
    type: string,
    payload: unknown,
    options: NestedOptions | undefined,
  ): Promise<unknown> {
    return this.#nested.submit(id, lane, type, payload, options)
  }
}
