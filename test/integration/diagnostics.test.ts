// Diagnostics channels: what tracers hear. Goal: one trace per command and one per run, each from
// its start to its end; nothing with none. Method: subscribers of the process's channels.

import { channel, tracingChannel } from 'node:diagnostics_channel'
import { PartitionConfig, RetryPolicy } from 'corelane'
import { afterEach, expect, test } from 'vitest'
import { failure, within } from '../support/deadline.ts'
import { open } from '../support/managers.ts'

const options = { partitions: PartitionConfig.single(), lanes: { lane: {} } }
const STEPS = ['start', 'end', 'error', 'asyncStart', 'asyncEnd'] as const
const undone: (() => void)[] = []

afterEach(() => {
  for (const undo of undone.splice(0)) undo()
})

type Step = (typeof STEPS)[number]
type Heard = [step: Step, trace: Record<string, unknown>]

/** Listens to a tracing channel. */
function listen(name: string): Heard[] {
  const heard: Heard[] = []
  const subscribers = Object.fromEntries(
    STEPS.map((step) => [step, (trace: unknown) => heard.push([step, trace as Heard[1]])]),
  )
  const traced = tracingChannel(name)
  traced.subscribe(subscribers as never)
  undone.push(() => traced.unsubscribe(subscribers as never))
  return heard
}

const steps = (heard: readonly Heard[]) => heard.map(([step]) => step)

test('a command and its run are traced from start to end, each by one object', async () => {
  const submits = listen('corelane:submit')
  const runs = listen('corelane:run')
  const manager = await open('basic.js', options)
  await within(manager.submit('lane', 'noop', 1, { id: 'one' }), 'the command')
  expect(steps(submits)).toEqual(['start', 'end', 'asyncStart', 'asyncEnd'])
  expect(steps(runs)).toEqual(['start', 'end', 'asyncStart', 'asyncEnd'])
  expect(new Set(submits.map(([, trace]) => trace)).size).toBe(1)
  expect(new Set(runs.map(([, trace]) => trace)).size).toBe(1)
  const [, trace] = runs[0]!
  expect(trace).toMatchObject({ id: 'one', lane: 'lane', type: 'noop', attempt: 1, partition: 0 })
  expect(trace.durationMs).toBeGreaterThan(0)
  expect(trace).not.toHaveProperty('error')
})

test('a command that is retried has one submit and a run for each attempt', async () => {
  const submits = listen('corelane:submit')
  const runs = listen('corelane:run')
  const retries: unknown[] = []
  const dead: unknown[] = []
  const take = (list: unknown[]) => (event: unknown) => list.push(event)
  for (const [name, list] of [
    ['corelane:command:retry', retries],
    ['corelane:command:dead_lettered', dead],
  ] as const) {
    const onEvent = take(list)
    channel(name).subscribe(onEvent)
    undone.push(() => channel(name).unsubscribe(onEvent))
  }
  const manager = await open('survival.js', options)
  const retry = RetryPolicy.fixed(1, 1)
  await failure(manager.submit('lane', 'alwaysFails', 'x', { retry }), 'the command')
  expect(steps(submits)).toEqual(['start', 'end', 'error', 'asyncStart', 'asyncEnd'])
  const run = ['start', 'end', 'error', 'asyncStart', 'asyncEnd']
  expect(steps(runs)).toEqual([...run, ...run])
  for (const [, { startedAtMs, durationMs }] of runs) {
    expect(startedAtMs).toBeGreaterThan(0)
    expect(durationMs).toBeGreaterThan(0)
  }
  expect(submits[0]![1]).toMatchObject({ attempt: 2, error: { message: 'no: x' } })
  const { startedAtMs, durationMs } = runs[0]![1]
  const lane = 'lane'
  expect(retries).toMatchObject([{ event: 'queue.command.retry', lane, startedAtMs, durationMs }])
  expect(dead).toMatchObject([{ event: 'queue.command.dead_lettered', attempt: 2 }])
})

test('a lost partition is told, and a subscriber that comes late hears what begins afterwards', async () => {
  const manager = await open('survival.js', options)
  await within(manager.submit('lane', 'echo', 1), 'before')
  const lost: unknown[] = []
  const onLost = (event: unknown) => lost.push(event)
  channel('corelane:partition:lost').subscribe(onLost)
  undone.push(() => channel('corelane:partition:lost').unsubscribe(onLost))
  const submits = listen('corelane:submit')
  await failure(manager.submit('lane', 'exit'), 'the exit')
  expect(lost).toMatchObject([{ event: 'queue.partition.lost', partition: 0 }])
  await within(manager.submit('lane', 'echo', 2), 'after')
  expect(steps(submits)).toEqual(['start', 'end', 'asyncStart', 'asyncEnd'])
  undone.pop()!()
  await within(manager.submit('lane', 'echo', 3), 'the last')
  await within(manager.submit('lane', 'echo', 4), 'another')
  expect(submits).toHaveLength(4)
})

/** Aborts a signal as soon as anything is published on a channel; gives the signal. */
function abortedBy(name: string): AbortSignal {
  const controller = new AbortController()
  const abort = () => controller.abort()
  channel(name).subscribe(abort)
  undone.push(() => channel(name).unsubscribe(abort))
  return controller.signal
}

test.each([
  ['tracing:corelane:submit:start', 'echo', { delayMs: 1 }],
  ['tracing:corelane:submit:start', 'echo', { startWithinMs: 60_000 }],
  ['corelane:command:retry', 'alwaysFails', { retry: RetryPolicy.fixed(1, 1) }],
  ['corelane:command:retry', 'exit', { retry: { retryLost: true }, group: 'one' }],
])('a subscriber of %s may abort the command %s', async (name, type, given) => {
  const lanes = { lane: { groupConcurrency: 1 } }
  const manager = await open('survival.js', { ...options, lanes })
  const signal = abortedBy(name)
  // Channels are looked at once a turn.
  await within(manager.submit('lane', 'echo', 0), 'before')
  const error = await failure(manager.submit('lane', type, 1, { signal, ...given }), 'the command')
  expect(error).toMatchObject({ code: 'CORELANE_ABORTED' })
  expect(await within(manager.submit('lane', 'echo', 2, { group: 'one' }), 'the next')).toBe(2)
  expect(manager.stats()).toMatchObject({ failed: 1, unsettled: 0 })
})

test.each([
  ['exit', 7, {}],
  ['exit', 7, { retry: { retryLost: true } }],
  ['wait', { ms: 60_000 }, {}],
] as const)('a run of %s of which its thread says nothing has a length', async (...given) => {
  const [type, payload, terms] = given
  const runs = listen('corelane:run')
  const manager = await open('survival.js', options)
  const signal = type === 'wait' ? abortedBy('tracing:corelane:run:end') : undefined
  await failure(manager.submit('lane', type, payload, { ...terms, signal }), 'the command')
  const ended = runs.filter(([step]) => step === 'asyncEnd')
  expect(ended.length).toBeGreaterThan(0)
  for (const [, { durationMs }] of ended) expect(durationMs).toBeGreaterThan(0)
})
