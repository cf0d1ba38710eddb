// Nested server: which partitions count as held while handlers come, wait and end.

import { expect, test } from 'vitest'
import { NestedServer } from '../../../../src/coordinator/admission/nested-server.ts'
import { WaitGraph } from '../../../../src/coordinator/admission/wait-graph.ts'
import type { Incarnation } from '../../../../src/coordinator/threads/incarnation.ts'
import type { NestedSubmit } from '../../../../src/wire/control.ts'
import { toCallValue } from '../../../../src/wire/side-payload.ts'

/** Two partitions with so many runs each, in which every command that comes waits for ever. */
function serverOfTwo(runs = 1) {
  const handles = [0, 1].map((index) => ({
    index,
    isHeld: false,
    hasWaiting: false,
    window: undefined,
    retiring: new Set<unknown>(),
    results: undefined as { drain(): number } | undefined,
  }))
  const ended = new Set<number>()
  const detached = new Set<number>()
  /** When the commands that handlers wait for have started. */
  const child = { startedAtMs: 0 }
  const holder = { startOf: () => child.startedAtMs }
  const made = { home: -1, laneIndex: 0, key: undefined, isBound: true, holder, slot: 0 }
  const threads: Incarnation[] = []
  let acts = 0
  const server = new NestedServer(
    { make: () => ({ ...made }), admit: () => new Promise(() => {}) } as never,
    handles as never,
    new WaitGraph({ partitions: 2, runs, laneSlots: [9], groupSlots: [9] }),
    { returnTurns: () => {}, reclaimFrom: () => {} } as never,
    { refuseUnlessRunning: () => {} },
    { acted: () => acts++ },
  )
  /** A handler of a partition, named by a number, submits a command. */
  const submit = (partition: number, parent: number, own: object = {}) => {
    Object.assign(own, { laneIndex: 0, key: undefined, groupSeat: undefined })
    const window = {
      commandOf: (id: number) => (detached.has(id) ? undefined : own),
      isOpen: (id: number) => !ended.has(id),
    }
    const exited = new Promise(() => {})
    const from = { partition, number: 1, window, exited } as never as Incarnation
    threads.push(from)
    const payload = toCallValue(1, 'payload')
    const command = { id: parent, parent, lane: 'lane', type: 'type', payload, options: {} }
    const rest = { carrier: undefined, wait: true, hasSignal: false }
    return server.submit(from, { ...command, ...rest } as NestedSubmit)
  }
  const held = () => handles.map(({ isHeld }) => isHeld)
  const end = (parent: number) => ended.add(parent)
  const detach = (parent: number) => detached.add(parent)
  /** The last thread that submitted something is taken over from. */
  const retire = () => {
    const from = threads.at(-1)!
    handles[from.partition]!.retiring.add(from)
  }
  return { server, submit, held, end, detach, retire, handles, child, acts: () => acts }
}

test('the last run of all is held by no handler that waits, and its submit is refused', async () => {
  const { submit, held } = serverOfTwo()
  void submit(0, 1)
  expect(held()).toEqual([true, false])
  expect(await submit(1, 2)).toMatchObject({ ok: false })
  expect(held()).toEqual([true, false])
})

test('the partition of a handler that ended without waiting is held no more by the next submit', () => {
  const { server, submit, held, end, acts } = serverOfTwo()
  void submit(0, 1)
  end(1)
  // The manager has not acted on that end when a handler of another partition comes.
  const before = acts()
  void submit(1, 2)
  expect(held()).toEqual([false, true])
  expect(acts()).toBeGreaterThan(before)
  server.progressed()
  expect(held()).toEqual([false, true])
})

test('a run that goes on past its time-out holds one beside the next run of its command', () => {
  const { submit, held, detach } = serverOfTwo(2)
  const command = {}
  void submit(0, 1, command)
  detach(1)
  void submit(0, 2, command)
  expect(held()).toEqual([true, false])
})

test('a thread that was taken over from holds no run of its partition', () => {
  const { server, submit, held, retire } = serverOfTwo()
  void submit(0, 1)
  retire()
  server.progressed()
  expect(held()).toEqual([false, false])
  void submit(1, 2)
  expect(held()).toEqual([false, true])
})

test('a command that has failed and runs again needs a run, though its result was not taken', async () => {
  const { submit, handles, child } = serverOfTwo()
  void submit(0, 1)
  child.startedAtMs = 1
  // It ran on the other partition, whose run the next handler has got.
  let isTaken = false
  const drain = () => {
    if (isTaken) return 0
    isTaken = true
    child.startedAtMs = 0
    return 1
  }
  handles[1]!.results = { drain }
  expect(await submit(1, 2)).toMatchObject({ ok: false })
})
