// Vitest: pure tests run file by file in parallel; tests that start threads have the machine to
// themselves, one file at a time, after the others.

import { defineConfig } from 'vitest/config'

const PURE = 'test/{unit,property,tidy}/**/*.test.ts'

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
          name: 'threads',
          include: ['test/**/*.test.ts'],
          exclude: [PURE, 'test/fixtures/**'],
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
