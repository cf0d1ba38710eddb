// Order: what starts next. Goal: lane priority, then command priority, then age, whatever is queued
// and under every strategy. Method: handlers write down in shared memory where and in which order
// they started, so nothing depends on how fast anything was.

import { LaneConfig, PartitionConfig, type QueueManager } from 'corelane'
import { expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { openLedger } from '../support/managers.ts'
import { range } from '../support/range.ts'
import { keyOf } from '../support/strategies.ts'

const PROMPTS = 10_000
const PARTITIONS = 2
/** A partition is given about 10 ms of work at a time. */
const WINDOW = 12

interface Setting {
  readonly partitions: PartitionConfig
  /** Options that send a command to a partition, as far as the strategy lets the caller choose. */
  readonly to: (partition: number) => { key?: string }
}

const keys = [keyOf(0, PARTITIONS), keyOf(1, PARTITIONS)]
const free = () => ({})
const settings: Record<string, Setting> = {
  balanced: { partitions: PartitionConfig.balanced(PARTITIONS), to: free },
  roundRobin: { partitions: PartitionConfig.roundRobin(PARTITIONS), to: free },
  hash: { partitions: PartitionConfig.hash(PARTITIONS), to: (p) => ({ key: keys[p]! }) },
  single: { partitions: PartitionConfig.single(), to: free },
  custom: {
    partitions: PartitionConfig.custom(PARTITIONS, ({ key }) => Number(key)),
    to: (partition) => ({ key: String(partition) }),
  },
}

/** Queues prompts of 1 ms for every partition; they are dropped when the manager closes. */
function queuePrompts(manager: QueueManager, setting: Setting, first: number): void {
  for (let i = 0; i < PROMPTS; i++) {
    const prompt = { index: first + i, ms: 1 }
    manager.submit('prompt', 'burn', prompt, setting.to(i % PARTITIONS)).catch(() => {})
  }
}

test.each(Object.entries(settings))(
  'with 10,000 prompts queued a system command starts next after the running one under %s',
  async (name, setting) => {
    const urgent = 20
    const { ledger, manager } = await openLedger(PROMPTS + urgent, {
      partitions: setting.partitions,
    })
    queuePrompts(manager, setting, urgent)
    const submittedAt: number[] = []
    for (let index = 0; index < urgent; index++) {
      const seen = ledger.started
      await ledger.waitForStarts(seen + 5 + (index % 7))
      const done = manager.submit('system', 'mark', index, setting.to(index % PARTITIONS))
      // It is shown to its partition when this turn ends.
      await Promise.resolve()
      await Promise.resolve()
      submittedAt.push(ledger.started)
      await within(done, 'the system command')
    }
    // Nothing more of them starts.
    manager.lane('prompt').pause()
    const places = range(PARTITIONS).map((partition) =>
      ledger
        .order(PROMPTS + urgent, partition)
        .filter((other) => other >= urgent)
        .map((other) => ledger.place(other)),
    )
    const overtaken = submittedAt.map((from, index) => {
      const others = places[ledger.partition(index)]!
      return others.filter((place) => place > from && place < ledger.place(index)).length
    })
    // The one that runs, or is being entered, is all that may come before it on its partition.
    // Under balanced it moves to the other one if the machine makes its partition wait.
    expect(Math.max(...overtaken)).toBeLessThanOrEqual(name === 'balanced' ? WINDOW : 1)
    expect(manager.stats().lanes.prompt!.queued).toBeGreaterThan(PROMPTS / 2)
  },
)

test.each(Object.entries(settings))(
  'urgent commands all start first: %s',
  async (name, setting) => {
    const gates = name === 'single' ? 1 : PARTITIONS
    const each = 60
    const { ledger, manager } = await openLedger(gates + 2 * each, {
      partitions: setting.partitions,
    })
    const all: Promise<unknown>[] = []
    for (let i = 0; i < gates; i++) all.push(manager.submit('query', 'gate', i, setting.to(i)))
    await ledger.waitForStarts(gates)
    for (const [lane, first] of [
      ['prompt', gates + each],
      ['system', gates],
    ] as const) {
      for (let i = 0; i < each; i++) {
        const command = { index: first + i, ms: 1 }
        all.push(manager.submit(lane, 'burn', command, setting.to(i % PARTITIONS)))
      }
    }
    ledger.openGate()
    await within(Promise.all(all), 'all commands')
    for (let partition = 0; partition < gates; partition++) {
      const order = ledger.order(gates + 2 * each, partition).filter((index) => index >= gates)
      const firstPrompt = order.findIndex((index) => index >= gates + each)
      const lateSystems = order.slice(firstPrompt).filter((index) => index < gates + each)
      // Under balanced the other partition may still hold a window of them.
      expect(lateSystems.length).toBeLessThanOrEqual(name === 'balanced' ? WINDOW : 0)
    }
  },
)

test('commands of one partition run by lane priority, then command priority, then age', async () => {
  const lanes = ['system', 'control', 'query', 'session', 'skill', 'prompt']
  const count = 400
  const { ledger, manager } = await openLedger(count + 1, { partitions: PartitionConfig.single() })
  const all: Promise<unknown>[] = [manager.submit('system', 'gate', count, { priority: 0 })]
  await ledger.waitForStarts(1)
  const ranks: [lane: number, priority: number, index: number][] = []
  for (let index = 0; index < count; index++) {
    const lane = (index * 7) % lanes.length
    const priority = [128, 0, 255, 7][(index * 3) % 4]!
    ranks.push([lane, priority, index])
    all.push(manager.submit(lanes[lane]!, 'mark', index, { priority }))
  }
  ledger.openGate()
  await within(Promise.all(all), 'all commands')
  const expected = ranks.toSorted((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])
  expect(ledger.order(count)).toEqual(expected.map(([, , index]) => index))
})

test.each([5, 50, 400, 1500])(
  'a minimum does not turn priorities round: of two lanes under theirs the more urgent goes first (%i of each)',
  async (count) => {
    const { ledger, manager } = await openLedger(2 * count + 1, {
      partitions: PartitionConfig.single(),
      lanes: {
        gate: { priority: 0 },
        hi: new LaneConfig(1, 8).withPriority(0),
        lo: new LaneConfig(1, 8).withPriority(9),
      },
    })
    const all: Promise<unknown>[] = [manager.submit('gate', 'gate', 2 * count)]
    await ledger.waitForStarts(1)
    for (let i = 0; i < count; i++) all.push(manager.submit('lo', 'mark', count + i))
    for (let i = 0; i < count; i++) all.push(manager.submit('hi', 'mark', i))
    ledger.openGate()
    await within(Promise.all(all), 'all commands')
    expect(ledger.order(2 * count)).toEqual(range(2 * count))
  },
)

test.each(Object.entries(settings).filter(([name]) => ['hash', 'single', 'custom'].includes(name)))(
  'commands with one key run on one partition in the order of submission under %s',
  async (name, setting) => {
    const count = 2_000
    const { ledger, manager } = await openLedger(count, {
      partitions: setting.partitions,
      ringBytes: 2 ** 14,
    })
    const keyOfIndex = (index: number) =>
      name === 'custom' ? String(index % 2) : `user ${index % 13}`
    const all = range(count).map((index) => {
      // Sizes vary, so that records wrap the ring and some take the other road.
      const filler = 'f'.repeat(index % 97 === 0 ? 9_000 : index % 31)
      return manager.submit('query', 'carry', { index, filler }, { key: keyOfIndex(index) })
    })
    const results = (await within(Promise.all(all), 'all commands')) as { index: number }[]
    expect(results.map(({ index }) => index)).toEqual(Array.from(results.keys()))
    const byKey = new Map<string, number[]>()
    for (const index of ledger.order(count)) {
      const key = keyOfIndex(index)
      byKey.set(key, [...(byKey.get(key) ?? []), index])
    }
    for (const indices of byKey.values()) {
      expect(indices).toEqual(indices.toSorted((a, b) => a - b))
      expect(new Set(indices.map((index) => ledger.partition(index))).size).toBe(1)
    }
  },
)

test('the promises of one partition settle in the order in which its commands ran', async () => {
  const count = 3_000
  const { manager } = await openLedger(count, { partitions: PartitionConfig.single() })
  const settled: number[] = []
  for (let index = 0; index < count; index++) {
    const type = index % 5 === 0 ? 'fail' : 'mark'
    const note = () => settled.push(index)
    manager.submit('query', type, index).then(note, note)
  }
  await until(() => settled.length === count, 'all settled')
  // A rejection takes a few microtasks more than a result, so each kind is looked at by itself.
  const failed = settled.filter((index) => index % 5 === 0)
  const done = settled.filter((index) => index % 5 !== 0)
  expect(failed).toEqual(failed.toSorted((a, b) => a - b))
  expect(done).toEqual(done.toSorted((a, b) => a - b))
})

test('a system command does not wait for a long one while another partition moves', async () => {
  // Goal: under balanced an urgent command goes where something is about to end. Method: one
  // partition is held at a gate, the other runs a deep backlog, and the urgent ones must get
  // through.
  const { ledger, manager } = await openLedger(4_000, { partitions: PartitionConfig.balanced(2) })
  for (let index = 1_000; index < 4_000; index++) {
    manager.submit('prompt', 'burn', { index, ms: 1 }).catch(() => {})
  }
  await ledger.waitForStarts(20)
  const held = manager.submit('query', 'gate', 0)
  await until(() => ledger.runs(0) === 1, 'one partition is held')
  for (let index = 1; index < 50; index++) {
    await ledger.waitForStarts(ledger.started + 2)
    await within(manager.submit('system', 'mark', index), 'the system command', 5_000)
  }
  ledger.openGate()
  expect(await within(held, 'the held command')).toBe(0)
})
