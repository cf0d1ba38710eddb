// Boosts, deadlines and delays. Goal: waiting commands become more urgent when and as far as their
// lane says, each by its own deadline; one past it goes first, or rejects and never starts; a
// delayed one does not start early. Method: a handler blocks the only partition while commands pile
// up and age, and the order in which they start afterwards is read from shared memory. No order
// depends on how fast anything was: between two moments that matter lie many times what a timer may
// be late.

import {
  type CommandOptions,
  DeadlineExceededError,
  type LaneOptions,
  PartitionConfig,
  PriorityBoostConfig,
  type QueueManager,
} from 'corelane'
import { expect, test } from 'vitest'
import { block, failure, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { open, openLedger } from '../support/managers.ts'
import { range } from '../support/range.ts'

interface Piece {
  readonly lane: string
  readonly options?: CommandOptions
}

/**
 * Queues commands behind a blocked partition, lets them age, and gives the order in which they
 * start. The threads decided it when these had waited for `agedMs` at least and `endMs` at most.
 */
async function orderAfter(
  lanes: Record<string, LaneOptions>,
  pieces: readonly Piece[],
  ageMs: number,
): Promise<{ order: number[]; agedMs: number; endMs: number }> {
  const { ledger, manager } = await openLedger(pieces.length + 1, {
    partitions: PartitionConfig.single(),
    lanes: { first: { priority: 0 }, ...lanes },
  })
  const held = manager.submit('first', 'gate', pieces.length)
  await ledger.waitForStarts(1)
  const begin = performance.now()
  const all = pieces.map(({ lane, options }, i) => manager.submit(lane, 'mark', i, options))
  // They are bound, or wait in the backlog, as the windows see fit; then time passes.
  await new Promise((resolve) => setImmediate(resolve))
  block(ageMs)
  const agedMs = performance.now() - begin
  ledger.openGate()
  await within(Promise.all([held, ...all]), 'all commands')
  return { order: ledger.order(pieces.length), agedMs, endMs: performance.now() - begin }
}

const rest = (count: number, piece: Piece): Piece[] => new Array(count).fill(piece)

const standard = [0.25, 0.5, 0.75, 0.9].map((part, i) => [part * 2000, i + 1] as const)
const aggressive = [0.2, 0.4, 0.6, 0.8].map((part, i) => [part * 2000, 2 * i + 2] as const)
const cases = [
  ...[100, 700, 1250, 1650].map((ageMs) => ({ name: 'standard', steps: standard, ageMs })),
  ...[200, 600, 1000].map((ageMs) => ({ name: 'aggressive', steps: aggressive, ageMs })),
  { name: 'custom', steps: [[100, 1] as const, [200, 2] as const], ageMs: 600 },
  { name: 'disabled', steps: [], ageMs: 600 },
]
const configs: Record<string, PriorityBoostConfig> = {
  standard: PriorityBoostConfig.standard(2000),
  aggressive: PriorityBoostConfig.aggressive(2000),
  custom: PriorityBoostConfig.custom(60_000, [200, 100]),
  disabled: PriorityBoostConfig.disabled(),
}

test.each(cases)(
  'under the $name boost a command that waited $ageMs ms overtakes the lanes that it should',
  async ({ name, steps, ageMs }) => {
    const others = [1, 3, 4, 5, 6, 7, 8]
    const lanes: Record<string, LaneOptions> = {
      boosted: { priority: 9, priorityBoost: configs[name] },
    }
    for (const priority of others) lanes[`p${priority}`] = { priority }
    // Equal priority goes by age, and the boosted one is the oldest.
    const pieces = [{ lane: 'boosted' }, ...others.map((priority) => ({ lane: `p${priority}` }))]
    const { order, agedMs, endMs } = await orderAfter(lanes, pieces, ageMs)
    const before = order.slice(0, order.indexOf(0)).map((index) => others[index - 1]!)
    const expectedAt = (waitedMs: number) => {
      const by = Math.max(0, ...steps.map(([afterMs, step]) => (afterMs <= waitedMs ? step : 0)))
      // A machine that stopped for long may have taken it past its deadline.
      const isLate = waitedMs >= 2000 && name !== 'custom' && by > 0
      return isLate ? [] : others.filter((p) => p < 9 - by)
    }
    // Between the two moments it may have taken a step, and only then it has a choice.
    const most = expectedAt(agedMs)
    expect(before).toEqual(most.slice(0, before.length))
    expect(before.length).toBeGreaterThanOrEqual(expectedAt(endMs).length)
  },
)

test('a command with a deadline of its own is boosted on the scale of that deadline', async () => {
  const lanes = {
    boosted: { priority: 9, priorityBoost: PriorityBoostConfig.standard(100_000) },
    p7: { priority: 7 },
  }
  const { order, endMs } = await orderAfter(
    lanes,
    [
      { lane: 'p7' },
      { lane: 'boosted', options: { deadlineMs: 1500 } },
      { lane: 'boosted', options: { deadlineMs: 100_000 } },
    ],
    // 53 % of 1,500 ms: two steps, so it is as urgent as p7 and younger.
    800,
  )
  // On a machine that stops for long it may be past 75 %, which is a third step.
  const isLonger = endMs >= 0.75 * 1500
  expect(isLonger ? [[0, 1, 2].join(), [1, 0, 2].join()] : ['0,1,2']).toContain(order.join())
  const { order: younger } = await orderAfter(
    lanes,
    [
      { lane: 'boosted', options: { deadlineMs: 100_000 } },
      { lane: 'boosted', options: { deadlineMs: 1500 } },
      { lane: 'p7' },
    ],
    800,
  )
  expect(younger).toEqual([1, 2, 0])
})

test('every command is boosted by its own age and deadline, not only the head of its lane', async () => {
  const lanes = { aged: { priority: 9 }, p5: { priority: 5 } }
  const { order } = await orderAfter(
    lanes,
    [
      ...rest(3, { lane: 'aged' }),
      { lane: 'aged', options: { deadlineMs: 200 } },
      ...rest(3, { lane: 'aged' }),
      { lane: 'aged', options: { deadlineMs: 100 } },
      ...rest(3, { lane: 'p5' }),
    ],
    400,
  )
  // Both are past their deadlines: the older of them first, then all others as ever.
  expect(order).toEqual([3, 7, 8, 9, 10, 0, 1, 2, 4, 5, 6])
})

test.each([
  ['boosted to the same rank', { priorityBoost: { steps: [{ afterMs: 100, by: 5 }] } }, 0, {}],
  ['past their deadlines', { priorityBoost: { deadlineMs: 150 } }, 5, { deadlineMs: 50 }],
  ['past its deadline against the most urgent place', {}, 0, { priority: 0 }],
] satisfies [string, LaneOptions, number, CommandOptions][])(
  'of many commands that are %s the oldest starts first, though it had to make way before',
  async (_, lane, priority, options) => {
    const count = 50
    const { ledger, manager } = await openLedger(count + 1, {
      partitions: PartitionConfig.single(),
      lanes: { first: { priority: 0 }, old: { ...lane, priority: 5 }, young: { priority } },
    })
    const held = manager.submit('first', 'gate', count)
    await ledger.waitForStarts(1)
    const own = Object.keys(lane).length > 0 ? {} : { deadlineMs: 150 }
    const all = [held, manager.submit('old', 'mark', 0, own)]
    for (let i = 1; i < count; i++) all.push(manager.submit('young', 'mark', i, options))
    const agedAtMs = performance.now() + 300
    await until(() => performance.now() > agedAtMs, 'the boost and the deadlines are past')
    ledger.openGate()
    await within(Promise.all(all), 'all commands')
    expect(ledger.order(count)).toEqual(range(count))
  },
)

test('commands that wait in the backlog are boosted as those that are bound', async () => {
  const lanes = {
    p5: { priority: 5 },
    boosted: { priority: 9, priorityBoost: PriorityBoostConfig.aggressive(500) },
  }
  // Far more than a window holds of a type that nothing is known of.
  const pieces = [...rest(300, { lane: 'p5' }), ...rest(100, { lane: 'boosted' })]
  const { order } = await orderAfter(lanes, pieces, 800)
  const lateBoosted = order.slice(100).filter((index) => index >= 300)
  // What was bound before it was overdue may start first: a window, no more.
  expect(lateBoosted.length).toBeLessThanOrEqual(16)
})

/** A manager whose only partition is held, with a lane that rejects what is late. */
async function held(concurrencyPerPartition = 1) {
  const ledger = new Ledger(400)
  const manager = await open('ledger.js', {
    partitions: PartitionConfig.single(),
    lanes: {
      first: { priority: 0 },
      strict: { priority: 5, onDeadline: 'reject', priorityBoost: { deadlineMs: 100 } },
    },
    workerData: ledger.workerData,
    concurrencyPerPartition,
  })
  const holder = manager.submit('first', 'gate', 399)
  await ledger.waitForStarts(1)
  return { ledger, manager, holder }
}

async function expectLate(late: Promise<unknown>, deadlineMs: number): Promise<void> {
  const error = await failure(late, 'a late command')
  expect(error).toBeInstanceOf(DeadlineExceededError)
  expect(error).toMatchObject({
    code: 'CORELANE_DEADLINE_EXCEEDED',
    name: 'DeadlineExceededError',
    retryable: true,
    details: { lane: 'strict', deadlineMs },
  })
  const waitedMs = error.details.waitedMs as number
  expect(waitedMs).toBeGreaterThanOrEqual(deadlineMs - 1)
  expect(error.message).toBe(
    `The command waited ${waitedMs} ms in lane "strict" and had not started at its deadline of ${deadlineMs} ms`,
  )
}

test('late commands of a lane that rejects them reject where they wait, bound or not, and never start', async () => {
  const { ledger, manager, holder } = await held()
  const all = range(300).map((i) => manager.submit('strict', 'mark', i))
  await within(Promise.all(all.map((late) => expectLate(late, 100))), 'all late commands')
  ledger.openGate()
  await within(holder, 'the holder')
  await within(manager.submit('first', 'mark', 398), 'one that comes after them')
  expect(ledger.allRuns(300)).toEqual(new Array(300).fill(0))
  const { strict } = manager.stats().lanes
  expect(strict).toMatchObject({ submitted: 300, failed: 300, completed: 0, queued: 0, running: 0 })
})

test("a handler reads its command's own deadline, else that of the lane's boost", async () => {
  const manager = await open('lanes-handlers.js', {
    partitions: PartitionConfig.single(),
    lanes: { plain: {}, boosted: { priorityBoost: { deadlineMs: 60_000 } } },
  })
  const begin = performance.now()
  const own = { deadlineMs: 20_000 }
  const [none, ...given] = await within(
    Promise.all([
      manager.submit('plain', 'deadlineOf'),
      manager.submit('boosted', 'deadlineOf'),
      manager.submit('boosted', 'deadlineOf', 0, own),
      manager.submit('plain', 'deadlineOf', 0, own),
    ]),
    'the deadlines',
  )
  const takesMs = performance.now() - begin
  expect(none).toBe(undefined)
  for (const [i, deadlineMs] of [60_000, 20_000, 20_000].entries()) {
    const sinceMs = (given[i] as number) - deadlineMs - begin
    expect(sinceMs).toBeGreaterThanOrEqual(-1)
    expect(sinceMs).toBeLessThanOrEqual(takesMs + 1)
  }
})

test("a command's own onDeadline goes before that of its lane", async () => {
  const { ledger, manager, holder } = await held()
  const kept = manager.submit('strict', 'mark', 0, { onDeadline: 'boost', deadlineMs: 20 })
  const late = manager.submit('first', 'mark', 1, { onDeadline: 'reject', deadlineMs: 20 })
  expect(await failure(late, 'the late one')).toMatchObject({
    code: 'CORELANE_DEADLINE_EXCEEDED',
    details: { lane: 'first', deadlineMs: 20 },
  })
  const word = manager.submit('first', 'mark', 2, { onDeadline: 'drop' as never })
  expect(await failure(word, 'a word that is none')).toMatchObject({
    code: 'CORELANE_INVALID_OPTION',
    details: { option: 'command.onDeadline', received: '"drop"', allowed: '"boost", "reject"' },
  })
  ledger.openGate()
  await within(Promise.all([holder, kept]), 'the kept one')
})

test('onDeadline "reject" without any deadline rejects nothing', async () => {
  const { manager } = await openLedger(1, {
    partitions: PartitionConfig.single(),
    lanes: { strict: { onDeadline: 'reject' } },
  })
  expect(await within(manager.submit('strict', 'mark', 0), 'the command')).toBe(0)
})

test('a delayed command does not start early, and takes the place of its age when it comes', async () => {
  const { ledger, manager } = await openLedger(4, {
    partitions: PartitionConfig.single(),
    lanes: { lane: {} },
  })
  const begin = performance.now()
  const delayed = manager.submit('lane', 'where', 0, { delayMs: 200 })
  expect(manager.stats().lanes.lane).toMatchObject({ submitted: 1, queued: 1, running: 0 })
  await within(manager.submit('lane', 'mark', 1), 'one without delay')
  const { startedAt } = (await within(delayed, 'the delayed one')) as { startedAt: number }
  expect(startedAt - begin).toBeGreaterThanOrEqual(200)
  // Behind a blocked partition the delayed one, submitted first, starts first.
  const gate = manager.submit('lane', 'gate', 1)
  await ledger.waitForStarts(3)
  const old = manager.submit('lane', 'mark', 2, { delayMs: 30 })
  const young = manager.submit('lane', 'mark', 3)
  await new Promise((resolve) => setTimeout(resolve, 150))
  ledger.openGate()
  await within(Promise.all([gate, old, young]), 'all of them')
  expect(ledger.place(2)).toBeLessThan(ledger.place(3))
})

test('delayed commands are dropped by close and waited for by drain', async () => {
  const options = { partitions: PartitionConfig.single(), lanes: { lane: {} } }
  const make = (): Promise<QueueManager> => open('stamps.js', options)
  const dropped = await make()
  const never = failure(dropped.submit('lane', 'stamp', 0, { delayMs: 60_000 }), 'the delayed one')
  await within(dropped.close(), 'close')
  expect(await never).toMatchObject({ code: 'CORELANE_COMMAND_DROPPED' })
  const drained = await make()
  const soon = drained.submit('lane', 'stamp', 0, { delayMs: 100 })
  await within(drained.drain(), 'drain')
  expect(drained.stats().lanes.lane).toMatchObject({ completed: 1, queued: 0 })
  await within(soon, 'the delayed one')
})

test('under permanent higher load a boosted lane starts once its deadline has passed, whatever else is queued', async () => {
  const manager = await open('stamps.js', {
    partitions: PartitionConfig.single(),
    lanes: {
      urgent: { priority: 0 },
      boosted: { priority: 200, priorityBoost: PriorityBoostConfig.standard(300) },
    },
  })
  let isLoaded = true
  let loadStarts = 0
  const load = range(60).map(async () => {
    while (isLoaded) {
      await manager.submit('urgent', 'hold', 0.5)
      loadStarts++
    }
  })
  await until(() => loadStarts > 60, 'the load runs')
  const begin = performance.now()
  const stamp = (await within(manager.submit('boosted', 'stamp'), 'the boosted command')) as number
  // Four steps leave it far below the load; its deadline puts it before everything.
  expect(stamp - begin).toBeLessThan(300 + 5_000)
  isLoaded = false
  await within(Promise.all(load), 'the load')
})
