// Vitest: pure tests run file by file in parallel. Tests that start threads or processes come after
// them: most wait more than they compute, so three files run at a time; then those that must not be
// disturbed, one after the other.

import { defineConfig } from 'vitest/config'

const PURE = 'test/{unit,property,tidy}/**/*.test.ts'

/** Files whose tests measure, fill all cores for long, or compare what threads do beside each other. */
const ALONE = [
  'test/fault/{crash-smoke,memory,stress}.test.ts',
  'test/integration/{bench-smoke,cli-bench,handler-speed,idle,lanes-rates,lanes-slots}.test.ts',
  'test/integration/{nesting-campaign,placement,streams-pressure,submitting}.test.ts',
]

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
      { extends: true, test: { name: 'pure', include: [PURE] } },
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
