// Lanes: which lanes the workers of a queue take, as they say themselves.
// Thread: main.   Owns: nothing.

import { isPortableName } from '../../base/portable-name.ts'
import type { LaneRegistry, LaneState, QueueCounts } from '../distributed-queue.ts'
import { checkName } from '../envelope.ts'
import { checkWhole } from '../lease-request.ts'
import type { Reply } from './caller.ts'
import type { RedisEngine } from './engine.ts'
import { ANNOUNCE_LANES } from './scripts/announce-lanes.ts'
import { LOOK_LANES } from './scripts/look-lanes.ts'

/** How long a name is remembered after its last worker has gone. */
const REMEMBERED_MS = 7 * 24 * 60 * 60 * 1000

const LANES_MAX = 4096

/** Most names that are told. */
const NAMES_MAX = 20

const STATES: Readonly<Record<string, LaneState>> = {
  s: 'served',
  u: 'unserved',
  '?': 'unknown',
}

/** Lanes that workers announce. */
export class RedisLanes implements LaneRegistry {
  readonly #engine: RedisEngine
  readonly #counts: () => Promise<QueueCounts>

  /**
   * @param engine - The queue.
   * @param counts - Counts what it holds.
   */
  constructor(engine: RedisEngine, counts: () => Promise<QueueCounts>) {
    this.#engine = engine
    this.#counts = counts
  }

  async announce(laneIds: readonly string[]): Promise<void> {
    this.#check(laneIds)
    const { caller, keys, plan } = this.#engine
    await caller.run({
      script: ANNOUNCE_LANES,
      keys: [keys.lanes],
      args: [String(plan.leaseMs), String(REMEMBERED_MS), ...laneIds],
    })
  }

  async look(
    laneIds: readonly string[],
  ): Promise<{ readonly states: readonly LaneState[]; readonly known: readonly string[] }> {
    this.#check(laneIds)
    const { caller, keys } = this.#engine
    const [letters, ...names] = (await caller.run({
      script: LOOK_LANES,
      keys: [keys.lanes],
      args: [String(REMEMBERED_MS), String(NAMES_MAX), ...laneIds],
    })) as Reply[]
    const states = Array.from(textOf(letters!), (letter) => STATES[letter]!)
    return { states, known: names.map(textOf).filter(isPortableName) }
  }

  async strays(): Promise<readonly string[]> {
    const { lanes } = await this.#counts()
    const busy = Object.keys(lanes).filter((lane) => lanes[lane]! > 0)
    const strays: string[] = []
    for (let from = 0; from < busy.length && strays.length < NAMES_MAX; from += LANES_MAX) {
      const some = busy.slice(from, from + LANES_MAX)
      const { states } = await this.look(some)
      strays.push(...some.filter((_, i) => states[i] !== 'served'))
    }
    return strays.slice(0, NAMES_MAX)
  }

  #check(laneIds: readonly string[]): void {
    checkWhole('lanes', laneIds.length, 1, LANES_MAX)
    for (const laneId of laneIds) checkName('laneId', laneId)
  }
}

function textOf(reply: Reply): string {
  return (reply as Buffer).toString('latin1')
}
