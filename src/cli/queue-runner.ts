// Queue runner: sends the commands of a run through a queue to workers, and receives the results.
// Owns: the queue and its submitter.

import { laneError, show } from '../base/errors.ts'
import { type CommandOutcome, DEFAULT_LANES, type LeasedQueue, Submitter } from '../index.ts'
import { UsageError } from './command-line.ts'
import type { ParsedCommand } from './command-parser.ts'
import type { CommandRunner } from './command-runner.ts'
import { connectionNews, openQueue, type QueueFlags } from './queue-flags.ts'

export interface QueueRunPlan {
  /** Where the queue is. */
  readonly url: string
  /** Which it is. */
  readonly queue: QueueFlags
  /** Lanes that its workers take. Default: those that there are by default. */
  readonly lanes: readonly string[] | undefined
  readonly isKeyed: boolean
  /** Whether what the queue cannot do is done without. */
  readonly allowDegraded: boolean
}

/** Runs commands on the workers of a queue. */
export class QueueRunner implements CommandRunner {
  readonly #plan: QueueRunPlan
  /** A lane that no worker takes would keep its commands, and with them the run, for ever. */
  readonly #lanes: readonly string[]
  #queue: LeasedQueue | undefined
  #submitter: Submitter | undefined

  constructor(plan: QueueRunPlan) {
    this.#plan = plan
    this.#lanes = plan.lanes ?? Object.keys(DEFAULT_LANES)
  }

  /** @param log - Prints what happens to the connection, and to what was sent. */
  async start(log: (text: string) => void): Promise<void> {
    const { url, queue: flags, isKeyed, allowDegraded } = this.#plan
    this.#queue = await openQueue(url, flags, {
      strategy: isKeyed ? 'hash' : undefined,
      onIncident: connectionNews(log),
    })
    if (isKeyed && !this.#queue.capabilities.keyOrder) {
      throw new UsageError(
        `--key needs a queue of strategy hash; ${flags.name} has ${this.#queue.strategy}`,
      )
    }
    this.#submitter = new Submitter(this.#queue, {
      allowDegraded,
      onIncident: ({ what, commandIds, laneIds, handlers }) => {
        if (what === 'commands-lost') {
          log(`the queue has lost ${commandIds!.length} commands; they were sent again`)
        } else if (what === 'lane-unserved') log(`no worker takes lane ${laneIds!.join(', ')} now`)
        else if (what === 'handler-unserved') {
          log(`no worker has handler ${handlers!.join(', ')} now`)
        }
      },
    })
  }

  async execute(command: ParsedCommand): Promise<CommandOutcome> {
    const { lane, type, payload, key, group, priority } = command
    if (!this.#lanes.includes(lane)) {
      const allowed = this.#lanes.join(', ')
      throw laneError('CORELANE_UNKNOWN_LANE', { received: show(lane), allowed })
    }
    return this.#submitter!.execute(lane, type, payload, { key, group, priority })
  }

  async close(): Promise<void> {
    await this.#submitter?.close()
    await this.#queue?.close()
  }
}
