// Runtimes: what docs/environments.md says of Bun and Deno, and the same tried with Node.

import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { describeWithTools } from '../support/locked-packages.ts'
import { readRows } from '../support/tables.ts'

const root = join(import.meta.dirname, '../..')
const tools = join(import.meta.dirname, 'tools/runtimes')
const work = join(tools, '.work')
const RUN_MS = 120_000

const page = readFileSync(join(root, 'docs/environments.md'), 'utf8')
const rows = readRows(page, 'Bun and Deno')
const abilities = [...rows.keys()]
/** What would fill the memory of the machine is taken on trust. */
const abilitiesOf = (column: number) =>
  abilities.filter((ability) => rows.get(ability)![column] === 'yes')
const cases = [
  { runtime: 'Node', able: abilities },
  { runtime: 'Bun', able: abilitiesOf(0) },
  { runtime: 'Deno', able: abilitiesOf(1) },
]

/** The words that run a file with a runtime. Both come as a package for each platform. */
function wordsOf(runtime: string): [string, ...string[]] {
  if (runtime === 'Node') return [process.execPath]
  const scope = join(tools, 'node_modules', runtime === 'Bun' ? '@oven' : '@deno')
  const files = readdirSync(scope).flatMap((name) =>
    ['bin/bun', 'bin/bun.exe', 'deno', 'deno.exe'].map((file) => join(scope, name, file)),
  )
  const program = files.find((file) => existsSync(file))!
  return runtime === 'Bun' ? [program] : [program, 'run', '-A']
}

function run(runtime: string, ...words: string[]): string {
  const [program, ...flags] = wordsOf(runtime)
  const { status, stdout, stderr } = spawnSync(program, [...flags, 'abilities.mjs', ...words], {
    cwd: work,
    encoding: 'utf8',
    timeout: RUN_MS,
  })
  expect(status, `${stdout}\n${stderr}`).toBe(0)
  return stdout
}

describeWithTools(tools, () => {
  beforeAll(() => {
    rmSync(work, { recursive: true, force: true })
    cpSync(join(import.meta.dirname, 'specs'), work, { recursive: true })
  })
  afterAll(() => rmSync(work, { recursive: true, force: true, maxRetries: 10 }))

  test('the page has a row for every ability, and says yes or no', () => {
    expect([...rows.keys()]).toEqual(JSON.parse(run('Node')))
    expect([...rows.values()].flat().filter((cell) => !/^(?:yes|no)$/.test(cell))).toEqual([])
  })

  // One process for all of them. That it ends by itself is the last of them.
  test.each(cases)(
    '$runtime is able to do what the page says',
    ({ runtime, able }) => expect(run(runtime, ...able)).toBe(`${able.join('\n')}\n`),
    RUN_MS,
  )
})
