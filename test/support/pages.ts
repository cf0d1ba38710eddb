// Pages: the code of the documentation, and a folder where it runs as its readers run it: the
// package comes from its tarball, other packages are those that the pages name.

import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

/** Has the lock file of the packages that pages use; see `describeWithTools`. */
export const PAGE_TOOLS = join(ROOT, 'test/package/tools/pages')

/** A block of code. */
export interface Block {
  /** Page and line of its first fence. */
  readonly place: string
  /** Empty for pictures made of text. */
  readonly language: string
  /** Name of its file, if it is one. */
  readonly name: string
  readonly code: string
}

/** The pages that have code for readers, as paths from the root. */
export function pagesWithCode(): string[] {
  const docs = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'))
  const all = ['README.md', ...docs.sort().map((name) => `docs/${name}`)]
  return all.filter((page) => blocksOf(page).length > 0)
}

/**
 * The blocks of a page that have a language.
 *
 * @param page - Its path from the root.
 */
export function blocksOf(page: string): Block[] {
  const text = readFileSync(join(ROOT, page), 'utf8')
  return Array.from(text.matchAll(/^```(\w+) ?(\S*)\n([\s\S]*?)^```$/gm), (found) => {
    const line = text.slice(0, found.index).split('\n').length
    const [, language, name, code] = found as unknown as [string, string, string, string]
    return { place: `${page}:${line}`, language, name, code }
  })
}

/** Makes an empty folder that finds the packages. */
export function makeFolder(name: string, tools: string = PAGE_TOOLS): string {
  mkdirSync(join(tools, '.work'), { recursive: true })
  const folder = mkdtempSync(join(tools, '.work', `${name}-`))
  // As `npm init` of npm 11 leaves it.
  writeFileSync(join(folder, 'package.json'), '{ "type": "commonjs" }')
  return folder
}

/**
 * Writes those blocks of a page that are files.
 *
 * @param page - Its path from the root.
 * @param folder - From `makeFolder`.
 * @returns Their names.
 */
export function writeFiles(page: string, folder: string): string[] {
  const files = blocksOf(page).filter(({ name }) => name.includes('.'))
  for (const { name, code } of files) writeFileSync(join(folder, name), code)
  return files.map(({ name }) => name)
}

/** Runs lines of a shell where the bin of the package and those of its tools are found. */
export function runLines(
  lines: string,
  cwd: string,
  env: object = {},
  timeout = 60_000,
): SpawnSyncReturns<string> {
  const bins = [join(PAGE_TOOLS, 'node_modules/.bin'), process.env.PATH].join(delimiter)
  return spawnSync('bash', ['-euo', 'pipefail', '-c', lines], {
    cwd,
    encoding: 'utf8',
    timeout,
    env: { ...process.env, NODE_OPTIONS: '', PATH: bins, ...env },
  })
}
