// Lanes: which lanes the workers of a queue take and which handlers they have, as they say
// themselves.
// Thread: main.   Owns: nothing.

import { isPortableName } from '../../base/portable-name.ts'
import type { LaneRegistry, NameRegistry, NameState, QueueCounts } from '../distributed-queue.ts'
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

const STATES: Readonly<Record<string, NameState>> = {
  s: 'served',
  u: 'unserved',
  '?': 'unknown',
}

/** Names that workers announce. */
export class RedisNames implements NameRegistry {
  readonly #engine: RedisEngine
  readonly #key: string

  /**
   * @param engine - The queue.
   * @param key - Where they are kept.
   */
  constructor(engine: RedisEngine, key: string) {
    this.#engine = engine
    this.#key = key
  }

  async announce(names: readonly string[], others: readonly string[] = []): Promise<void> {
    check(names, 0)
    check(others, 0)
    const { caller, plan } = this.#engine
    await caller.run({
      script: ANNOUNCE_LANES,
      keys: [this.#key],
      args: [
        String(plan.leaseMs),
        String(REMEMBERED_MS),
        String(names.length),
        ...names,
        ...others,
      ],
    })
  }

  async look(
    names: readonly string[],
  ): Promise<{ readonly states: readonly NameState[]; readonly known: readonly string[] }> {
    check(names, 1)
    const { caller } = this.#engine
    const [letters, ...known] = (await caller.run({
      script: LOOK_LANES,
      keys: [this.#key],
      args: [String(REMEMBERED_MS), String(NAMES_MAX), ...names],
    })) as Reply[]
    const states = Array.from(textOf(letters!), (letter) => STATES[letter]!)
    return { states, known: known.map(textOf).filter(isPortableName) }
  }
}

/** Lanes that workers announce. */
export class RedisLanes extends RedisNames implements LaneRegistry {
  readonly #counts: () => Promise<QueueCounts>

  /**
   * @param engine - The queue.
   * @param counts - Counts what it holds.
   */
  constructor(engine: RedisEngine, counts: () => Promise<QueueCounts>) {
    super(engine, engine.keys.lanes)
    this.#counts = counts
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
}

function check(names: readonly string[], least: number): void {
  checkWhole('names', names.length, least, LANES_MAX)
  for (const name of names) checkName('name', name)
}

function textOf(reply: Reply): string {
  return (reply as Buffer).toString('latin1')
}
