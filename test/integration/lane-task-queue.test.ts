// The task queue with lanes: what it orders for Piscina itself, and what it keeps.

import { Piscina as Ours } from 'corelane/piscina'
import { Piscina as Theirs } from 'piscina'
import { describe, expect, test } from 'vitest'
import { collectGarbage } from '../support/garbage.ts'
import { type Class, flagOf, reasonOf, release, runOn } from '../support/piscina.ts'

const GROUPS = [undefined, 'in a group']

describe('LaneTaskQueue', () => {
  test('orders the tasks of Piscina itself by lane and priority', async () => {
    const order = await runOn(Theirs as unknown as Class, async (make, Piscina) => {
      const taskQueue = new Ours.LaneTaskQueue({
        lanes: { urgent: { priority: 0 }, query: { priority: 1 } },
      })
      const pool = make({ minThreads: 1, maxThreads: 1, taskQueue, name: 'gate' })
      const flag = flagOf()
      const controller = new AbortController()
      const seen: unknown[] = []
      const run = (value: number, own: object | null, signal?: AbortSignal) =>
        pool
          .run({ flag, value, [Piscina.queueOptionsSymbol]: own }, { signal })
          .then((result) => seen.push(result))
      const runs = [
        run(0, null),
        run(1, null),
        run(2, { priority: 200 }),
        run(3, { lane: 'urgent' }),
        run(4, { priority: 5 }),
        run(5, { lane: 'urgent', priority: 0 }),
      ]
      const gone = reasonOf(run(6, { lane: 'urgent' }, controller.signal))
      controller.abort()
      const size = taskQueue.size
      release(flag)
      await Promise.all([...runs, gone])
      return [size, seen]
    })
    expect(order).toEqual([5, [0, 5, 3, 4, 1, 2]])
  })

  test('gives groups their turns in Piscina itself, which gives back what finds no thread', async () => {
    const order = await runOn(Theirs as unknown as Class, async (make, Piscina) => {
      const taskQueue = new Ours.LaneTaskQueue({
        lanes: { query: { groupWeights: { gold: 2 }, groupConcurrency: 1 } },
      })
      const pool = make({ minThreads: 1, maxThreads: 1, taskQueue, name: 'gate' })
      const flag = flagOf()
      const controller = new AbortController()
      const seen: unknown[] = []
      const run = (value: string, group?: string, signal?: AbortSignal) =>
        pool
          .run({ flag, value, [Piscina.queueOptionsSymbol]: { group } }, { signal })
          .then((result) => seen.push(result))
      const runs = [run('first')]
      for (const value of ['a1', 'a2', 'a3', 'a4', 'a5', 'a6']) runs.push(run(value, 'a'))
      for (const value of ['b1', 'b2', 'b3']) runs.push(run(value, 'b'))
      const gone = reasonOf(run('gone', 'b', controller.signal))
      for (const value of ['g1', 'g2', 'g3', 'g4']) runs.push(run(value, 'gold'))
      controller.abort()
      const size = taskQueue.size
      release(flag)
      await Promise.all([...runs, gone])
      return [size, taskQueue.size, seen.join(' ')]
    })
    expect(order).toEqual([13, 0, 'first a1 b1 g1 g2 a2 b2 g3 g4 a3 b3 a4 a5 a6'])
  })

  test.each([
    [{ lane: 'none' }, 'none'],
    [{ priority: 'high' }, '"high"'],
    [{ priority: 256 }, '256'],
    [{ deadlineMs: '5' }, '"5"'],
    [{ group: 7 }, 'a string of 1 to 1024 characters'],
  ])('refuses a lane that there is not, and options that are none (%o)', (options, said) => {
    const queue = new Ours.LaneTaskQueue()
    const task = { [Ours.queueOptionsSymbol]: options } as never
    expect(() => queue.push(task)).toThrow(said)
    expect(queue.size).toBe(0)
    expect(() => new Ours.LaneTaskQueue({ defaultLane: 'none' })).toThrow('none')
    expect(() => new Ours.LaneTaskQueue({ lanes: {} })).toThrow('1 to 256 lanes')
  })

  test.each(GROUPS)('a task that is removed is there no more, wherever it was: %s', (group) => {
    const queue = new Ours.LaneTaskQueue()
    const make = (lane: string) => ({ [Ours.queueOptionsSymbol]: { lane, group } }) as never
    const [one, other] = [make('query'), make('query')]
    queue.remove(one)
    queue.push(one)
    queue.push(other)
    queue.remove(one)
    queue.push(one)
    expect([queue.size, queue.shift(), queue.shift(), queue.shift()]).toEqual([2, other, one, null])
  })

  test.each(GROUPS)('removed tasks are let go of in a lane that starves, too: %s', (group) => {
    const queue = new Ours.LaneTaskQueue({
      lanes: { low: { priority: 9 }, query: { priority: 0 } },
    })
    const make = (lane: string) => ({ [Ours.queueOptionsSymbol]: { lane, group } }) as never
    const removed: WeakRef<object>[] = []
    for (let i = 0; i < 10_000; i++) {
      const task = make('low')
      queue.push(task)
      queue.push(make('query'))
      queue.remove(task)
      queue.shift()
      removed.push(new WeakRef(task))
    }
    expect(queue.size).toBe(0)
    return new Promise((resolve) => setImmediate(resolve)).then(() => {
      collectGarbage()
      expect(removed.filter((one) => one.deref() !== undefined).length).toBeLessThan(2_000)
    })
  })
})
