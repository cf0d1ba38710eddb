// Tidy: the house rules, applied to the whole tree. Whether each rule can fail at all is tested in
// rules.test.ts and docs.test.ts.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, posix } from 'node:path'
import { expect, test } from 'vitest'
import { ERRORS } from '../../src/base/errors.ts'
import type { OptionRules } from '../../src/base/options.ts'
import { VERSION } from '../../src/base/version.ts'
import { benchCommand } from '../../src/cli/bench.ts'
import { dashboardCommand } from '../../src/cli/dashboard.ts'
import { queueCommand } from '../../src/cli/queue.ts'
import { runCommand } from '../../src/cli/run.ts'
import { topCommand } from '../../src/cli/top.ts'
import { workerCommand } from '../../src/cli/worker.ts'
import * as docs from './docs.ts'
import { prose, unreleased } from './prose.ts'
import * as rules from './rules.ts'

const root = join(import.meta.dirname, '../..')

function exists(path: string): boolean {
  return existsSync(join(root, path))
}

function read(path: string): string {
  return exists(path) ? readFileSync(join(root, path), 'utf8') : ''
}

const LEFT_OUT = new Set(['node_modules', '.work'])

function filesUnder(folder: string): string[] {
  if (!exists(folder)) return []
  return readdirSync(join(root, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const path = posix.join(folder, entry.name)
      if (entry.isDirectory()) return LEFT_OUT.has(entry.name) ? [] : filesUnder(path)
      return entry.isFile() ? [path] : []
    })
    .sort()
}

function load(folder: string): rules.SourceFile[] {
  return filesUnder(folder)
    .filter((path) => /\.[cm]?[jt]s$/.test(path))
    .map((path) => ({ path, text: read(path) }))
}

const sources = load('src')
const tests = load('test')
const lockFiles = ['package-lock.json', ...filesUnder('bench'), ...filesUnder('test')].filter(
  (path) => posix.basename(path) === 'package-lock.json',
)
const manifest: docs.Manifest = JSON.parse(read('package.json'))
const markdown = ['', 'docs', 'src', 'bench'].flatMap((folder) =>
  (folder === '' ? readdirSync(root) : filesUnder(folder)).filter((path) => path.endsWith('.md')),
)

/** The tables of option rules: the exports named `…_RULES` of the rooms that take options. */
async function ruleTables(): Promise<Record<string, OptionRules>> {
  const tables: Record<string, OptionRules> = {}
  for (const { path, text } of sources) {
    if (
      !/^src\/(?:model|coordinator|operations|distributed)\//.test(path) ||
      !/\bexport const \w+_RULES\b/.test(text)
    )
      continue
    const exported: Record<string, unknown> = await import(join(root, path))
    for (const [name, value] of Object.entries(exported)) {
      if (name.endsWith('_RULES')) tables[name] = value as OptionRules
    }
  }
  return tables
}

test('there are sources and tests to look at', () => {
  expect(sources.length).toBeGreaterThan(0)
  expect(tests.length).toBeGreaterThan(0)
})

test('rooms import only the rooms that the import table allows', () => {
  expect(sources.flatMap(rules.importTable)).toEqual([])
})

test('no files import each other in a circle, types included', () => {
  expect(rules.circles(sources)).toEqual([])
})

test('words and modules stay in the rooms that own them', () => {
  expect(sources.flatMap(rules.monopolies)).toEqual([])
})

test('src has no export-all and no enum', () => {
  expect(sources.flatMap(rules.phrases)).toEqual([])
})

test('nothing is left unfinished or switched off', () => {
  expect([...sources, ...tests].flatMap(rules.leftovers)).toEqual([])
})

test('files have telling names', () => {
  expect([...sources, ...tests].flatMap(rules.names)).toEqual([])
})

test('every source file opens with its header', () => {
  expect(sources.flatMap(rules.headers)).toEqual([])
})

test('comments, messages and documents keep to plain sentences', () => {
  // The reference repeats the comments of the sources.
  const written = markdown.filter((path) => !path.startsWith('docs/api/'))
  const documents = written.map((path) => {
    const text = read(path)
    return { path, text: path === 'CHANGELOG.md' ? unreleased(text) : text }
  })
  expect([...sources, ...documents].flatMap(prose)).toEqual([])
})

test('files and comment lines keep to their size', () => {
  expect([...sources, ...tests].flatMap(rules.sizes)).toEqual([])
})

test('every atomic effect is tagged, and every PUBLISH has its OBSERVE', () => {
  expect(rules.atomicTags(sources.filter(({ path }) => path.startsWith('src/memory/')))).toEqual([])
})

test('integration, fault and package tests use the doors only', () => {
  expect(tests.flatMap(rules.testsFromOutside)).toEqual([])
})

test('unit and property tests import the room that they test and lower ones only', () => {
  expect(tests.flatMap(rules.testedRooms)).toEqual([])
})

test('commits that are not on main yet have short subjects with an area', () => {
  const range = ['log', '--no-merges', '--format=%s', 'origin/main..HEAD']
  // Prints nothing where there is no git, no clone or no such branch.
  const { stdout } = spawnSync('git', range, { cwd: root, encoding: 'utf8' })
  expect(rules.subjects(stdout ?? '')).toEqual([])
})

test('docs/errors.md has every error code as it is in the code, and nothing else', () => {
  expect(docs.errorDocs(read('docs/errors.md'), ERRORS)).toEqual([])
})

test('error codes stand in alphabetical order', () => {
  expect(Object.keys(ERRORS)).toEqual(Object.keys(ERRORS).toSorted())
})

test('docs/options.md has every option with its default and what is allowed, and nothing else', async () => {
  expect(docs.optionDocs(read('docs/options.md'), await ruleTables())).toEqual([])
})

test('the flags in docs/cli.md are those of the commands, with their defaults', () => {
  const commands = {
    Options: runCommand.options,
    'Over many machines': workerCommand.options,
    'Look at a queue': queueCommand.options,
    'Look at a process': { ...topCommand.options, ...dashboardCommand.options },
    'Which strategy': benchCommand.options,
  }
  expect(docs.flagDocs(read('docs/cli.md'), commands)).toEqual([])
})

test('exports and bin name files that exist, and every door has an entry', () => {
  expect(
    docs.doors(
      manifest,
      sources.map(({ path }) => path),
      exists,
    ),
  ).toEqual([])
})

test('build holds what src compiles to, and nothing else', () => {
  expect(
    docs.builtFiles(
      sources.map(({ path }) => path),
      filesUnder('build'),
    ),
  ).toEqual([])
})

test('dist holds what package.json names and what that loads, and nothing else', () => {
  const shipped = filesUnder('dist').map((path) => ({ path, text: read(path) }))
  expect(docs.shippedFiles(manifest, shipped)).toEqual([])
})

test('the changelog has an entry for the version of the package', () => {
  expect(docs.changelog(read('CHANGELOG.md'), manifest.version)).toEqual([])
})

test('the code says the version of the package', () => {
  expect(VERSION).toBe(manifest.version)
})

test('the readme names both scripts', () => {
  expect(docs.readme(read('README.md'))).toEqual([])
})

test('links between documents lead somewhere', () => {
  const page = (path: string) => {
    if (!exists(path)) return undefined
    return statSync(join(root, path)).isDirectory() ? '' : read(path)
  }
  expect(markdown.flatMap((path) => docs.links(path, read(path), page))).toEqual([])
})

test('links of the readme work on the page of a registry', () => {
  expect(docs.absoluteLinks(read('README.md'))).toEqual([])
})

test.each(lockFiles)('%s names no registry and lacks no platform', (path) => {
  expect(docs.lockFile(JSON.parse(read(path)), path)).toEqual([])
})
