// How large the announcements of progress are that Redis is given.

import { expect, test } from 'vitest'
import { commandsIn } from '../../../../src/distributed/redis/commands.ts'
import type { RedisEngine } from '../../../../src/distributed/redis/engine.ts'
import { queueKeys } from '../../../../src/distributed/redis/keys.ts'
import { framesOf } from '../../../../src/distributed/redis/subscriptions.ts'

test('large reports of one submitter go in several announcements, in their order', async () => {
  const sent: Buffer[] = []
  const caller = { send: async ([, , bytes]: [string, string, Buffer]) => sent.push(bytes) }
  const engine = { plan: { maxBytes: 2 ** 20 }, keys: queueKeys('q', 1), caller }
  const commands = commandsIn(engine as unknown as RedisEngine)
  const value = new Uint8Array(2 ** 20)
  const ids = Array.from({ length: 10 }, (_, i) => `c${i}`)
  await commands.report(ids.map((commandId) => ({ commandId, submitter: 'me', value })))
  const named = sent.flatMap((bytes) => framesOf(bytes, (frame) => frame.toString('latin1', 0, 2)))
  expect(named).toEqual(ids)
  expect(Math.max(...sent.map(({ length }) => length))).toBeLessThan(5 * 2 ** 20)
})
