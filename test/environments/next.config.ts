// Next config: the tests of next.ts, which take minutes, so `npm run test:next` alone runs them.

import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: { include: ['test/environments/next.ts'], hookTimeout: 60_000 },
})
