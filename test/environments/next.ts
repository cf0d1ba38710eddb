// Next: the recipe of docs/bundlers.md is followed with both of its bundlers, and the server that
// comes of it answers from a folder where there is nothing else.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { describeWithTools } from '../support/locked-packages.ts'
import { readRecipes } from '../support/recipes.ts'

const root = join(import.meta.dirname, '../..')
const tools = join(import.meta.dirname, 'tools/next')
const work = join(tools, '.work')
const BUILD_MS = 300_000
const LAYOUT = `export default ({ children }) => <html><body>{children}</body></html>\n`

const { files, recipes } = readRecipes(readFileSync(join(root, 'docs/bundlers.md'), 'utf8'))
const recipe = recipes.find(({ title }) => title === 'Next.js')!
const folder = mkdtempSync(join(tmpdir(), 'corelane-next-'))
afterAll(() => {
  rmSync(work, { recursive: true, force: true })
  rmSync(folder, { recursive: true, force: true })
})

function write(name: string, text: string): void {
  mkdirSync(dirname(join(work, name)), { recursive: true })
  writeFileSync(join(work, name), text)
}

/** What a server says to one request; it listens on a free port, which it prints. */
async function ask(program: string, path: string): Promise<string> {
  const env = { ...process.env, PORT: '0', HOSTNAME: '127.0.0.1' }
  const server = spawn(process.execPath, [program], { cwd: dirname(program), env })
  try {
    let printed = ''
    for await (const chunk of server.stdout) {
      printed += chunk
      const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(printed) ?? []
      if (url !== undefined && /Ready/.test(printed)) return await (await fetch(url + path)).text()
    }
    throw new Error(`the server ended: ${printed}`)
  } finally {
    server.kill()
    if (server.exitCode === null) await once(server, 'exit')
  }
}

describeWithTools(tools, () => {
  beforeEach(() => {
    rmSync(work, { recursive: true, force: true })
    write('package.json', '{ "type": "module", "private": true }')
    write('app/layout.js', LAYOUT)
    for (const [name, text] of recipe.files) write(name, text)
    for (const [name, text] of files) write(join('workers', name), text)
  })

  test.each(['turbopack', 'webpack'])(
    'a server that %s has built answers',
    async (bundler) => {
      const words = [join(tools, 'node_modules/next/dist/bin/next'), 'build', `--${bundler}`]
      const env = { ...process.env, NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' }
      const options = { cwd: work, env, encoding: 'utf8', timeout: BUILD_MS } as const
      const { status, stdout, stderr } = spawnSync(process.execPath, words, options)
      expect(status, `${stdout}\n${stderr}`).toBe(0)
      const deployed = join(folder, bundler)
      cpSync(join(work, '.next/standalone'), deployed, { recursive: true })
      const paths = readdirSync(deployed, { recursive: true, encoding: 'utf8' })
      const server = paths.find((path) => /^(?!.*node_modules).*\bserver\.js$/.test(path))!
      const answer = JSON.parse(await ask(join(deployed, server), '/api/later'))
      expect(answer.at).toBe('1970-01-01T00:00:00.500Z')
    },
    BUILD_MS,
  )
})
