// Runners: the package does the same work in the realm of every test runner as in plain Node.

import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { describeWithTools, isLockedVersion } from '../support/locked-packages.ts'
import { readRows } from '../support/tables.ts'

const root = join(import.meta.dirname, '../..')
const tools = join(import.meta.dirname, 'tools/runners')
const work = join(tools, '.work')
const RUN_MS = 120_000

afterAll(() => rmSync(work, { recursive: true, force: true }))

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

interface Case {
  readonly title: string
  /** Name and text of the file with the test. */
  readonly spec: readonly [string, string]
  /** A program of the tools and its words. */
  readonly words: readonly string[]
  readonly flags?: readonly string[]
  readonly config?: readonly [string, string]
}

const jest = (options: object): [string, string] => ['jest.config.json', JSON.stringify(options)]
const JEST = ['jest/bin/jest.js', '--ci']
const VITEST = ['vitest/vitest.mjs', 'run']
const vitest = (options: object): [string, string] => [
  'vitest.config.mjs',
  `export default { test: ${JSON.stringify({ include: ['*.test.mjs'], ...options })} }`,
]
const ES_MODULES = ['--experimental-vm-modules', '--no-warnings']

const cases: Case[] = [
  {
    title: 'Jest, its default',
    spec: ['work.test.cjs', COMMON],
    words: JEST,
    config: jest({ testMatch: ['**/*.test.cjs'] }),
  },
  {
    title: 'Jest, timers faked',
    spec: ['work.test.cjs', COMMON],
    words: JEST,
    config: jest({ testMatch: ['**/*.test.cjs'], fakeTimers: { enableGlobally: true } }),
  },
  {
    title: 'Jest, ES modules',
    spec: ['work.test.mjs', MODERN],
    words: JEST,
    flags: ES_MODULES,
    config: jest({ testMatch: ['**/*.test.mjs'] }),
  },
  {
    title: 'Jest with jsdom',
    spec: ['work.test.cjs', COMMON],
    words: JEST,
    config: jest({ testMatch: ['**/*.test.cjs'], testEnvironment: 'jsdom' }),
  },
  {
    title: 'Jest with jsdom, ES modules',
    spec: ['work.test.mjs', MODERN],
    words: JEST,
    flags: ES_MODULES,
    config: jest({ testMatch: ['**/*.test.mjs'], testEnvironment: 'jsdom' }),
  },
  ...['forks', 'threads', 'vmForks', 'vmThreads'].map((pool) => ({
    title: `Vitest, pool ${pool}`,
    spec: ['work.test.mjs', FROM_VITEST] as const,
    words: VITEST,
    config: vitest({ pool }),
  })),
  ...['jsdom', 'happy-dom'].map((environment) => ({
    title: `Vitest with ${environment}`,
    spec: ['work.test.mjs', BY_PATH] as const,
    words: VITEST,
    config: vitest({ environment }),
  })),
  {
    title: 'Vitest, timers faked',
    spec: ['work.test.mjs', FAKED_BY_VITEST],
    words: VITEST,
    config: vitest({ pool: 'forks' }),
  },
  {
    title: 'Vitest, the package inlined',
    spec: ['work.test.mjs', FROM_VITEST],
    words: VITEST,
    config: vitest({ server: { deps: { inline: ['corelane'] } } }),
  },
  {
    title: 'Mocha, CommonJS',
    spec: ['work.test.cjs', COMMON.replace('test(', 'it(')],
    words: ['mocha/bin/mocha.js', 'work.test.cjs'],
  },
  {
    title: 'Mocha, ES modules',
    spec: ['work.test.mjs', MODERN.replace('test(', 'it(')],
    words: ['mocha/bin/mocha.js', 'work.test.mjs'],
  },
]

function run(title: string, spec: readonly [string, string], words: readonly string[]) {
  const place = join(work, title.replace(/\W+/g, '-'))
  rmSync(place, { recursive: true, force: true })
  mkdirSync(place, { recursive: true })
  cpSync(join(import.meta.dirname, 'specs'), place, { recursive: true })
  writeFileSync(join(place, spec[0]), spec[1])
  return {
    place,
    run: () => {
      const options = { cwd: place, encoding: 'utf8', timeout: RUN_MS } as const
      const { status, stdout, stderr } = spawnSync(process.execPath, words, options)
      expect(status, `${stdout}\n${stderr}`).toBe(0)
      return stdout + stderr
    },
  }
}

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
  test.each(cases)('$title', ({ title, spec, words, flags = [], config }) => {
    const [program, ...rest] = words as [string, ...string[]]
    const runner = [...flags, join(tools, 'node_modules', program), ...rest]
    const { place, run: start } = run(title, spec, runner)
    if (config !== undefined) writeFileSync(join(place, config[0]), config[1])
    const output = start()
    expect(output).toMatch(/1 passed|1 passing/)
    expect(output).not.toMatch(/did not exit|open handle|warning/i)
  })

  test('node:test, with its timers mocked', () => {
    const spec = `import { mock, test } from 'node:test'
      mock.timers.enable()
      ${MODERN}`
    const { run: start } = run('node:test', ['work.test.mjs', spec], ['--test', 'work.test.mjs'])
    expect(start()).toMatch(/pass 1/)
  })

  test('proxyquire replaces the package in what uses it, and loads it where it is not replaced', () => {
    const spec = `
      const proxyquire = require('proxyquire')
      require('node:fs').writeFileSync('uses.cjs', 'module.exports = require("corelane")')
      class Fake {}
      const stubbed = proxyquire('./uses.cjs', { corelane: { QueueManager: Fake } })
      console.log(stubbed.QueueManager === Fake, typeof stubbed.Submitter)
      require('./work.cjs')(proxyquire('./uses.cjs', {}), __dirname + '/handlers.mjs')`
    const { run: start } = run('proxyquire', ['main.cjs', spec], ['main.cjs'])
    expect(start()).toBe('true function\n')
  })
})
