// TypeScript: handler modules that were not compiled. Goal: one URL, `./handlers.js`, finds the
// source in development and test runners, and the compiled file in what is shipped; where nothing
// can load the source, the error says what to do. Method: projects that node, tsx and vitest run.

import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { within } from '../support/deadline.ts'

const ROOT = join(import.meta.dirname, '../..')
const require = createRequire(import.meta.url)
const stripsTypes = 'typescript' in process.features && process.features.typescript !== false
const folders: string[] = []

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

type Files = Readonly<Record<string, string>>

function project(parent: string, files: Files): string {
  const folder = mkdtempSync(join(parent, 'typescript-'))
  folders.push(folder)
  for (const name of ['node_modules', 'old']) mkdirSync(join(folder, name))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  symlinkSync(ROOT, join(folder, 'node_modules/corelane'), 'junction')
  return folder
}

/** A project that has all that this one has: tsx and vitest. */
const projectWithTools = (files: Files) => project(join(ROOT, '.cache'), files)

/** A project that has corelane only. */
const projectWithout = (files: Files) => project(tmpdir(), files)

async function run(cwd: string, ...args: readonly string[]): Promise<string> {
  // A test runner inside this one must not take itself for a part of it.
  const env = Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST'))
  const child = spawn(process.execPath, args, {
    cwd,
    env: Object.fromEntries(env),
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  const closed = new Promise((resolve) => child.once('close', resolve))
  try {
    await within(closed, args.join(' '), 100_000)
  } finally {
    child.kill('SIGKILL')
  }
  return text.trim()
}

/** Loads modules, one after the other. */
const appOf = (...urls: string[]) => `
  import { QueueManager } from 'corelane'
  for (const url of ${JSON.stringify(urls)}) {
    const handlers = new URL(url, import.meta.url)
    const manager = QueueManager.create({ handlers, partitions: { count: 1 } })
    try {
      await manager.start()
      console.log(await manager.run('greet', { name: 'you' }))
    } catch (error) {
      console.log(error.code, error.message)
    }
    await manager.close()
  }`

const TYPES: Files = {
  'package.json': '{ "type": "module" }',
  'app.mjs': appOf('./handlers.js'),
  'handlers.ts': `
    import { politely } from './words.js'
    import type { Person } from './person'
    export const greet = (person: Person): string => politely(person as { name: string })`,
  'words.ts': `
    import { hello } from './hello'
    export const politely = ({ name }: { name: string }): string => \`\${hello} \${name}\``,
  'hello.ts': `export const hello: string = 'hello'`,
  'person.ts': `export interface Person { readonly name: string }`,
}

/** Syntax that is more than types. */
const ENUM = "enum Words { Hello = 'hello' }"
const MORE: Files = {
  ...TYPES,
  'hello.ts': `${ENUM}\nexport const hello: string = Words.Hello`,
}

const TSX = require.resolve('tsx/package.json')

const GREET = 'export const greet = ({ name }: { name: string }): string => `hello ${name}`'

test.each([
  ['node --import tsx', ['--import', 'tsx', 'app.ts']],
  ['tsx', [join(TSX, '../dist/cli.mjs'), 'app.ts']],
])('in a project with tsx, %s finds and loads the source', async (_, args) => {
  const app = `const typed: number = 1\n${appOf('./handlers.js')}\nexport { typed }`
  const folder = projectWithTools({ ...MORE, 'app.ts': app })
  expect(await run(folder, ...args)).toBe('hello you')
})

test('in a project with tsx, node finds and loads what each URL means', async () => {
  const urls: [url: string, said: string | RegExp][] = [
    ['handlers.js', 'hello you'],
    // URLs of each kind of JavaScript, in packages of both types.
    ['common.cjs', 'hello you'],
    ['old/handlers.js?v=1#a', 'hello you'],
    ['old/modern.mjs', 'hello you'],
    // A module that exists is loaded, whatever lies beside it.
    ['compiled.js', 'compiled'],
    // What the source itself throws, and imports that find nothing, are told as they are.
    ['broken.js', /^CORELANE_[\s\S]*Error: broken on purpose/],
    ['lost.js', /^CORELANE_[\s\S]*Cannot find module .*nowhere\.js/],
    ['none.js', /^CORELANE_[\s\S]*Cannot find module .*none\.js/],
  ]
  const folder = projectWithTools({
    ...MORE,
    'app.mjs': appOf(...urls.map(([url]) => `./${url}`)),
    'common.cts': GREET.replace('export const greet', 'exports.greet'),
    'old/package.json': '{}',
    'old/handlers.ts': GREET,
    'old/modern.mts': GREET,
    'compiled.ts': GREET,
    'compiled.js': `export const greet = () => 'compiled'`,
    'broken.ts': `const text: string = 'broken on purpose'\nthrow new Error(text)\nexport const greet = 1`,
    'lost.ts': `export * from './deeper.js'`,
    'deeper.ts': `export * from './nowhere.js'`,
  })
  const said = (await run(folder, 'app.mjs')).split(/\n(?=CORELANE_|hello |compiled)/)
  expect(said).toEqual(
    urls.map(([, says]) => (typeof says === 'string' ? says : expect.stringMatching(says))),
  )
})

test('vitest finds and loads the source in forks and in threads', async () => {
  const projects = ['forks', 'threads'].map((pool) => ({
    test: { name: pool, pool, testTimeout: 60_000 },
  }))
  const folder = projectWithTools({
    ...MORE,
    'vitest.config.ts': `export default { test: { projects: ${JSON.stringify(projects)} } }`,
    'app.test.ts': `
      import { QueueManager } from 'corelane'
      import { expect, test } from 'vitest'
      test('greets', async () => {
        const handlers = new URL('./handlers.js', import.meta.url)
        const manager = QueueManager.create({ handlers, partitions: { count: 1 } })
        await manager.start()
        expect(await manager.run('greet', { name: 'you' })).toBe('hello you')
        await manager.close()
      })`,
  })
  const vitest = join(require.resolve('vitest/package.json'), '../vitest.mjs')
  expect(await run(folder, vitest, 'run', '--no-color')).toContain('2 passed (2)')
})

test('without tsx the source loads where node strips types, which is not all; else the error says what to do', async () => {
  const app = { 'app.mjs': appOf('./handlers.js', './more.js') }
  const more = { 'more.ts': `${ENUM}\n${GREET}` }
  const folder = projectWithout({ ...TYPES, ...app, ...more })
  const [types, enums] = (await run(folder, 'app.mjs')).split(/\n(?=CORELANE_)/)
  if (stripsTypes) expect(types).toBe('hello you')
  else {
    expect(types).toContain('CORELANE_HANDLERS_FAILED')
    expect(types).toContain('Unknown file extension ".ts"')
    expect(types).toContain(
      'run it with Node.js 22.18 or newer, install tsx (npm install --save-dev tsx), or give the compiled JavaScript',
    )
  }
  expect(enums).toContain('CORELANE_HANDLERS_FAILED')
  expect(enums).toContain('install tsx (npm install --save-dev tsx)')
  expect(enums!.includes('22.18')).toBe(!stripsTypes)
})

test('a hook for `require` loads the source where node does not', async () => {
  const folder = projectWithout({
    ...TYPES,
    'package.json': '{}',
    'hook.cjs': `require(${JSON.stringify(join(TSX, '../dist/cjs/index.cjs'))})`,
  })
  const said = await run(folder, '--require', './hook.cjs', 'app.mjs')
  expect(said).toBe('hello you')
})
