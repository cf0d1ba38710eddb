// Vitest: tests run file by file, in processes that go on to the next file, so that each loads what
// is tested once. Pure tests come first. Those that start threads or processes follow: most wait
// more than they compute, so four files run at a time; then those that must not be disturbed, one
// after the other. Files that look at their process, measure or replace modules have their own.

import { readdirSync, readFileSync } from 'node:fs'
import { defineConfig } from 'vitest/config'

const FOLDERS = ['unit', 'property', 'tidy']
const PURE = `test/{${FOLDERS}}/**/*.test.ts`

/** Test files of folders that have this in their text. */
const filesWith = (text: RegExp, folders: readonly string[]) =>
  folders.flatMap((folder) =>
    readdirSync(`test/${folder}`, { recursive: true, encoding: 'utf8' })
      .map((name) => `test/${folder}/${name}`)
      .filter((path) => path.endsWith('.test.ts') && text.test(readFileSync(path, 'utf8'))),
  )

/** Pure tests that put another module in the place of one: others must not get that. */
const MOCKING = filesWith(/^vi\.mock\(/m, FOLDERS)

/** Files whose tests measure, or compare what threads do beside each other. */
const ALONE = ['test/integration/{handler-speed,idle,lanes-rates,placement}.test.ts']

/** Tests of what a process has once: its listeners, memory, globals and hooks. */
const OWN_PROCESS = filesWith(
  /process\.(?:on|once|emit|listen|memory)|globalThis|support\/garbage|node:(?:async_h|diag)/,
  ['integration', 'fault', 'package'],
)

/** Where the other tests of threads are not. */
const EXCLUDED = [PURE, ...ALONE, 'test/fixtures/**', '**/node_modules/**', '**/.work/**']

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
        test: { name: 'pure', include: [PURE], exclude: MOCKING, isolate: false, maxWorkers: 2 },
      },
      { extends: true, test: { name: 'mocking', include: MOCKING, maxWorkers: 2 } },
      {
        extends: true,
        test: {
          name: 'processes',
          include: OWN_PROCESS,
          exclude: EXCLUDED,
          maxWorkers: 4,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'threads',
          include: ['test/**/*.test.ts'],
          exclude: [...EXCLUDED, ...OWN_PROCESS],
          isolate: false,
          setupFiles: ['test/support/fresh-modules.ts'],
          maxWorkers: 4,
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
