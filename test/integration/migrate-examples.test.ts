// Examples: the code of docs/migrate.md prints what the page promises, cut out of it as it stands.

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/migrate.md'), 'utf8')
const files = [...page.matchAll(/^```js (\S+)\n([\s\S]*?)^```$/gm)]
mkdirSync(join(root, '.cache'), { recursive: true })
// Inside the project, so that the examples find the package by its name.
const folder = mkdtempSync(join(root, '.cache/migrate-'))
for (const [, name, code] of files) {
  // Node.js 20 knows no `await using`: the manager is closed at the end instead.
  const closing = /^await using manager/m.test(code!) ? 'await manager.close()\n' : ''
  writeFileSync(
    join(folder, name!),
    code!.replace('await using manager', 'const manager') + closing,
  )
}

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const programs = files.map(([, name]) => name!).filter((name) => name !== 'handlers.js')

test('there is an example for each pool', () => {
  const titles = [...page.matchAll(/^## (.*)$/gm)].map(([, title]) => title!.toLowerCase())
  const named = programs.map((name) => /^after-(.*)\.js$/.exec(name)?.[1])
  expect(named).toEqual(expect.arrayContaining(titles))
})

test.each(programs)('%s does what it says, and its process ends', (name) => {
  const options = { encoding: 'utf8', timeout: 20_000 } as const
  const { stdout, stderr, status } = spawnSync(process.execPath, [join(folder, name)], options)
  expect([status, stderr]).toEqual([0, ''])
  expect(stdout).toBe(name === 'after-comlink.js' ? '16\n1,2,3\n' : '16\n')
})
