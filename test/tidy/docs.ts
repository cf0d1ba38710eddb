// Docs: compares what the documents say with the tables in the code, row by row.
// Each function returns complaints that start with the document's name, and where something is
// missing they hold the text to paste.

import { posix } from 'node:path'
import type { ErrorRow } from '../../src/base/errors.ts'
import type { OptionRules } from '../../src/base/options.ts'
import { range } from '../support/range.ts'

interface Section {
  readonly title: string
  readonly body: string
}

function sectionsOf(markdown: string): Section[] {
  const parts = markdown.split(/^## +(.+)$/m).slice(1)
  return range(parts.length / 2).map((i) => ({
    title: (parts[2 * i] as string).trim(),
    body: parts[2 * i + 1] as string,
  }))
}

function errorFacts(row: ErrorRow): string[] {
  return [
    `- Message: \`${row.template}\``,
    `- Class: \`${row.name}\``,
    `- Retryable: ${row.retryable ? 'yes' : 'no'}`,
  ]
}

/** Compares docs/errors.md with the table of errors. */
export function errorDocs(
  markdown: string,
  errors: Readonly<Record<string, ErrorRow>>,
  path = 'docs/errors.md',
): string[] {
  const problems: string[] = []
  const sections = sectionsOf(markdown).filter(({ title }) => /^`.*`$/.test(title))
  const documented = new Map(sections.map(({ title, body }) => [title.slice(1, -1), body]))
  for (const [code, row] of Object.entries(errors)) {
    const body = documented.get(code)
    if (body === undefined) {
      problems.push(
        `${path}: no section for ${code}:\n\n## \`${code}\`\n\n${errorFacts(row).join('\n')}\n`,
      )
      continue
    }
    const lines = body.split('\n').map((line) => line.trim())
    for (const fact of errorFacts(row)) {
      if (!lines.includes(fact)) problems.push(`${path}: ${code} lacks the line: ${fact}`)
    }
    if (!lines.some((line) => /^[A-Z`]/.test(line))) {
      problems.push(`${path}: ${code} does not say in a sentence when it happens and what to do`)
    }
  }
  for (const code of documented.keys()) {
    if (!Object.hasOwn(errors, code))
      problems.push(`${path}: ${code} is not in the table of errors`)
  }
  if (sections.length !== documented.size) problems.push(`${path}: a code has two sections`)
  return problems
}

/** Title of a table's section: MANAGER_RULES is "Manager options". */
function titleOf(table: string): string {
  const words = table
    .replace(/_RULES$/, '')
    .toLowerCase()
    .replaceAll('_', ' ')
  return `${words[0]?.toUpperCase()}${words.slice(1)} options`
}

/** How a document writes a default. */
function written(value: unknown): string {
  if (value === undefined) return 'none'
  if (typeof value === 'object' && value !== null) return `\`${JSON.stringify(value)}\``
  return `\`${typeof value === 'string' ? JSON.stringify(value) : String(value)}\``
}

function cellsOf(line: string): string[] {
  return line
    .trim()
    .slice(1, -1)
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim())
}

function tableOf(title: string, body: string, rules: OptionRules, path: string): string[] {
  const problems: string[] = []
  const rows = new Map<string, string[]>()
  for (const line of body.split('\n')) {
    const cells = cellsOf(line)
    const name = /^\|/.test(line.trim()) && /^`(.+)`$/.exec(cells[0] ?? '')?.[1]
    if (name) rows.set(name, cells)
  }
  for (const [name, rule] of Object.entries(rules)) {
    const expected = [`\`${name}\``, written(rule.default), rule.allowed.replaceAll('|', '\\|')]
    const cells = rows.get(name)
    if (cells === undefined) {
      problems.push(`${path}: ${title} lacks the row: | ${expected.join(' | ')} | … |`)
    } else if (expected.some((cell, column) => cells[column] !== cell)) {
      problems.push(
        `${path}: ${title} should say: | ${expected.join(' | ')} | ${cells[3] ?? '…'} |`,
      )
    } else if (!cells[3]) {
      problems.push(`${path}: ${title}: ${name} has no meaning`)
    }
  }
  for (const name of rows.keys()) {
    if (!Object.hasOwn(rules, name)) problems.push(`${path}: ${title}: ${name} is not an option`)
  }
  return problems
}

/** Compares docs/options.md with all tables of option rules, by the names of their constants. */
export function optionDocs(
  markdown: string,
  tables: Readonly<Record<string, OptionRules>>,
  path = 'docs/options.md',
): string[] {
  const problems: string[] = []
  const sections = new Map(sectionsOf(markdown).map(({ title, body }) => [title, body]))
  const titles = new Map(Object.keys(tables).map((table) => [titleOf(table), table]))
  for (const [title, table] of titles) {
    const body = sections.get(title)
    if (body === undefined) problems.push(`${path}: no section "## ${title}" for ${table}`)
    problems.push(...tableOf(title, body ?? '', tables[table] as OptionRules, path))
  }
  for (const title of sections.keys()) {
    if (title.endsWith(' options') && !titles.has(title)) {
      problems.push(`${path}: "${title}" belongs to no table of rules`)
    }
  }
  return problems
}

/** What an entry of `exports` leads to, under conditions if there are any. */
export type ExportTarget = string | { readonly [condition: string]: ExportTarget }

/** The parts of package.json that name files. */
export interface Manifest {
  readonly version: string
  readonly bin?: Readonly<Record<string, string>>
  readonly exports?: Readonly<Record<string, ExportTarget>>
}

function filesOf(target: ExportTarget): string[] {
  return typeof target === 'string' ? [target] : Object.values(target).flatMap(filesOf)
}

/** The files that `exports` and `bin` name, as paths from the root. */
function namedFiles({ bin = {}, exports = {} }: Manifest): Set<string> {
  const named = [...Object.values(bin), ...Object.values(exports)].flatMap(filesOf)
  return new Set(named.map((path) => posix.normalize(path)))
}

/** A flag of the command line, as far as its row in a table says it. */
export interface Flag {
  readonly flag: string
  readonly rule: { readonly default?: unknown }
}

/**
 * Compares a page's tables of flags with the options of commands.
 *
 * @param markdown - The page.
 * @param commands - The options of a command by the section that has its table.
 */
export function flagDocs(
  markdown: string,
  commands: Readonly<Record<string, Readonly<Record<string, Flag>>>>,
  path = 'docs/cli.md',
): string[] {
  const problems: string[] = []
  const sections = new Map(sectionsOf(markdown).map(({ title, body }) => [title, body]))
  for (const [title, options] of Object.entries(commands)) {
    const rows = (sections.get(title) ?? '').matchAll(/^\| `(--[^`]+)` \| (.*?) \|/gm)
    const defaults = new Map(Array.from(rows, ([, flag, cell]) => [flag!, cell!]))
    for (const { flag, rule } of Object.values(options)) {
      const cell = defaults.get(flag)?.replaceAll('`', '')
      const value = rule.default === false ? 'off' : String(rule.default)
      if (cell === undefined) problems.push(`${path}: "${title}" lacks the row of ${flag}`)
      else if (rule.default !== undefined && cell !== value) {
        problems.push(`${path}: "${title}" says that ${flag} is ${cell}, it is ${value}`)
      }
      defaults.delete(flag)
    }
    for (const flag of defaults.keys()) problems.push(`${path}: "${title}" has no option ${flag}`)
  }
  return problems
}

/** Every file that `exports` and `bin` name exists, and every door of src has its entry. */
export function doors(
  manifest: Manifest,
  sources: readonly string[],
  exists: (path: string) => boolean,
): string[] {
  const problems: string[] = []
  const named = namedFiles(manifest)
  for (const path of named) {
    if (!exists(path)) problems.push(`package.json: ${path} does not exist after the build`)
  }
  for (const source of sources) {
    const built = /^src\/([^/]+)\.ts$/.exec(source)?.[1]
    if (built && !['js', 'cjs'].every((suffix) => named.has(`dist/${built}.${suffix}`))) {
      problems.push(`package.json: the door ${source} has no entry in exports for both formats`)
    }
  }
  return problems
}

/** build holds exactly what src compiles to. */
export function builtFiles(sources: readonly string[], built: readonly string[]): string[] {
  const problems: string[] = []
  const compiled = sources.filter((path) => /(?<!\.d)\.ts$/.test(path))
  const stems = new Set(compiled.map((path) => path.replace(/^src\/(.*)\.ts$/, '$1')))
  for (const stem of stems) {
    const missing = ['js', 'd.ts'].find((suffix) => !built.includes(`build/${stem}.${suffix}`))
    if (missing) problems.push(`build/${stem}.${missing}: missing, run npm run build`)
  }
  for (const path of built) {
    const stem = path.replace(/^build\//, '').replace(/(?:\.d)?\.(?:ts|js)(?:\.map)?$/, '')
    if (!stems.has(stem)) problems.push(`${path}: has no source, run npm run build`)
  }
  return problems
}

/** A file of dist. */
export interface ShippedFile {
  readonly path: string
  readonly text: string
}

/** The licences of what is copied into dist; no code names it. */
const LICENCES = 'dist/licences.txt'

/** dist holds the files that `exports` and `bin` name, what those name, and nothing else. */
export function shippedFiles(manifest: Manifest, shipped: readonly ShippedFile[]): string[] {
  const texts = new Map(shipped.map(({ path, text }) => [path, text]))
  const reached = new Set([...namedFiles(manifest)].filter((path) => path.startsWith('dist/')))
  const problems: string[] = []
  for (const path of reached) {
    const text = texts.get(path)
    if (text === undefined) problems.push(`${path}: missing, run npm run build`)
    const code = (text ?? '').replace(/\/\*[\s\S]*?\*\//g, '')
    for (const [, name] of code.matchAll(/["'`](\.{1,2}\/[\w./-]+)["'`]/g)) {
      const next = posix.join(posix.dirname(path), name!)
      const types = next.replace(/(c?)js$/, 'd.$1ts')
      if (next.startsWith('dist/')) reached.add(/\.d\.c?ts$/.test(path) ? types : next)
    }
  }
  for (const path of texts.keys()) {
    if (path !== LICENCES && !reached.has(path)) problems.push(`${path}: nothing loads it`)
  }
  return problems
}

/** The parts of package-lock.json that are looked at. */
export interface LockFile {
  readonly packages: Readonly<
    Record<
      string,
      {
        readonly resolved?: string
        readonly optionalDependencies?: Readonly<Record<string, string>>
      }
    >
  >
}

/** Whether node would find a package from the folder of another one. */
function isLocked({ packages }: LockFile, from: string, name: string): boolean {
  const folders = from.split(/(?:^|\/)node_modules\//)
  return folders.some((_, depth) => {
    const parts = [...folders.slice(1, folders.length - depth), name]
    return packages[parts.map((part) => `node_modules/${part}`).join('/')] !== undefined
  })
}

/**
 * The lock file names no registry and holds the packages of every platform: npm leaves out those it
 * cannot reach at the moment, and then refuses the whole file on a clone without node_modules.
 */
export function lockFile(lock: LockFile, path = 'package-lock.json'): string[] {
  const problems: string[] = []
  for (const [where, { resolved, optionalDependencies = {} }] of Object.entries(lock.packages)) {
    if (resolved !== undefined) problems.push(`${path}: ${where} names the registry ${resolved}`)
    for (const name of Object.keys(optionalDependencies)) {
      if (!isLocked(lock, where, name)) problems.push(`${path}: ${name} of ${where} is missing`)
    }
  }
  return problems
}

/** The changelog has an entry for a version. */
export function changelog(markdown: string, version: string): string[] {
  const entry = sectionsOf(markdown).some(({ title }) => title.startsWith(`[${version}]`))
  return entry ? [] : [`CHANGELOG.md: no entry "## [${version}]"`]
}

/** The readme names the two scripts a newcomer runs. */
export function readme(markdown: string): string[] {
  return ['./scripts/demo', './scripts/test']
    .filter((script) => !markdown.includes(script))
    .map((script) => `README.md: does not mention ${script}`)
}

/** Where a file of the project is found by readers who have only the package. */
const REPOSITORY = 'https://github.com/corelane/corelane/blob/main/'

/** What a document links to, but for what stands in code. */
function targets(markdown: string): string[] {
  const prose = markdown.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '')
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target!)
}

/** The anchors of a page, as its host makes them of headings. */
function anchorsOf(markdown: string): Set<string> {
  const anchors = new Set<string>()
  const times = new Map<string, number>()
  for (const [, title] of markdown.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ +(.+)$/gm)) {
    const text = title!.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase()
    const anchor = text.replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')
    const count = times.get(anchor) ?? 0
    times.set(anchor, count + 1)
    anchors.add(count === 0 ? anchor : `${anchor}-${count}`)
  }
  for (const [, id] of markdown.matchAll(/<a id="([^"]+)"><\/a>/g)) anchors.add(id!)
  return anchors
}

/**
 * Links of a document to files of the project, relative ones too, lead to files that exist, and to
 * headings of theirs.
 *
 * @param read - Gives a file, empty for a folder; undefined if there is none.
 */
export function links(
  path: string,
  markdown: string,
  read: (path: string) => string | undefined,
): string[] {
  const problems: string[] = []
  for (const target of targets(markdown)) {
    const isOurs = target.startsWith(REPOSITORY)
    if (!isOurs && /^\w+:/.test(target)) continue
    const [place, anchor] = (isOurs ? target.slice(REPOSITORY.length) : target).split('#')
    const file = isOurs ? place! : place === '' ? path : posix.join(posix.dirname(path), place!)
    const page = file === path ? markdown : read(file)
    if (page === undefined) problems.push(`${path}: links to ${target}, which does not exist`)
    else if (anchor === undefined || !file.endsWith('.md')) continue
    else if (!anchorsOf(page).has(anchor)) {
      problems.push(`${path}: links to ${target}, a heading that does not exist`)
    }
  }
  return problems
}

/** The readme is a registry's page too, where relative links lead nowhere. */
export function absoluteLinks(markdown: string): string[] {
  return targets(markdown)
    .filter((target) => !/^(?:\w+:|#)/.test(target))
    .map((target) => `README.md: links to ${target}, write ${REPOSITORY}${target}`)
}
