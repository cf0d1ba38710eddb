// Stress: many commands of mixed types, sizes, lanes and priorities while threads die at random.
// Goal: every command settles once, with the right result, and its handler was entered once.
// Method: a seeded generator decides everything that the machine does not; a ledger in shared
// memory outlives threads.

import { PartitionConfig } from 'corelane'
import { expect, test } from 'vitest'
import { randomFrom } from '../../build/base/random.js'
import { within } from '../support/deadline.ts'
import { openLedger } from '../support/managers.ts'

const COUNT = 6_000
const DEATHS = 8
const LIMIT_MS = 120_000
const LANES = ['system', 'control', 'query', 'session', 'skill', 'prompt']

const seed = Number(process.env.CORELANE_SEED ?? Date.now() % 1_000_000)

test.each([
  ['balanced', PartitionConfig.balanced(4), 2 ** 20],
  ['hash', PartitionConfig.hash(4), 2 ** 14],
] as const)(
  `under %s 6,000 mixed commands with threads that die run once each (seed ${seed})`,
  async (name, partitions, ringBytes) => {
    const next = randomFrom(seed)
    const random = (below: number) => Math.floor(next() * below)
    const { ledger, manager } = await openLedger(COUNT, { partitions, ringBytes })
    const deaths = new Set<number>()
    while (deaths.size < DEATHS) deaths.add(random(COUNT))
    const wrong: string[] = []
    let settled = 0
    const note = (index: number, isRight: boolean, what: unknown) => {
      settled++
      if (!isRight && wrong.length < 10) wrong.push(`${index}: ${String(what)}`)
    }
    const submit = (index: number): Promise<void> => {
      const lane = LANES[random(LANES.length)]!
      const priority = random(256)
      const options = name === 'hash' ? { priority, key: `key ${random(50)}` } : { priority }
      const dice = random(1000)
      if (deaths.has(index)) {
        const dead = manager.submit(lane, 'die', { index, how: 'exit' }, options)
        return dead.then(
          (value) => note(index, false, value),
          (error) => note(index, error.code === 'CORELANE_PARTITION_LOST' && error.started, error),
        )
      }
      if (dice < 50) {
        return manager.submit(lane, 'fail', index, options).then(
          (value) => note(index, false, value),
          (error) => note(index, error.message === `command ${index} fails`, error),
        )
      }
      const text = dice < 900 ? '' : 'x'.repeat(dice < 998 ? random(1_500) : 70_000)
      const payload = dice < 500 ? index : { index, text, shape: { [`k${random(20)}`]: index } }
      const type = dice < 500 ? 'mark' : 'carry'
      return manager.submit(lane, type, payload, options).then(
        (value) => {
          const given = value as { index: number; text: string }
          const isRight =
            dice < 500 ? value === index : given.index === index && given.text === text
          note(index, isRight, value)
        },
        (error) => note(index, false, error),
      )
    }
    const all: Promise<void>[] = []
    for (let index = 0; index < COUNT; index++) {
      all.push(submit(index))
      // Bursts, so that windows and rings are full and empty by turns.
      if (index % 1_000 === 999) await new Promise((resolve) => setImmediate(resolve))
      if (index % 3_000 === 2_999) await within(Promise.all(all), 'a burst', LIMIT_MS)
    }
    await within(Promise.all(all), 'all commands', LIMIT_MS)
    expect(wrong).toEqual([])
    expect(settled).toBe(COUNT)
    const odd = ledger.allRuns(COUNT).flatMap((runs, index) => (runs === 1 ? [] : [[index, runs]]))
    expect(odd).toEqual([])
    expect(manager.stats()).toMatchObject({ queued: 0, running: 0, submitted: COUNT })
    await within(manager.drain(), 'drain')
  },
  LIMIT_MS,
)
