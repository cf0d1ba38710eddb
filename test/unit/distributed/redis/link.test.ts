// Deadlines of a link, on a clock that stands still.

import { EventEmitter } from 'node:events'
import { beforeEach, expect, test, vi } from 'vitest'
import type { ClientMaker } from '../../../../src/distributed/redis/client-maker.ts'
import { RedisLink } from '../../../../src/distributed/redis/link.ts'
import { moveTo, restart, world } from '../../../support/still-clock.ts'

vi.mock('../../../../src/base/clock.ts', () => import('../../../support/still-clock.ts'))

beforeEach(restart)

/** A link whose connections are made as `connect` says, and whose answers a test gives. */
async function linkOf(connect: () => Promise<void>, untilMs?: number) {
  const answers: ((answer: string) => void)[] = []
  const lost: string[] = []
  const sendCommand = () => new Promise((resolve) => answers.push(resolve))
  const make = () => {
    const client = new EventEmitter()
    return Object.assign(client, { connect, sendCommand, destroy: () => client.emit('end') })
  }
  const link = new RedisLink({
    maker: { make, textOf: (error: Error) => error.message } as unknown as ClientMaker,
    commandTimeoutMs: 100,
    pingMs: 0,
    onUp: async () => {},
    onLost: (reason) => lost.push(reason),
    onBack() {},
  })
  await link.open(untilMs).finally(() => link.isUp || link.close())
  return { link, answers, lost }
}

test('an answer is not late while those before it come, and is once all are silent', async () => {
  const { link, answers, lost } = await linkOf(async () => {})
  const [first, second] = [link.send(['A']), link.send(['B'])]
  moveTo(1050)
  answers[0]!('a')
  expect(await first).toBe('a')
  moveTo(1140)
  expect(lost).toEqual([])
  answers[1]!('b')
  expect(await second).toBe('b')
  const third = link.send(['C'])
  third.catch(() => {})
  moveTo(1239)
  expect(lost).toEqual([])
  moveTo(1240)
  await expect(third).rejects.toThrow('no answer within 100 ms')
  expect(lost).toEqual(['no answer within 100 ms'])
  link.close()
})

test('why a connection cannot be made is not hidden by a last try that had no time', async () => {
  let tries = 0
  // The first is refused; the others get no answer.
  const connect = () =>
    tries++ === 0 ? Promise.reject(new Error('refused')) : new Promise<void>(() => {})
  const opened = linkOf(connect, 1060)
  opened.catch(() => {})
  for (let turn = 0; turn < 50 && world.now < 1060; turn++) {
    await new Promise(setImmediate)
    moveTo(Math.min(world.timer?.atMs ?? 1060, 1060))
  }
  await expect(opened).rejects.toThrow('refused')
  expect(tries).toBeGreaterThan(1)
})
