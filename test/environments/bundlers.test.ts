// Bundlers: every recipe of docs/bundlers.md is followed, and what comes of it runs in a folder
// where there are no packages.

import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { describeWithTools, isLockedVersion } from '../support/locked-packages.ts'
import { ONE_SHOT } from '../support/one-shot.ts'
import { readRecipes } from '../support/recipes.ts'
import { readRows } from '../support/tables.ts'

const root = join(import.meta.dirname, '../..')
const tools = join(import.meta.dirname, 'tools/bundlers')
const work = join(tools, '.work')

const { files, recipes } = readRecipes(readFileSync(join(root, 'docs/bundlers.md'), 'utf8'))
const folder = mkdtempSync(join(tmpdir(), 'corelane-bundled-'))

/** Runs a line of a shell where the tools are found, with more environment. */
function shell(line: string, cwd: string, more = {}): string {
  const PATH = `${join(tools, 'node_modules/.bin')}${delimiter}${process.env.PATH}`
  const env = { ...process.env, PATH, ...more }
  const { status, stdout, stderr } = spawnSync(line, { cwd, env, shell: true, encoding: 'utf8' })
  expect(status, `${line}\n${stdout}\n${stderr}`).toBe(0)
  return stdout + stderr
}

afterAll(() => {
  rmSync(work, { recursive: true, force: true })
  rmSync(folder, { recursive: true, force: true })
})

const runnable = recipes.filter(({ lines }) => lines.length > 0)

const NEXT = 'Next.js'

/** The package of a tool, by the first word of its recipe's title. */
function packageOf(title: string): string {
  const [word] = title.toLowerCase().split(/[,. ]/, 1)
  return word === 'ncc' ? '@vercel/ncc' : word!
}

test('docs/environments.md has the tools that have recipes, with their versions', () => {
  const rows = readRows(readFileSync(join(root, 'docs/environments.md'), 'utf8'), 'Bundlers')
  expect([...rows.keys()]).toEqual([...runnable.map(({ title }) => title), NEXT])
  for (const [title, [version, works]] of rows) {
    const folder = title === NEXT ? join(tools, '../next') : tools
    expect([title, isLockedVersion(folder, packageOf(title), version!), works]).toEqual([
      title,
      true,
      'yes',
    ])
  }
})

describeWithTools(tools, () => {
  test.each(runnable)(
    '$title: a bundle runs without packages, and the tool warns of nothing',
    ({ title, files: own, lines }) => {
      const place = join(work, title.replace(/\W+/g, '-'))
      rmSync(place, { recursive: true, force: true })
      mkdirSync(place, { recursive: true })
      for (const [name, text] of [...files, ...own]) writeFileSync(join(place, name), text)
      writeFileSync(join(place, 'package.json'), '{ "type": "module" }')
      const [last, ...before] = lines.toReversed()
      for (const line of before.toReversed()) {
        expect(shell(line, place, ONE_SHOT)).not.toMatch(/warn/i)
      }
      // The output alone, as it would be deployed.
      const deployed = join(folder, title.replace(/\W+/g, '-'))
      cpSync(join(place, 'dist'), join(deployed, 'dist'), { recursive: true })
      writeFileSync(join(deployed, 'package.json'), '{ "type": "module" }')
      expect(shell(last!, deployed)).toBe('1970-01-01T00:00:00.500Z\n')
    },
  )
})
