// Queue runner: sends the commands of a run through a queue to workers, and hears of their results.
// Thread: main.   Owns: the queue and its submitter.

import { laneError, show } from '../base/errors.ts'
import { DEFAULT_LANES, type LeasedQueue, Submitter } from '../index.ts'
import type { ParsedCommand } from './command-parser.ts'
import type { CommandRunner, RunOutcome } from './command-runner.ts'
import { openQueue, type QueueFlags } from './queue-flags.ts'

/** Runs commands on the workers of a queue. */
export class QueueRunner implements CommandRunner {
  readonly #url: string
  readonly #flags: QueueFlags
  /** A lane that no worker takes would keep its commands, and with them the run, for ever. */
  readonly #lanes: readonly string[]
  #queue: LeasedQueue | undefined
  #submitter: Submitter | undefined

  /**
   * @param url - Where the queue is.
   * @param flags - Which it is.
   * @param lanes - Those that its workers take. Default: those that there are by default.
   */
  constructor(url: string, flags: QueueFlags, lanes: readonly string[] | undefined) {
    this.#url = url
    this.#flags = flags
    this.#lanes = lanes ?? Object.keys(DEFAULT_LANES)
  }

  /** Opens the queue. */
  async start(): Promise<void> {
    this.#queue = await openQueue(this.#url, this.#flags)
    this.#submitter = new Submitter(this.#queue)
  }

  /**
   * Sends a command and waits for its result.
   *
   * @param command - As it stood on its line.
   */
  async execute({ lane, type, payload, key, priority }: ParsedCommand): Promise<RunOutcome> {
    if (!this.#lanes.includes(lane)) {
      const allowed = this.#lanes.join(', ')
      throw laneError('CORELANE_UNKNOWN_LANE', { received: show(lane), allowed })
    }
    return this.#submitter!.execute(lane, type, payload, { key, priority })
  }

  /** Lets go of both. */
  async close(): Promise<void> {
    await this.#submitter?.close()
    await this.#queue?.close()
  }
}
