// Vitest: pure tests run file by file in parallel, in processes that go on to the next file, so that
// each loads what is tested once. Tests that start threads or processes come after them: most wait
// more than they compute, so three files run at a time; then those that must not be disturbed, one
// after the other. Each of these files has a process of its own.

import { readdirSync, readFileSync } from 'node:fs'
import { defineConfig } from 'vitest/config'

const FOLDERS = ['unit', 'property', 'tidy']
const PURE = `test/{${FOLDERS}}/**/*.test.ts`

/** Pure tests that put another module in the place of one: others must not get that. */
const MOCKING = FOLDERS.flatMap((folder) =>
  readdirSync(`test/${folder}`, { recursive: true, encoding: 'utf8' })
    .map((name) => `test/${folder}/${name}`)
    .filter((path) => path.endsWith('.test.ts') && /^vi\.mock\(/m.test(readFileSync(path, 'utf8'))),
)

/** Files whose tests measure, or compare what threads do beside each other. */
const ALONE = ['test/integration/{bench-smoke,handler-speed,idle,lanes-rates,placement}.test.ts']

export default defineConfig({
  test: {
    // Processes, not threads: the coordinator must find itself on a main thread.
    pool: 'forks',
    // Reached only by what hangs: waits have bounds of their own, and machines other work.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Tests of threads import the built package by its own name. Node itself must load it, untouched
    // by vite, since what a worker runs cannot be transformed and what is tested is what ships.
    server: { deps: { external: [/\/(?:build|dist)\//] } },
    projects: [
      {
        extends: true,
        test: { name: 'pure', include: [PURE], exclude: MOCKING, isolate: false },
      },
      { extends: true, test: { name: 'mocking', include: MOCKING } },
      {
        extends: true,
        test: {
          name: 'threads',
          include: ['test/**/*.test.ts'],
          exclude: [PURE, ...ALONE, 'test/fixtures/**', '**/node_modules/**', '**/.work/**'],
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'alone',
          include: ALONE,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
