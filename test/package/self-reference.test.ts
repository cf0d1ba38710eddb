// Self-reference: tests of threads import 'corelane' and must get the built files as Node loads
// them. Were they transformed, the tests would test something that no user runs.

import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

test("'corelane' is dist/index.js, loaded by node and not transformed", async () => {
  const place = import.meta.resolve('corelane')
  expect(fileURLToPath(place)).toMatch(/[\\/]dist[\\/]index\.js$/)
  const name = 'corelane'
  const doors: Record<string, unknown> = await import(name)
  const exported = Object.values(doors).filter((value) => typeof value === 'function')
  expect(exported.length).toBeGreaterThan(0)
  expect(exported.map(String).filter((source) => source.includes('__vite'))).toEqual([])
})
