// Recall: which bound commands go back, in which order, and which never do.

import { expect, test } from 'vitest'
import type { Command } from '../../../../src/coordinator/command.ts'
import { type RecallBounds, recall } from '../../../../src/coordinator/threads/recall.ts'
import { WindowLoad } from '../../../../src/coordinator/threads/window-load.ts'
import { SLOT_COUNT } from '../../../../src/memory/layout.ts'
import { type CommandTraits, command, laneTable } from '../support/rig.ts'

const moved = () => ({ transferList: [new ArrayBuffer(1)] })

/** What is bound, slot by slot; those in `started` cannot be taken back. */
function world(traits: readonly CommandTraits[], started: readonly number[] = []) {
  const load = new WindowLoad(4, false)
  const commands = new Array<Command | undefined>(SLOT_COUNT).fill(undefined)
  for (const [slot, each] of traits.entries()) {
    const one = command({ sequence: slot, ...each })
    commands[slot] = one
    load.add(slot, one.lane, one.rank, one.sequence, one.type.estimateUs, 8, one.key)
  }
  const asked: number[] = []
  const take = (bounds: RecallBounds) =>
    recall(
      commands,
      load,
      (slot) => {
        asked.push(slot)
        return !started.includes(slot)
      },
      bounds,
    ).map(({ sequence }) => sequence)
  return { take, asked }
}

test('the least urgent go first, the newest of those before the others', () => {
  const { take } = world([{ rank: 2 }, { rank: 9 }, { rank: 5 }, { rank: 9 }])
  expect(take({})).toEqual([3, 1, 2, 0])
})

test('it stops at an amount of work, the command included that reaches it', () => {
  const traits = [1, 2, 3, 4].map(() => ({ estimateUs: 100 }))
  expect(world(traits).take({ workUs: 101 })).toEqual([3, 2])
  expect(world(traits).take({ workUs: 100 })).toEqual([3])
  expect(world(traits).take({ workUs: 0 })).toEqual([])
})

test('it stops at a number, and those that had started count for neither', () => {
  const traits = [1, 2, 3, 4].map(() => ({ estimateUs: 100 }))
  expect(world(traits, [3]).take({ countMax: 2 })).toEqual([2, 1])
  expect(world(traits, [3, 1]).take({ workUs: 150 })).toEqual([2, 0])
})

test('ranks bound it on both sides, and nothing else is touched', () => {
  const traits = [1, 2, 3, 4].map((rank) => ({ rank }))
  const { take, asked } = world(traits)
  expect(take({ after: { rank: 1, sequence: 9 }, rankMax: 3 })).toEqual([2, 1])
  expect(asked).toEqual([2, 1])
})

test('of those as urgent as a command only the younger ones go for it', () => {
  const { take } = world([2, 2, 2, 3].map((rank) => ({ rank })))
  expect(take({ after: { rank: 2, sequence: 0.5 } })).toEqual([3, 2, 1])
})

test('what was moved stays, and what has no home goes past it', () => {
  const { take, asked } = world([{}, moved(), {}])
  expect(take({})).toEqual([2, 0])
  expect(asked).toEqual([2, 0])
})

test('what was moved and has a home keeps all that runs before it', () => {
  const home = { home: 0 }
  expect(world([home, { ...home, ...moved() }, home]).take({})).toEqual([2])
})

test('what a lane is promised stays where others want its place, and goes where it would idle', () => {
  const { all } = laneTable({ promised: { minConcurrency: 2 } })
  const lane = all[0]!
  const traits = [1, 2, 3].map(() => ({ lane, rank: 4 }))
  // The load is told of what goes by the window; here it stays as it is.
  expect(world(traits.slice(1)).take({ promised: [2] })).toEqual([])
  expect(world(traits.slice(1)).take({})).toEqual([1, 0])
  expect(world(traits).take({ promised: [2], countMax: 1 })).toEqual([2])
})
