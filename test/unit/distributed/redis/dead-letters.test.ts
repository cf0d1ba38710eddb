// How many calls the dead letters of Redis make at once.

import { expect, test } from 'vitest'
import { deadIn } from '../../../../src/distributed/redis/dead-letters.ts'
import type { RedisEngine } from '../../../../src/distributed/redis/engine.ts'
import { queueKeys } from '../../../../src/distributed/redis/keys.ts'
import type { Script } from '../../../../src/distributed/redis/scripts/script.ts'

test('thousands of ids leave room for other calls between them', async () => {
  let [open, most, calls] = [0, 0, 0]
  const call = async <T>(answer: T): Promise<T> => {
    most = Math.max(most, ++open)
    calls++
    await new Promise(setImmediate)
    open--
    return answer
  }
  const caller = { run: ({ name }: Script) => (name === 'read' ? call([null]) : call(1)) }
  const engine = { plan: { numPartitions: 8 }, keys: queueKeys('q', 8), caller }
  const dead = deadIn(engine as unknown as RedisEngine)
  const ids = Array.from({ length: 1000 }, (_, i) => `id-${i}`)
  expect(await dead.drop(ids)).toBe(8000)
  expect(await dead.redrive(ids)).toBe(0)
  expect(calls).toBe(16_000)
  expect(most).toBeLessThanOrEqual(256)
})
