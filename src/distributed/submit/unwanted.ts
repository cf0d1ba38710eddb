// Unwanted: cancels in the queue the commands that their submitter does not want any more.
// Owns: what is to be cancelled, and what was aborted on its way to the queue.

import type { CommandReference, EnqueueStatus, LeasedQueue } from '../contract/distributed-queue.ts'
import { Outbox } from '../outbox.ts'
import type { Outstanding } from './outstanding.ts'

/** Cancels the commands of a submitter whose signals aborted. */
export class Unwanted {
  readonly #canCancel: boolean
  readonly #outbox: Outbox<CommandReference>
  /** On their way to the queue in the present call; those of them that were aborted meanwhile. */
  #sending: readonly Outstanding[] = []
  readonly #aborted = new Set<Outstanding>()

  /**
   * @param owner - Name of the submitter.
   * @param failed - Called with each failure; a call is repeated.
   */
  constructor({ commands }: LeasedQueue, owner: string, failed: (error: unknown) => void) {
    this.#canCancel = commands !== undefined
    this.#outbox = new Outbox<CommandReference>({
      owner,
      send: async (all) => void (await commands!.cancel(all)),
      failed,
    })
  }

  /** One is not wanted any more, and has been settled. */
  readonly add = (item: Outstanding): void => {
    // Another that waits for the same command may go on to do so.
    const isShared = item.isDuplicate || item.followers?.some(({ isSettled }) => !isSettled)
    if (!this.#canCancel || item.stage !== 'open' || isShared) return
    if (item.isAccepted) this.#outbox.add(referenceTo(item))
    // It is cancelled when the queue may have it.
    else if (this.#sending.includes(item)) this.#aborted.add(item)
  }

  /** Sends commands; those that are aborted meanwhile are cancelled afterwards. */
  async sending(
    items: readonly Outstanding[],
    send: () => Promise<EnqueueStatus[]>,
  ): Promise<EnqueueStatus[]> {
    this.#sending = items
    let statuses: EnqueueStatus[] | undefined
    try {
      statuses = await send()
      return statuses
    } finally {
      this.#sending = []
      // Without an answer the queue may have them all the same.
      if (this.#aborted.size > 0) this.#cancelAborted(items, statuses)
    }
  }

  /** Resolves once everything was cancelled, or nothing is tried any more. */
  idle(): Promise<void> {
    return this.#outbox.idle()
  }

  giveUp(): void {
    this.#outbox.giveUp()
  }

  #cancelAborted(
    items: readonly Outstanding[],
    statuses: readonly EnqueueStatus[] | undefined,
  ): void {
    for (const [index, item] of items.entries()) {
      const isOther = statuses?.[index] === 'duplicate' && item.isNamed
      if (this.#aborted.delete(item) && !isOther) this.#outbox.add(referenceTo(item))
    }
  }
}

/** Names a command to the queue. */
export function referenceTo({ envelope }: Outstanding): CommandReference {
  return { commandId: envelope.id, partitionId: envelope.partitionId }
}
