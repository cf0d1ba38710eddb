// Reference: docs/api is what the types and their documentation generate, and these are complete.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { describeWithTools } from '../support/locked-packages.ts'

const ROOT = join(import.meta.dirname, '../..')
const TOOLS = join(ROOT, 'scripts/reference')
const GENERATE_MS = 180_000

const folder = mkdtempSync(join(tmpdir(), 'corelane-reference-'))

afterAll(() => rmSync(folder, { recursive: true, force: true }))

function pagesIn(place: string): Record<string, string> {
  const names = readdirSync(place).sort()
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(place, name), 'utf8')]))
}

test('every door has a page', () => {
  const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const doors = Object.keys(exports).filter((door) => !/json$|entry$/.test(door))
  const pages = doors.map((door) => `${door === '.' ? 'index' : door.slice(2)}.md`)
  expect(Object.keys(pagesIn(join(ROOT, 'docs/api')))).toEqual([...pages, 'README.md'].sort())
})

describeWithTools(TOOLS, () => {
  test(
    'docs/api is current: if not, run npm run docs:api',
    () => {
      const words = [join(TOOLS, 'generate.mjs'), folder]
      const options = { encoding: 'utf8' } as const
      const { status, stdout, stderr } = spawnSync(process.execPath, words, options)
      expect(status, stdout + stderr).toBe(0)
      expect(pagesIn(folder)).toEqual(pagesIn(join(ROOT, 'docs/api')))
    },
    GENERATE_MS,
  )
})
