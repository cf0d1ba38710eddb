// Vitest: pure tests run file by file in parallel. Tests that start threads come after them: first
// those that mostly wait, two files at a time, then those that need the machine for themselves.

import { defineConfig } from 'vitest/config'

const PURE = 'test/{unit,property,tidy}/**/*.test.ts'

/** Files whose tests wait for deaths, time-outs, back-off or processes more than they compute. */
const WAITING = [
  'test/fault/{appointments,deaths,lanes-deaths,queue-smoke,recovery,replacements}.test.ts',
  'test/fault/{suspects,time-outs}.test.ts',
  'test/integration/{aborts,cli,cli-queue,handler-modules,lanes-signals,life-cycle}.test.ts',
  'test/integration/{distributed-examples,lifted-queue,local-queue,nested-waits,nesting}.test.ts',
  'test/integration/{process-life,renewal,retries,submitter,test-redis}.test.ts',
  'test/integration/{worker-ownership,worker-pool}.test.ts',
  'test/integration/redis-{faults,opening,queue}.test.ts',
  'test/package/*.test.ts',
]

export default defineConfig({
  test: {
    // Processes, not threads: the coordinator must find itself on a main thread.
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Tests of threads import the built package by its own name. Node itself must load it, untouched
    // by vite, since what a worker runs cannot be transformed and what is tested is what ships.
    server: { deps: { external: [/\/dist\//] } },
    projects: [
      { extends: true, test: { name: 'pure', include: [PURE] } },
      {
        extends: true,
        test: {
          name: 'waiting',
          include: WAITING,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'threads',
          include: ['test/**/*.test.ts'],
          exclude: [PURE, ...WAITING, 'test/fixtures/**'],
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
