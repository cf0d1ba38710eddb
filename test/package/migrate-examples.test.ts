// Examples: the code of docs/migrate.md prints what the page promises, cut out of it as it stands.

import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { describeWithTools } from '../support/locked-packages.ts'
import { makeFolder, PAGE_TOOLS, writeFiles } from '../support/pages.ts'

const page = readFileSync(join(import.meta.dirname, '../../docs/migrate.md'), 'utf8')
const folder = makeFolder('migrate')
const programs = writeFiles('docs/migrate.md', folder).filter((name) => name !== 'handlers.mjs')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('there is an example for each pool', () => {
  const titles = [...page.matchAll(/^## (.*)$/gm)].map(([, title]) => title!.toLowerCase())
  const named = programs.map((name) => /^after-(.*)\.mjs$/.exec(name)?.[1])
  expect(named).toEqual(expect.arrayContaining(titles))
})

describeWithTools(PAGE_TOOLS, () => {
  test.each(programs)('%s does what it says, and its process ends', (name) => {
    const options = { encoding: 'utf8', timeout: 20_000 } as const
    const { stdout, stderr, status } = spawnSync(process.execPath, [join(folder, name)], options)
    expect([status, stderr]).toEqual([0, ''])
    expect(stdout).toBe(name === 'after-comlink.mjs' ? '16\n1,2,3\n' : '16\n')
  })
})
