// Command: random walks over everything that may happen to commands, in every order, through the
// real intake, timers, dispatcher, window and recovery. The clock stands still until a step moves
// it. Afterwards every command has settled once, the counters agree, and nothing is held.

import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { AbortListeners } from '../../src/base/abort-listeners.ts'
import { laneError } from '../../src/base/errors.ts'
import { Backpressure } from '../../src/coordinator/admission/backpressure.ts'
import { Intake } from '../../src/coordinator/admission/intake.ts'
import { type Command, type CommandManager, CommandState } from '../../src/coordinator/command.ts'
import { CommandTimers } from '../../src/coordinator/command-timers.ts'
import { Backlog } from '../../src/coordinator/dispatch/backlog.ts'
import { Dispatcher } from '../../src/coordinator/dispatch/dispatcher.ts'
import { LaneTable } from '../../src/coordinator/lane-table.ts'
import { planManager } from '../../src/coordinator/options.ts'
import { EventHub } from '../../src/coordinator/results/event-hub.ts'
import { StreamReader } from '../../src/coordinator/results/stream-reader.ts'
import { Interruptions } from '../../src/coordinator/threads/interruptions.ts'
import { Recovery } from '../../src/coordinator/threads/recovery.ts'
import { CoordinatorCommons } from '../../src/memory/commons.ts'
import { laneNeeds } from '../../src/model/lane.ts'
import { RetryPolicy } from '../../src/model/retry.ts'
import { ResultStatus } from '../../src/wire/record-kind.ts'
import { deed, lawOf } from '../support/law.ts'
import { moveTo, restart, world } from '../support/still-clock.ts'
import { Rig } from '../unit/coordinator/support/rig.ts'

const law = lawOf(300)

vi.mock('../../src/base/clock.ts', async (load) => ({
  ...(await load<object>()),
  ...(await import('../support/still-clock.ts')),
}))

/** A manager without threads: the test plays the partition. */
function machine() {
  restart()
  const plan = planManager({
    handlers: 'file:///none.js',
    partitions: { strategy: 'hash', count: 1 },
    lanes: {
      open: {},
      retried: { retry: RetryPolicy.fixed(2, 10) },
      grouped: {
        groupConcurrency: 2,
        groupRateLimit: { limit: 4, windowMs: 20 },
        retry: RetryPolicy.fixed(2, 10).withLost(),
      },
      bounded: { maxPending: 3, maxPendingBytes: 64, onDeadline: 'reject' },
    },
  })
  const needs = plan.lanes.map((lane) => laneNeeds(lane, 1))
  const lanes = new LaneTable(plan.lanes, needs)
  const room = new Backpressure(lanes, plan.bounds)
  const hub = new EventHub(() => {})
  const signals = new AbortListeners()
  const backlog = new Backlog(plan.lanes, 1)
  let rig = new Rig(0, 4096, plan.lanes)
  const { handle } = rig
  const commons = new CoordinatorCommons(1, needs)
  const dispatcher = new Dispatcher(backlog, [handle], lanes.all, commons, false, 1)
  const terminator = { giveUpThread: () => expect.unreachable('nothing is killed here') }
  const interruptions = new Interruptions([handle], terminator, 1e9, {
    acted: () => {},
    requeue: () => {},
  })
  const timers = new CommandTimers({
    place: (command) => dispatcher.place(command),
    refusal: () => undefined,
    acted: () => {},
  })
  const dead = { add: () => {} }
  const recovery = new Recovery(hub, timers, dead, { maxCrashes: 2 }, { state: 'running' })
  const abort: CommandManager['abort'] = (command, reason) => interruptions.abort(command, reason)
  const manager = { events: hub, timers, signals, recovery, abort }
  const life = { refuseUnlessRunning: () => {} }
  const intake = new Intake(plan, manager, life, lanes, room, dispatcher, timers, signals, {
    whenStarted: () => undefined,
    onceStarted: (call) => call(0),
    define: (url, name) => ({ id: 0, url, name }),
    admitted: () => {},
  })
  intake.types.update(['work'], ['work'])
  const running = new Map<number, Command | undefined>()
  const settledCounts: number[] = []
  const controllers: AbortController[] = []
  const readers: StreamReader[] = []
  let submits = 0

  function watch(promise: Promise<unknown>): void {
    const index = submits++
    settledCounts[index] = 0
    const count = () => {
      settledCounts[index]!++
    }
    promise.then(count, count)
  }

  function turn(): void {
    while (rig.bound.drain() > 0);
    room.release()
    dispatcher.refill()
    dispatcher.flush()
  }

  const steps = {
    submit(lane: string, key?: string, late = false, delayMs = 0, group?: string): void {
      const controller = new AbortController()
      controllers.push(controller)
      const options = {
        signal: controller.signal,
        ...(key === undefined ? {} : { key }),
        ...(group === undefined ? {} : { group }),
        ...(late ? { startWithinMs: 30 } : {}),
        ...(delayMs === 0 ? {} : { delayMs }),
      }
      watch(intake.submit(lane, 'work', 'x'.repeat(20), options, false))
    },
    stream(): void {
      const reader = new StreamReader((own) => {
        const promise = intake.submit('open', 'work', 1, undefined, false, own)
        watch(promise)
        return promise
      })
      readers.push(reader)
      void reader.next().catch(() => {})
    },
    start(): void {
      const entry = rig.start()
      if (entry !== undefined) running.set(entry.id, rig.bound.commandOf(entry.id))
    },
    end(isOk: boolean): void {
      const [id] = running.keys()
      if (id === undefined) return
      running.delete(id)
      if (isOk) rig.finish(id, 1)
      else rig.fail(id, new Error('no'))
    },
    chunk(): void {
      for (const [id, command] of running) {
        if (command?.isStream) rig.outbox.send(id, ResultStatus.CHUNK, 1, 1, 0)
      }
    },
    leave(): void {
      void readers.pop()?.return()
    },
    abort(pick: number): void {
      controllers[pick % Math.max(1, controllers.length)]?.abort()
    },
    wait(ms: number): void {
      moveTo(world.now + ms)
    },
    recall(): void {
      dispatcher.takeBack(rig.bound.recall())
    },
    die(): void {
      const left = rig.bound.takeOrphans()
      running.clear()
      const again = left.filter(({ command, started }) => {
        if (!started) return true
        return recovery.lost(command, laneError('CORELANE_PARTITION_LOST', {}), 0, 'none')
      })
      rig = new Rig(0, 4096, plan.lanes)
      handle.occupy(rig.handle.incarnation!)
      dispatcher.takeBack(again.map(({ command }) => command))
    },
    turn,
  }

  /** Ends everything that is left, as a manager does that drains. */
  async function drain(): Promise<void> {
    for (let round = 0; round < 200; round++) {
      steps.wait(50)
      turn()
      steps.start()
      steps.end(true)
      turn()
      await Promise.resolve()
    }
  }

  return {
    steps,
    drain,
    lanes,
    room,
    signals,
    timers,
    backlog,
    settledCounts,
    bound: () => rig.bound,
    runs: () => [...running.values()].filter((command) => command?.isBound === true) as Command[],
  }
}

const STEP = fc.oneof(
  deed(1, 'submit', {
    lane: fc.constantFrom('open', 'retried', 'bounded', 'grouped'),
    group: fc.constantFrom(undefined, 'g', 'h'),
    key: fc.constantFrom(undefined, 'a', 'b'),
    late: fc.boolean(),
    delayMs: fc.constantFrom(0, 0, 20),
  }),
  deed(2, 'start'),
  deed(1, 'end', { isOk: fc.boolean() }),
  deed(1, 'abort', { pick: fc.nat(50) }),
  deed(1, 'wait', { ms: fc.constantFrom(5, 15, 40) }),
  ...(['stream', 'chunk', 'leave', 'recall', 'die', 'turn'] as const).map((kind) => deed(1, kind)),
)

const plans = fc.array(STEP, { maxLength: 80 })

law('each command settles once, and nothing is left of it', [plans], async (plan) => {
  const made = machine()
  const { steps, lanes, signals, timers, backlog, settledCounts, room } = made
  for (const one of plan) {
    if (one.kind === 'submit') steps.submit(one.lane, one.key, one.late, one.delayMs, one.group)
    else if (one.kind === 'end') steps.end(one.isOk)
    else if (one.kind === 'abort') steps.abort(one.pick)
    else if (one.kind === 'wait') steps.wait(one.ms)
    else steps[one.kind]()
    for (const { submitted, completed, failed, pendingBytes } of lanes.all) {
      expect(completed + failed).toBeLessThanOrEqual(submitted)
      expect(pendingBytes).toBeGreaterThanOrEqual(0)
    }
    for (const group of ['g', 'h']) {
      const mine = made.runs().filter((command) => command.group === group)
      const limited = mine.filter(({ lane }) => lane.name === 'grouped')
      expect(limited.length).toBeLessThanOrEqual(2)
    }
    await Promise.resolve()
  }
  await made.drain()
  await new Promise((resolve) => setImmediate(resolve))
  expect(settledCounts.every((count) => count === 1)).toBe(true)
  for (const lane of lanes.all) {
    expect(lane.completed + lane.failed).toBe(lane.submitted)
    expect([lane.pendingBytes, room.waitingIn(lane)]).toEqual([0, 0])
  }
  expect([signals.size, timers.takeAll(), backlog.takeAll(0)]).toEqual([0, [], []])
  const { load, watch } = made.bound()
  expect([load.count, load.openBytes, watch.detachedCount]).toEqual([0, 0, 0])
  // Groups are forgotten once their tokens are full.
  for (let i = 0; i < 4; i++) {
    steps.wait(5000)
    steps.turn()
  }
  expect(backlog.turns.groupCount).toBe(0)
})

test('every state can be reached and is left', async () => {
  const { steps, lanes, drain } = machine()
  const seen = new Set<number>()
  const { make } = Intake.prototype
  const spy = vi.spyOn(Intake.prototype, 'make').mockImplementation(function (
    this: Intake,
    ...args
  ) {
    const command = make.apply(this, args)
    commands.push(command)
    return command
  })
  const commands: Command[] = []
  const look = () => {
    for (const { state } of commands) seen.add(state)
  }
  for (let i = 0; i < 5; i++) steps.submit('bounded', undefined, false, i === 0 ? 20 : 0)
  // More than a window holds.
  for (let i = 0; i < 30; i++) steps.submit('open')
  look()
  await drain()
  look()
  spy.mockRestore()
  expect([...seen].sort()).toEqual(Object.values(CommandState))
  expect(lanes.get('bounded').completed).toBe(5)
})
