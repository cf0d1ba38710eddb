// Contract: what the parts of the queue benchmark hand to each other.

import type { RedisProcess } from '../../test/support/redis-process.js'
import type { Pool } from '../support/contract.js'

/** Where a system is measured. */
export interface Place {
  readonly redis: RedisProcess
  /** A name of its own for its queue. */
  readonly name: string
  /** Worker processes. */
  readonly workers: number
}

/** A queue between processes. */
export interface QueueSystem {
  readonly name: string
  version(): string | undefined
  /** Why it cannot run here; undefined if it can. */
  missing(): string | undefined
  /** The best of them is measured. */
  readonly modes: readonly {
    readonly name: string
    open(place: Place): Promise<Pool>
  }[]
}
