// Clients: other people's tools do their job on the packages that take the place of piscina and
// jest-worker, and what they make is the same to the byte.

import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { describeWithTools } from '../support/locked-packages.ts'

const root = join(import.meta.dirname, '../..')
const tools = join(import.meta.dirname, 'tools/clients')
const modules = join(tools, 'node_modules')
const specs = join(import.meta.dirname, 'specs')
const work = join(tools, '.work')
const CLIENT_MS = 120_000

/** A copy of a client that finds one of our packages instead of its dependency. */
function overridden(client: string, dependency: string): string {
  const copy = join(work, 'node_modules', client)
  cpSync(join(modules, client), copy, { recursive: true })
  const place = join(copy, 'node_modules', dependency)
  rmSync(place, { recursive: true, force: true })
  cpSync(join(root, 'packages', dependency), place, { recursive: true })
  return copy
}

/** Runs a program that must end by itself. */
function run(program: string, ...words: string[]): string {
  const options = { cwd: work, encoding: 'utf8', timeout: CLIENT_MS } as const
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...words], options)
  expect(status, `${program}\n${stdout}\n${stderr}`).toBe(0)
  return stdout
}

/** What is in a folder, by path. */
function contents(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
  return Object.fromEntries(
    files
      .filter((file) => file.isFile())
      .map((file) => join(file.parentPath, file.name))
      .sort()
      .map((path) => [path.slice(folder.length), readFileSync(path, 'latin1')]),
  )
}

/** A program's copy, where it finds the tools. */
function spec(name: string): string {
  const copy = join(work, name)
  cpSync(join(specs, name), copy)
  return copy
}

afterAll(() => rmSync(work, { recursive: true, force: true }))

describeWithTools(tools, () => {
  rmSync(work, { recursive: true, force: true })
  mkdirSync(join(work, 'src'), { recursive: true })
  for (let i = 0; i < 60; i++) {
    const text = `export const f${i} = async (x?: number): Promise<number> => x ?? ${i}
export class C${i} { #a = ${i}; get a(): number { return this.#a } }\n`
    writeFileSync(join(work, `src/file-${i}.ts`), text)
  }

  test(
    '@swc/cli compiles a tree, and its process ends by itself',
    () => {
      const ours = overridden('@swc/cli', 'piscina')
      const words = ['src', '--workers', '2', '--source-maps', '-d']
      run(join(modules, '@swc/cli/bin/swc.js'), ...words, 'swc-theirs')
      run(join(ours, 'bin/swc.js'), ...words, 'swc-ours')
      const made = contents(join(work, 'swc-ours'))
      expect(Object.keys(made)).toHaveLength(120)
      expect(made).toEqual(contents(join(work, 'swc-theirs')))
    },
    CLIENT_MS,
  )

  test(
    'terser-webpack-plugin minifies on our jest-worker',
    () => {
      const ours = overridden('terser-webpack-plugin', 'jest-worker')
      const program = spec('clients-webpack.cjs')
      const entry = spec('clients-farm.cjs')
      run(program, 'webpack', 'terser-webpack-plugin', entry, join(work, 'webpack-theirs'))
      run(program, 'webpack', ours, entry, join(work, 'webpack-ours'))
      const made = contents(join(work, 'webpack-ours'))
      expect(Object.keys(made)).toHaveLength(4)
      expect(made).toEqual(contents(join(work, 'webpack-theirs')))
    },
    CLIENT_MS,
  )

  test(
    'fastify-piscina answers requests from our pool',
    () => {
      const ours = overridden('fastify-piscina', 'piscina')
      const program = spec('clients-fastify.cjs')
      const handler = spec('clients-add.cjs')
      const answer = run(program, 'fastify', ours, handler)
      expect(JSON.parse(answer)[0]).toHaveLength(5)
      expect(answer).toBe(run(program, 'fastify', 'fastify-piscina', handler))
    },
    CLIENT_MS,
  )

  test(
    'a farm of jest-worker and ours give the same',
    () => {
      cpSync(join(root, 'packages/jest-worker'), join(work, 'node_modules/ours'), {
        recursive: true,
      })
      const program = spec('clients-jest-worker.cjs')
      const farm = spec('clients-farm.cjs')
      const theirs = JSON.parse(run(program, 'jest-worker', farm))
      expect(JSON.parse(run(program, 'ours', farm))).toEqual(theirs)
      expect(theirs.sum).toBe(3)
    },
    CLIENT_MS,
  )
})
