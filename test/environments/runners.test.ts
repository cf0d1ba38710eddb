// Runners: the package does the same work in the realm of every test runner as in plain Node.

import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { describeWithTools, isLockedVersion } from '../support/locked-packages.ts'
import { readRows } from '../support/tables.ts'

const root = join(import.meta.dirname, '../..')
const tools = join(import.meta.dirname, 'tools/runners')
// Beside what other files keep there.
const work = join(tools, '.work/runners')
const RUN_MS = 120_000

// A process of a tool that was ended may write there for a moment more.
afterAll(() => rmSync(work, { recursive: true, force: true, maxRetries: 10 }))

const COMMON = `const corelane = require('corelane')
const work = require('./work.cjs')
const { join } = require('node:path')
test('work', () => work(corelane, join(__dirname, 'handlers.mjs')))
`
const MODERN = `import * as corelane from 'corelane'
import work from './work.cjs'
test('work', () => work(corelane, new URL('./handlers.mjs', import.meta.url)))
`
const FROM_VITEST = `import { test } from 'vitest'\n${MODERN}`
const BY_PATH = FROM_VITEST.replace(/new URL.*?url\)/, "import.meta.dirname + '/handlers.mjs'")
const FAKED_BY_VITEST = `import { test, vi } from 'vitest'
vi.useFakeTimers()
const corelane = await import('corelane')
const { default: work } = await import('./work.cjs')
test('work', () => work(corelane, new URL('./handlers.mjs', import.meta.url)))
`
const MOCKED_BY_JEST = `jest.mock('corelane')
const mocked = require('corelane')
const actual = jest.requireActual('corelane')
test('work', async () => {
  const manager = new mocked.QueueManager()
  manager.run.mockResolvedValue(1)
  expect(await manager.run()).toBe(1)
  const spy = jest.spyOn(actual, 'QueueManager').mockReturnValue({})
  new actual.QueueManager()
  expect(spy).toHaveBeenCalledTimes(1)
})
`

interface Case {
  readonly title: string
  /** Name and text of the file with the test. */
  readonly spec: readonly [string, string]
  readonly config?: readonly [string, string]
}

const jest = (options: object): [string, string] => ['jest.config.json', JSON.stringify(options)]
const JEST = ['jest/bin/jest.js', '--ci', '--detectOpenHandles', '--projects']
const vitest = (options: object): [string, string] => [
  'vitest.config.mjs',
  `export default { test: ${JSON.stringify({ include: ['*.test.mjs'], ...options })} }`,
]

const withJest: Case[] = [
  {
    title: 'Jest, its default',
    spec: ['work.test.cjs', COMMON],
    config: jest({ testMatch: ['**/*.test.cjs'] }),
  },
  {
    title: 'Jest, the package mocked',
    spec: ['work.test.cjs', MOCKED_BY_JEST],
    config: jest({ testMatch: ['**/*.test.cjs'] }),
  },
  {
    title: 'Jest, timers faked',
    spec: ['work.test.cjs', COMMON],
    config: jest({ testMatch: ['**/*.test.cjs'], fakeTimers: { enableGlobally: true } }),
  },
  {
    title: 'Jest with jsdom',
    spec: ['work.test.cjs', COMMON],
    config: jest({ testMatch: ['**/*.test.cjs'], testEnvironment: 'jsdom' }),
  },
]
const withJestOfModules: Case[] = [
  {
    title: 'Jest, ES modules',
    spec: ['work.test.mjs', MODERN],
    config: jest({ testMatch: ['**/*.test.mjs'] }),
  },
  {
    title: 'Jest with jsdom, ES modules',
    spec: ['work.test.mjs', MODERN],
    config: jest({ testMatch: ['**/*.test.mjs'], testEnvironment: 'jsdom' }),
  },
]
const withVitest: Case[] = [
  ...['forks', 'threads', 'vmForks', 'vmThreads'].map((pool) => ({
    title: `Vitest, pool ${pool}`,
    spec: ['work.test.mjs', FROM_VITEST] as const,
    config: vitest({ pool }),
  })),
  ...['jsdom', 'happy-dom'].map((environment) => ({
    title: `Vitest with ${environment}`,
    spec: ['work.test.mjs', BY_PATH] as const,
    config: vitest({ environment }),
  })),
  {
    title: 'Vitest, timers faked',
    spec: ['work.test.mjs', FAKED_BY_VITEST],
    config: vitest({ pool: 'forks' }),
  },
  {
    title: 'Vitest, the package inlined',
    spec: ['work.test.mjs', FROM_VITEST],
    config: vitest({ server: { deps: { inline: ['corelane'] } } }),
  },
]
const withMocha: Case[] = [
  { title: 'Mocha, CommonJS', spec: ['work.test.cjs', COMMON.replace('test(', 'it(')] },
  { title: 'Mocha, ES modules', spec: ['work.test.mjs', MODERN.replace('test(', 'it(')] },
]

const placeOf = (title: string): string => join(work, title.replace(/\W+/g, '-'))

/** A folder with a test and its configuration, if it has one. */
function write({ title, spec, config }: Case): string {
  const place = placeOf(title)
  rmSync(place, { recursive: true, force: true })
  mkdirSync(place, { recursive: true })
  cpSync(join(import.meta.dirname, 'specs'), place, { recursive: true })
  for (const [name, text] of config === undefined ? [spec] : [spec, config]) {
    writeFileSync(join(place, name), text)
  }
  return place
}

function run(words: readonly string[], cwd = work): string {
  const options = { cwd, encoding: 'utf8', timeout: RUN_MS } as const
  const { status, stdout, stderr } = spawnSync(process.execPath, words, options)
  expect(status, `${stdout}\n${stderr}`).toBe(0)
  return stdout + stderr
}

/** Cases that one process of a tool runs, with the words for it. */
const RUNS: readonly (readonly [string, readonly Case[], (places: string[]) => string[]])[] = [
  ['Jest', withJest, (places) => [...JEST, ...places]],
  [
    'Jest of ES modules',
    withJestOfModules,
    (places) => ['--experimental-vm-modules', '--no-warnings', ...JEST, ...places],
  ],
  ['Vitest', withVitest, () => ['vitest/vitest.mjs', 'run']],
  [
    'Mocha',
    withMocha,
    (places) => [
      'mocha/bin/mocha.js',
      ...places.map((place, n) => join(place, withMocha[n]!.spec[0])),
    ],
  ],
]
const cases = RUNS.flatMap(([, each]) => each)

test('docs/environments.md names what is tried here', () => {
  const page = readFileSync(join(root, 'docs/environments.md'), 'utf8')
  const rows = readRows(page, 'Test runners')
  const titles = ['node:test', ...cases.map(({ title }) => title), 'proxyquire']
  expect([...rows.keys()].sort()).toEqual(titles.sort())
  for (const [title, [version, works]] of rows) {
    const [tool] = title.toLowerCase().split(/[, :]/, 1)
    expect([title, works]).toEqual([title, 'yes'])
    expect([title, tool === 'node' || isLockedVersion(tools, tool!, version!)]).toEqual([
      title,
      true,
    ])
  }
})

describeWithTools(tools, () => {
  test.each(RUNS)('%s: all cases', (_, own, wordsFor) => {
    const places = own.map(write)
    const projects = JSON.stringify(places)
    writeFileSync(
      join(work, 'vitest.config.mjs'),
      `export default { test: { projects: ${projects} } }`,
    )
    const words = wordsFor(places).map((word) =>
      /^\w+\/.*js$/.test(word) ? join(tools, 'node_modules', word) : word,
    )
    const output = run(words)
    expect(output).toMatch(new RegExp(`${own.length} (?:passed|passing)`))
    expect(output).not.toMatch(/did not exit|open handle|warning/i)
  })

  test('node:test, with its timers mocked', () => {
    const spec = `import { mock, test } from 'node:test'
      mock.timers.enable()
      ${MODERN}`
    const place = write({ title: 'node:test', spec: ['work.test.mjs', spec] })
    expect(run(['--test', 'work.test.mjs'], place)).toMatch(/pass 1/)
  })

  test('node:test counts what handlers run in threads, as docs/testing.md says', () => {
    const spec = `import { test } from 'node:test'\n${MODERN}`
    const place = write({ title: 'node:test, coverage', spec: ['work.test.mjs', spec] })
    const output = run(['--test', '--experimental-test-coverage', 'work.test.mjs'], place)
    const [, lines, uncovered] = /\n\W*handlers\.mjs *\|([^|]*)\|.*\|(.*)/.exec(output) ?? [output]
    expect([Number(lines), uncovered?.trim()]).toEqual([100, ''])
  })

  test('proxyquire replaces the package in what uses it, and loads it where it is not replaced', () => {
    const spec = `
      const proxyquire = require('proxyquire')
      require('node:fs').writeFileSync('uses.cjs', 'module.exports = require("corelane")')
      class Fake {}
      const stubbed = proxyquire('./uses.cjs', { corelane: { QueueManager: Fake } })
      console.log(stubbed.QueueManager === Fake, typeof stubbed.Submitter)
      require('./work.cjs')(proxyquire('./uses.cjs', {}), __dirname + '/handlers.mjs')`
    const place = write({ title: 'proxyquire', spec: ['main.cjs', spec] })
    expect(run(['main.cjs'], place)).toBe('true function\n')
  })
})
