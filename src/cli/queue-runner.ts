// Queue runner: sends the commands of a run through a queue to workers, and hears of their results.
// Thread: main.   Owns: the queue and its submitter.

import { type LeasedQueue, Submitter } from '../index.ts'
import type { ParsedCommand } from './command-parser.ts'
import type { CommandRunner, RunOutcome } from './command-runner.ts'
import { openQueue, type QueueFlags } from './queue-flags.ts'

/** Runs commands on the workers of a queue. */
export class QueueRunner implements CommandRunner {
  readonly #url: string
  readonly #flags: QueueFlags
  #queue: LeasedQueue | undefined
  #submitter: Submitter | undefined

  /**
   * @param url - Where the queue is.
   * @param flags - Which it is.
   */
  constructor(url: string, flags: QueueFlags) {
    this.#url = url
    this.#flags = flags
  }

  async start(): Promise<void> {
    this.#queue = await openQueue(this.#url, this.#flags)
    this.#submitter = new Submitter(this.#queue)
  }

  async execute({ lane, type, payload, key, priority }: ParsedCommand): Promise<RunOutcome> {
    return this.#submitter!.execute(lane, type, payload, { key, priority })
  }

  async close(): Promise<void> {
    await this.#submitter?.close()
    await this.#queue?.close()
  }
}
