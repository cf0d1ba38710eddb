// Nested submits: commands that handlers of this partition submit.
// Owns: their numbering.
// Must not: judge them; the coordinator refuses one that could never run.

import { AbortListeners, refuseAborted } from '../base/abort-listeners.ts'
import { LaneError, laneError } from '../base/errors.ts'
import { checkGiven } from '../base/options.ts'
import { NESTED_RULES, type NestedOptions } from '../model/command.ts'
import { runTracer } from '../model/command-trace.ts'
import type { CallReport, NestedSubmit } from '../wire/control.ts'
import { fromSideValue, toCallValue } from '../wire/side-payload.ts'

const ABORTED = 'CORELANE_ABORTED'

/** The coordinator, as far as it serves nested submits. */
export interface NestedServer {
  submit(command: NestedSubmit): Promise<CallReport>
  cancel(id: number): Promise<void>
  untilEnded(id: number): Promise<void>
}

/** Submits commands from inside handlers. */
export class NestedSubmits {
  readonly #server: NestedServer
  readonly #signals = new AbortListeners()
  #count = 0

  /**
   * @param server - Carries them out.
   */
  constructor(server: NestedServer) {
    this.#server = server
  }

  /**
   * Submits a command.
   *
   * @param parent - Id in its ring of the command whose handler submits it.
   * @param payload - Copied.
   * @returns Its result; undefined once it is accepted if the handler does not wait.
   */
  async submit(
    parent: number,
    lane: string,
    type: string,
    payload: unknown,
    options: NestedOptions = {},
  ): Promise<unknown> {
    checkGiven('context.submit', options, NESTED_RULES)
    const { signal, wait = true, ...others } = options
    const side = toCallValue(payload, 'payload')
    const carrier = runTracer()?.carrier()
    // A getter of the payload or the tracer may have aborted it.
    refuseAborted(signal)
    const id = ++this.#count
    const cancelled = { isBound: true, abort: () => void this.#server.cancel(id) }
    const ignore = () => signal && this.#signals.remove(signal, cancelled)
    if (signal !== undefined) this.#signals.add(signal, cancelled)
    let outlives = false
    try {
      const hasSignal = signal !== undefined
      const command = { id, parent, lane, type, payload: side, options: others, carrier }
      const report = await this.#server.submit({ ...command, wait, hasSignal })
      const value = fromSideValue(report.side)
      // Its signal counts until it has ended, not only until it was accepted.
      outlives = report.ok && hasSignal && !wait
      if (report.ok) return value
      // The reason of the signal never crosses threads.
      const isAbort = signal?.aborted && value instanceof LaneError && value.code === ABORTED
      throw isAbort ? laneError(ABORTED, value.details, signal.reason) : value
    } finally {
      if (outlives) void this.#server.untilEnded(id).then(ignore)
      else ignore()
    }
  }
}
