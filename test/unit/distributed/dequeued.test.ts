// Dequeued: deliveries known by the id of their command, until they end or their lease is over.

import { expect, test } from 'vitest'
import type { Delivery, SettleStatus } from '../../../src/distributed/contract/distributed-queue.ts'
import type { CommandResult } from '../../../src/distributed/contract/envelope.ts'
import { type EngineCore, LeasedEngine } from '../../../src/distributed/contract/leased-engine.ts'

/** Gives what it is told to, and keeps the deliveries that are completed. */
class Engine extends LeasedEngine {
  readonly ended: Delivery[] = []
  end: () => Promise<SettleStatus> = async () => 'done'
  #given: Delivery | undefined

  constructor() {
    const core: Partial<EngineCore> = {
      ...{ numPartitions: 1, workerId: 'w', isClosed: false },
      completeMany: async ([one]) => {
        const status = await this.end()
        this.ended.push(one!.delivery)
        return [status]
      },
      next: () => this.#given,
    }
    super(core as EngineCore)
  }

  /** Dequeues a command whose lease has so long to go. */
  async give(id: string, leftMs: number): Promise<Delivery> {
    const leasedUntilMs = performance.now() + leftMs
    const delivery = { envelope: { id }, fence: id, deliveries: 1, leasedUntilMs } as Delivery
    this.#given = delivery
    await this.dequeue(0)
    return delivery
  }
}

const end = (engine: Engine, commandId: string) => engine.complete({ commandId } as CommandResult)

/** What was ended under an id, or the code of the refusal. */
async function ended(engine: Engine, id: string): Promise<unknown> {
  try {
    await end(engine, id)
  } catch (error) {
    return (error as { code?: string }).code
  }
  return engine.ended.at(-1)
}

const NOT_HELD = 'CORELANE_NOT_HELD'

test('a delivery ends once, under the id of its command', async () => {
  const engine = new Engine()
  const one = await engine.give('a', 1000)
  expect(await ended(engine, 'b')).toBe(NOT_HELD)
  expect(await ended(engine, 'a')).toBe(one)
  expect(await ended(engine, 'a')).toBe(NOT_HELD)
})

test('one whose end was not told is known on', async () => {
  const engine = new Engine()
  const one = await engine.give('a', 1000)
  engine.end = () => Promise.reject(new Error('no answer'))
  await expect(end(engine, 'a')).rejects.toThrow('no answer')
  engine.end = async () => 'done'
  expect(await ended(engine, 'a')).toBe(one)
})

test('those whose lease is over are forgotten when another comes', async () => {
  const engine = new Engine()
  await engine.give('a', -1)
  const one = await engine.give('b', 1000)
  expect(await ended(engine, 'a')).toBe(NOT_HELD)
  expect(await ended(engine, 'b')).toBe(one)
})

test('the end of one does not forget a later one of the same command', async () => {
  const engine = new Engine()
  await engine.give('a', 1000)
  let later: Delivery | undefined
  engine.end = async () => {
    later ??= await engine.give('a', 1000)
    return 'done'
  }
  await end(engine, 'a')
  expect(await ended(engine, 'a')).toBe(later)
})

test('one that another worker has by now is refused, and forgotten', async () => {
  const engine = new Engine()
  await engine.give('a', 1000)
  engine.end = async () => 'stale'
  await expect(end(engine, 'a')).rejects.toMatchObject({
    code: NOT_HELD,
    message: expect.stringContaining('worker "w": its lease is over'),
  })
  expect(await ended(engine, 'a')).toBe(NOT_HELD)
})
