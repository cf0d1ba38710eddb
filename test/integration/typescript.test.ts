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
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  mkdirSync(join(folder, 'node_modules'))
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
    await within(closed, args.join(' '), 60_000)
  } finally {
    child.kill('SIGKILL')
  }
  return text.trim()
}

const appOf = (url: string) => `
  import { QueueManager } from 'corelane'
  const handlers = new URL('${url}', import.meta.url)
  const manager = QueueManager.create({ handlers, partitions: { count: 1 } })
  try {
    await manager.start()
    console.log(await manager.run('greet', { name: 'you' }))
  } catch (error) {
    console.log(error.code, error.message)
  }
  await manager.close()`

const TYPES: Files = {
  'package.json': '{ "type": "module" }',
  'app.mjs': appOf('./handlers.js'),
  'app.ts': `const typed: number = 1\n${appOf('./handlers.js')}\nexport { typed }`,
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
const MORE: Files = {
  ...TYPES,
  'handlers.ts': `
    enum Words { Hello = 'hello' }
    export const greet = ({ name }: { name: string }): string => \`\${Words.Hello} \${name}\``,
}

const TSX = require.resolve('tsx/package.json')

test.each([
  ['node', ['app.mjs']],
  ['node --import tsx', ['--import', 'tsx', 'app.ts']],
  ['tsx', [join(TSX, '../dist/cli.mjs'), 'app.ts']],
])('in a project with tsx, %s finds and loads the source', async (_, args) => {
  expect(await run(projectWithTools(TYPES), ...args)).toBe('hello you')
  expect(await run(projectWithTools(MORE), ...args)).toBe('hello you')
})

test.each(['forks', 'threads'])('vitest in pool "%s" finds and loads the source', async (pool) => {
  const folder = projectWithTools({
    ...MORE,
    'vitest.config.ts': 'export default {}',
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
  expect(await run(folder, vitest, 'run', '--pool', pool, '--no-color')).toContain('1 passed')
})

test('without tsx the source loads where node strips types; else the error says what to do', async () => {
  const said = await run(projectWithout(TYPES), 'app.mjs')
  if (stripsTypes) expect(said).toBe('hello you')
  else {
    expect(said).toContain('CORELANE_HANDLERS_FAILED')
    expect(said).toContain('Unknown file extension ".ts"')
    expect(said).toContain(
      'run it with Node.js 22.18 or newer, install tsx (npm install --save-dev tsx), or give the compiled JavaScript',
    )
  }
})

test('without tsx the error about syntax that is more than types says what to do', async () => {
  const said = await run(projectWithout(MORE), 'app.mjs')
  expect(said).toContain('CORELANE_HANDLERS_FAILED')
  expect(said).toContain('install tsx (npm install --save-dev tsx)')
  expect(said.includes('22.18')).toBe(!stripsTypes)
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

test.each([
  ['./handlers.js', 'handlers.ts', '{}'],
  ['./handlers.js', 'handlers.ts', '{ "type": "module" }'],
  ['./handlers.mjs', 'handlers.mts', '{}'],
  ['./handlers.cjs', 'handlers.cts', '{ "type": "module" }'],
  ['./handlers.js?v=1#a', 'handlers.ts', '{ "type": "module" }'],
])('%s finds %s in a package that is %s', async (url, name, manifest) => {
  const isCommonJs = name.endsWith('.cts')
  const text = isCommonJs
    ? 'exports.greet = ({ name }: { name: string }): string => `hello ${name}`'
    : 'export const greet = ({ name }: { name: string }): string => `hello ${name}`'
  const folder = projectWithTools({ 'package.json': manifest, 'app.mjs': appOf(url), [name]: text })
  expect(await run(folder, 'app.mjs')).toBe('hello you')
})

test('a module that exists is loaded, whatever lies beside it', async () => {
  const folder = projectWithTools({
    ...MORE,
    'handlers.js': `export const greet = () => 'compiled'`,
  })
  expect(await run(folder, 'app.mjs')).toBe('compiled')
})

test('what the source itself throws, and imports that find nothing, are told as they are', async () => {
  const throwing = `const text: string = 'broken on purpose'\nthrow new Error(text)\nexport const greet = 1`
  const broken = projectWithTools({ ...TYPES, 'handlers.ts': throwing })
  expect(await run(broken, 'app.mjs')).toContain('Error: broken on purpose')
  const lost = projectWithTools({ ...TYPES, 'hello.ts': `export * from './nowhere.js'` })
  expect(await run(lost, 'app.mjs')).toMatch(/Cannot find module .*nowhere\.js/)
  const none = projectWithTools({ 'package.json': '{}', 'app.mjs': appOf('./handlers.js') })
  expect(await run(none, 'app.mjs')).toMatch(/Cannot find module .*handlers\.js/)
})
