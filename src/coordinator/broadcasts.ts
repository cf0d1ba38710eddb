// Broadcasts: runs a handler once on every partition, outside lanes and windows.
// Thread: main.   Owns: their numbering.

import { fromSideValue, sideRefused, toSideValue } from '../wire/side-value.ts'
import type { Incarnation } from './incarnation.ts'
import type { PartitionHandle } from './partition-handle.ts'
import type { Supervisor } from './supervisor.ts'

/** Broadcasts. */
export class Broadcasts {
  readonly #partitions: readonly PartitionHandle[]
  readonly #supervisor: Supervisor
  readonly #timeoutMs: number
  #count = 0

  /**
   * @param partitions - The manager's.
   * @param supervisor - Replays those that are sticky.
   * @param timeoutMs - How long one may take on each partition.
   */
  constructor(partitions: readonly PartitionHandle[], supervisor: Supervisor, timeoutMs: number) {
    this.#partitions = partitions
    this.#supervisor = supervisor
    this.#timeoutMs = timeoutMs
  }

  /**
   * Runs a handler once on every partition that has a thread.
   *
   * @param type - Name of the handler.
   * @param payload - Copied to each.
   * @param sticky - Whether replacements run it too.
   * @returns The results, by partition.
   */
  run(type: string, payload: unknown, sticky: boolean): Promise<unknown[]> {
    const id = `broadcast-${++this.#count}`
    const broadcast = { id, type, payload: toSideValue(payload, 'payload') }
    if (sticky) this.#supervisor.stick(broadcast)
    const call = async (incarnation: Incarnation): Promise<unknown> => {
      const report = await incarnation.call('broadcast', this.#timeoutMs, (control) =>
        control.broadcast(broadcast).catch((error) => {
          throw sideRefused('result', error)
        }),
      )
      if (!report.ok) throw fromSideValue(report.side)
      return fromSideValue(report.side)
    }
    const present = this.#partitions.flatMap(({ incarnation }) => incarnation?.living ?? [])
    const successors = this.#partitions.flatMap(({ successor }) => successor?.living ?? [])
    // One that is about to take over was made before this was sticky; if it fails, it is replaced.
    if (sticky) for (const one of successors) call(one).catch(() => void one.terminate())
    return Promise.all(present.map(call))
  }
}
