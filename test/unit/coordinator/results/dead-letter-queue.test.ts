// Dead-letter queue: what is kept, in which order, and how letters leave.

import { expect, test } from 'vitest'
import {
  type DeadLetter,
  DeadLetterQueue,
} from '../../../../src/coordinator/results/dead-letter-queue.ts'
import type { LaneEvent } from '../../../../src/model/lane-event.ts'

function letter(id: string): DeadLetter {
  return {
    id,
    lane: 'a',
    type: 'burn',
    payload: { of: id },
    error: new Error(id),
    attempts: 2,
    crashes: 0,
    firstFailedAtMs: 1,
    failedAtMs: 2,
    options: {},
  }
}

/** A queue with letters; commands with a name in `failing` are not accepted. */
function queueOf(capacity: number, ids: string, failing = '') {
  const dropped: string[] = []
  const submitted: Partial<DeadLetter>[] = []
  const hub = { dropped: ({ id }: Pick<LaneEvent, 'id'>) => void dropped.push(id!) }
  const queue = new DeadLetterQueue(capacity, hub, {
    resubmit: (lane, type, payload, options) => {
      const { of: id } = payload as { of: string }
      if (failing.includes(id)) throw new Error(`no room for ${id}`)
      submitted.push({ lane, type, payload, options })
      return id === 'x' ? Promise.reject(new Error('again')) : Promise.resolve(`ran ${id}`)
    },
  })
  for (const id of ids) queue.add(letter(id))
  const left = () => queue.list().map(({ id }) => id)
  return { queue, dropped, submitted, left }
}

test('letters are listed the oldest first and found by the id of their command', () => {
  const { queue, left } = queueOf(10, 'abc')
  expect([queue.size, left()]).toEqual([3, ['a', 'b', 'c']])
  expect(queue.get('b')).toEqual(letter('b'))
  expect(queue.get('z')).toBeUndefined()
})

test('past its capacity the oldest is dropped, and somebody hears of it', () => {
  const { queue, dropped, left } = queueOf(2, 'abcd')
  expect([queue.size, left(), dropped]).toEqual([2, ['c', 'd'], ['a', 'b']])
})

test('with a capacity of 0 every letter is dropped at once', () => {
  const { queue, dropped } = queueOf(0, 'ab')
  expect([queue.size, dropped]).toEqual([0, ['a', 'b']])
})

test('a letter that is removed while it is submitted anew runs all the same', async () => {
  const queue: DeadLetterQueue = new DeadLetterQueue(
    2,
    { dropped: () => {} },
    {
      resubmit: () => {
        queue.purge()
        return Promise.reject(new Error('again'))
      },
    },
  )
  queue.add(letter('a'))
  await expect(queue.redrive('a')).rejects.toThrow('again')
  expect(queue.size).toBe(0)
})

test.each([
  ['accepted', false, [], ['b', 'again']],
  ['refused', true, ['a'], ['b', 'again']],
])(
  'a letter makes no other leave while it is submitted anew and %s',
  async (_, isRefused, gone, left) => {
    const dropped: (string | undefined)[] = []
    const queue: DeadLetterQueue = new DeadLetterQueue(
      2,
      { dropped: ({ id }: Pick<LaneEvent, 'id'>) => void dropped.push(id) },
      {
        resubmit: () => {
          queue.add(letter('again'))
          expect(dropped).toEqual([])
          if (isRefused) throw new Error('full')
          return Promise.resolve()
        },
      },
    )
    for (const id of 'ab') queue.add(letter(id))
    await Promise.allSettled([queue.redrive('a')])
    expect([dropped, queue.list().map(({ id }) => id)]).toEqual([gone, left])
  },
)

test('a list is a snapshot', () => {
  const { queue } = queueOf(10, 'ab')
  const list = queue.list()
  queue.purge()
  expect(list.map(({ id }) => id)).toEqual(['a', 'b'])
})

test('redriving submits the letter, removes it and gives the new result', async () => {
  const { queue, submitted, left } = queueOf(10, 'ab')
  expect(await queue.redrive('a')).toBe('ran a')
  expect(letter('a')).toMatchObject(submitted[0]!)
  expect([submitted.length, left()]).toEqual([1, ['b']])
})

test('a letter is gone as soon as its command is accepted, whatever becomes of that', async () => {
  const { queue, left } = queueOf(10, 'x')
  const redriven = queue.redrive('x')
  expect(left()).toEqual([])
  await expect(redriven).rejects.toThrow('again')
})

test('a letter whose command is not accepted stays where it was', async () => {
  const { queue, left } = queueOf(10, 'abc', 'b')
  await expect(queue.redrive('b')).rejects.toThrow('no room for b')
  expect(left()).toEqual(['a', 'b', 'c'])
})

test('of letters with one id the oldest is meant, and by purge all', async () => {
  const { queue, submitted, left } = queueOf(4, 'aaba')
  const [first, second] = queue.list()
  expect(queue.get('a')).toBe(first)
  await queue.redrive('a')
  expect(submitted[0]!.payload).toBe(first!.payload)
  expect(queue.get('a')).toBe(second)
  expect([queue.purge('a'), left()]).toEqual([2, ['b']])
  expect(queue.get('a')).toBeUndefined()
  for (const id of 'aabc') queue.add(letter(id))
  // The oldest of them made way.
  expect([queue.size, left(), queue.purge('b')]).toEqual([4, ['a', 'a', 'b', 'c'], 1])
  expect((await queue.redriveAll()).map(({ status }) => status)).toEqual(Array(3).fill('fulfilled'))
  expect(queue.size).toBe(0)
})

test('what is no letter cannot be redriven, nor redriven twice', async () => {
  const { queue, submitted } = queueOf(10, 'a')
  await queue.redrive('a')
  for (const id of ['a', 'z', '', undefined as never]) {
    await expect(queue.redrive(id)).rejects.toMatchObject({ code: 'CORELANE_UNKNOWN_DEAD_LETTER' })
  }
  expect(submitted).toHaveLength(1)
})

test('redriving all submits every letter, the oldest first, and tells how each ended', async () => {
  const { queue, submitted, left } = queueOf(10, 'axcb', 'c')
  const ends = await queue.redriveAll()
  expect(ends).toEqual([
    { status: 'fulfilled', value: 'ran a' },
    { status: 'rejected', reason: new Error('again') },
    { status: 'rejected', reason: new Error('no room for c') },
    { status: 'fulfilled', value: 'ran b' },
  ])
  expect(submitted.map(({ payload }) => (payload as { of: string }).of)).toEqual(['a', 'x', 'b'])
  expect(left()).toEqual(['c'])
})

test.each([
  ['redrive', ['a', 'b', 'c']],
  ['purge', ['a', 'c']],
] as const)('a letter that a getter of another takes away by %s runs no more', async (act, ran) => {
  const submitted: string[] = []
  const queue: DeadLetterQueue = new DeadLetterQueue(
    3,
    { dropped: () => {} },
    {
      resubmit: (_lane, _type, payload) => {
        const { of: id } = payload as { of: string }
        submitted.push(id)
        if (id === 'a') void queue[act]('b')
        return Promise.resolve()
      },
    },
  )
  for (const id of 'abc') queue.add(letter(id))
  const ends = await queue.redriveAll()
  expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect([submitted, queue.size]).toEqual([ran, 0])
})

test('purging tells how many letters it removed, and nobody hears of them', () => {
  const { queue, dropped, left } = queueOf(10, 'abc')
  expect([queue.purge('z'), queue.purge('b'), left()]).toEqual([0, 1, ['a', 'c']])
  expect([queue.purge(), queue.size, queue.purge()]).toEqual([2, 0, 0])
  expect(dropped).toEqual([])
})
