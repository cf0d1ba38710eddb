// Redis server: real redis-servers for tests, stopped after the file that started them. Where there
// is no redis-server, what needs one is left out with a line that says so; it fails where CI=true.

import { afterAll, describe, test } from 'vitest'
import { findRedis, type RedisOptions, RedisProcess } from './redis-process.js'

const started: RedisProcess[] = []

/** Starts a server that is stopped after the last test of the file, unless it was before. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisProcess> {
  const server = await RedisProcess.start(options)
  started.push(server)
  return server
}

/**
 * A block of tests that need Redis.
 *
 * @param name - Of the block.
 * @param body - Defines the tests, as with vitest's `describe`.
 */
export function describeWithRedis(name: string, body: () => void): void {
  const { missing } = findRedis()
  if (missing === undefined) {
    describe(name, () => {
      afterAll(async () => {
        await Promise.all(started.splice(0).map((server) => server.stop()))
      })
      body()
    })
    return
  }
  if (process.env.CI === 'true') {
    test(name, () => {
      throw new Error(missing)
    })
    return
  }
  console.warn(`left out: ${name}: ${missing}`)
  describe.skipIf(true)(name, body)
}
