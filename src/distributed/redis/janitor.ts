// Janitor: removes the keys of unused lanes from Redis.
// Owns: the time of the next round.
//
// Every worker that waits for commands has one; a key with an expiry lets one of them do a round.
// Only empty keys are removed, so nothing depends on whether a round comes.

import { randomInt } from 'node:crypto'
import { Alarm } from '../../base/alarm.ts'
import { nowMs } from '../../base/clock.ts'
import { type RedisEngine, RedisPart } from './engine.ts'
import { lanesOf } from './registry.ts'
import { ROUND } from './scripts/round.ts'
import { TIDY } from './scripts/tidy.ts'

const ROUNDS = 4

const ROUND_MS_MIN = 100
const ROUND_MS_MAX = 60 * 60 * 1000

/** Lanes of one call: a script keeps all others waiting. */
const LANES_MAX = 64

export class Janitor extends RedisPart {
  readonly #roundMs: number
  readonly #alarm: Alarm = new Alarm(() => void this.#round())
  #isStarted = false

  constructor(engine: RedisEngine) {
    super(engine)
    const roundMs = Math.ceil(engine.plan.laneTtlMs / ROUNDS)
    this.#roundMs = Math.min(Math.max(roundMs, ROUND_MS_MIN), ROUND_MS_MAX)
  }

  start(): void {
    if (this.#isStarted) return
    this.#isStarted = true
    this.#plan()
  }

  stop(): void {
    this.#alarm.stop()
  }

  #plan(): void {
    // Not all at once: the first takes the round from the others.
    this.#alarm.set(nowMs() + randomInt(Math.ceil(this.#roundMs / 2), this.#roundMs + 1))
  }

  async #round(): Promise<void> {
    const { caller, keys, plan } = this.engine
    try {
      const args = [plan.workerId, Math.ceil(this.#roundMs / 2)]
      const isMine = (await caller.run(ROUND, [keys.round], args)) === 1
      for (let p = 0; isMine && p < plan.numPartitions; p++) await this.#tidy(p)
    } catch {
      // Another round comes, here or elsewhere.
    }
    this.#plan()
  }

  async #tidy(partition: number): Promise<void> {
    const { caller, keys, plan } = this.engine
    const names = keys.partition(partition)
    const lanes = await lanesOf(this.engine, partition)
    for (let from = 0; from < lanes.length; from += LANES_MAX) {
      const some = lanes.slice(from, from + LANES_MAX)
      const all = [names.lanes, names.own, ...names.pairs(some), ...names.groups(...some)]
      await caller.run(TIDY, all, [plan.laneTtlMs, some.length])
    }
  }
}
