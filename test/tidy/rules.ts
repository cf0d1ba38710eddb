// Rules: what may stand where in src and test. Each rule takes files and returns its complaints as
// `file:line: X is banned here, use Y`. The tables are the rules; the functions only apply them.

import { posix } from 'node:path'
import { range } from '../support/range.ts'
import { lineAt, type Scan, type StringLiteral, scan } from './scan.ts'

/** A file of the project, its path relative to the root. */
export interface SourceFile {
  readonly path: string
  readonly text: string
}

/** Which rooms a room may import besides itself. `coordinator` for cli means types only. */
const IMPORTS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  model: ['base'],
  memory: ['base'],
  wire: ['base', 'model', 'memory'],
  schedule: ['base', 'model'],
  partition: ['base', 'model', 'memory', 'wire', 'schedule'],
  coordinator: ['base', 'model', 'memory', 'wire', 'schedule', 'operations'],
  operations: ['base', 'model'],
  distributed: ['base', 'model', 'wire', 'schedule', 'coordinator'],
  adapters: ['base', 'model', 'wire', 'schedule', 'coordinator'],
  cli: ['base'],
}

/** Parts of a room, and which others each may import; '' are the files that lie in the room. */
const PARTS: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  distributed: {
    contract: [],
    local: ['contract'],
    redis: ['contract'],
    lift: ['contract'],
    '': ['contract'],
    submit: ['', 'contract', 'lift'],
    work: ['', 'contract', 'lift'],
    testing: ['contract', 'submit'],
  },
  coordinator: {
    commands: [],
    results: ['commands'],
    threads: ['commands', 'results'],
    dispatch: ['commands', 'results', 'threads'],
    admission: ['commands', 'results', 'threads', 'dispatch'],
    '': ['commands', 'results', 'threads', 'dispatch', 'admission'],
  },
}

/** Parts whose files lie in the room itself, beside those of ''. */
const PART_FILES: Readonly<Record<string, string>> = Object.fromEntries(
  [
    'command',
    'command-extras',
    'command-timers',
    'cores',
    'lane-table',
    'manager-events',
    'life-cycle',
    'metered-manager',
    'options',
    'queue-metrics',
    'settlement',
    'tally-book',
    'type-table',
  ].map((name) => [`src/coordinator/${name}.ts`, 'commands']),
)

/** Rooms of which only types may be imported, and the front door for those who may use it. */
const TYPE_IMPORTS: Readonly<Record<string, readonly string[]>> = { cli: ['coordinator'] }
const FRONT_DOOR = 'src/index.ts'
const USES_FRONT_DOOR: readonly string[] = ['cli']
/** Doors besides the front door, by who may use them. */
const SIDE_DOORS: Readonly<Record<string, readonly string[]>> = { cli: ['src/redis.ts'] }

interface Monopoly {
  readonly what: string
  readonly pattern: RegExp
  /** Path prefixes where it may stand. */
  readonly allowed: readonly string[]
  readonly use: string
}

const CLOCK = ['src/base/clock.ts']
/** The language's, Node's and the web's. */
const FOREIGN =
  /\binstanceof\s+(?:globalThis|Node\w+|\w*Array|\w*Buffer|\w*(?<!Lane|Usage)Error|Abort(?:Controller|Signal)|Blob|DataView|Date|DOMException|EventTarget|Map|Object|Promise|RegExp|Set|URL)\b/g
const THREADS = [
  'src/partition/',
  'src/coordinator/',
  'src/wire/control.ts',
  'src/wire/control-calls.ts',
  'src/wire/side-payload.ts',
  'src/wire/output.ts',
  'src/handler.ts',
  'src/adapters/',
]
const CONTROL = ['src/wire/control-calls.ts', 'src/partition/', 'src/coordinator/']

const WORDS: readonly Monopoly[] = [
  word('Atomics', /(?<![\w$])Atomics\b/g, ['src/memory/'], 'an end from src/memory'),
  word(
    'SharedArrayBuffer',
    /(?<![\w$])SharedArrayBuffer\b/g,
    ['src/memory/'],
    'a region from src/memory',
  ),
  word('performance.now', /\bperformance\s*\.\s*now\b/g, CLOCK, 'nowMs from src/base/clock.ts'),
  word('Date.now', /\bDate\s*\.\s*now\b/g, CLOCK, 'nowMs from src/base/clock.ts'),
  word(
    'new Date()',
    /\bnew\s+Date\s*(?:\(\s*\)|(?!\s*\())/g,
    CLOCK,
    'nowMs from src/base/clock.ts',
  ),
  word('hrtime', /\bhrtime\b/g, CLOCK, 'nowMs from src/base/clock.ts'),
  ...['setTimeout', 'setInterval', 'setImmediate'].map((name) =>
    word(
      name,
      new RegExp(`(?<![\\w$.])${name}\\b|\\bglobal(?:This)?\\s*\\.\\s*${name}\\b`, 'g'),
      CLOCK,
      `timers.${name} from src/base/clock.ts`,
    ),
  ),
  ...['nextTick', 'queueMicrotask'].map((name) =>
    word(
      name,
      new RegExp(`(?<!(?<!\\w)timers\\s*\\.\\s*)\\b${name}\\b`, 'g'),
      CLOCK,
      `timers.${name} from src/base/clock.ts`,
    ),
  ),
  word(
    'the global performance',
    /\bglobalThis\s*\.\s*performance\b|(?<![\w$.])performance\s*\./g,
    CLOCK,
    'nowMs from src/base/clock.ts',
  ),
  // Test environments put others in the place of Node's classes, and values come from any realm.
  word(
    'instanceof a class that is not ours',
    FOREIGN,
    ['src/cli/'],
    "the brands of node:util's types",
  ),
  word(
    'the global URL',
    /\bnew\s+URL\b|(?<![\w$.])URL\s*\./g,
    ['src/cli/', 'src/coordinator/threads/thread-program.ts'],
    'URL as NodeUrl from node:url',
  ),
  word(
    'a class of the web',
    /\bnew\s+(?:Event|EventTarget|CustomEvent|TextEncoder|TextDecoder|Blob)\b|(?<![\w$.])(?:structuredClone|crypto\s*\.)(?=\s*[(.\w])/g,
    ['src/cli/'],
    'what a module of Node exports',
  ),
  word('Math.random', /\bMath\s*\.\s*random\b/g, [], 'a counter or a seeded generator'),
  word(
    'process.exit',
    /\bprocess\s*\.\s*exit\b/g,
    ['src/cli/', 'src/base/ending.ts', 'src/coordinator/signals.ts'],
    'an error that the caller sees',
  ),
  word('console', /(?<![\w$.])console\b|\bglobalThis\s*\.\s*console\b/g, ['src/cli/'], 'an event'),
  word(
    'process.env',
    /\bprocess\s*\.\s*env\b/g,
    // A module of Jest's style reads its worker's number there.
    ['src/cli/', 'src/coordinator/cores.ts', 'src/partition/file-handlers.ts'],
    'an option',
  ),
]

const MODULES: readonly Monopoly[] = [
  module('node:worker_threads', THREADS, 'partition or coordinator'),
  module('comlink', CONTROL, 'src/wire/control-calls.ts'),
  module('node:timers', CLOCK, 'timers from src/base/clock.ts'),
  module('node:timers/promises', CLOCK, 'timers from src/base/clock.ts'),
  module(
    'node:perf_hooks',
    [...CLOCK, 'src/base/histogram.ts', 'src/adapters/piscina-worker.ts'],
    'nowMs from src/base/clock.ts',
  ),
  module(
    'node:async_hooks',
    ['src/base/async-context.ts', 'src/adapters/piscina-task.ts'],
    'src/base/async-context.ts',
  ),
  module('node:process', [], 'the global process'),
  module('corelane', [], 'a relative path'),
]

const PHRASES: readonly Monopoly[] = [
  word('export *', /\bexport\s*\*/g, [], 'named exports'),
  word('enum', /\benum\s+[A-Za-z_$]/g, [], 'a frozen object and a union of its values'),
]

const TEST_MODIFIER =
  /\b(?:it|test|describe|suite|bench)(?:\s*\.\s*\w+)*?\s*\.\s*(only|skip|todo)\b/g

const VAGUE_NAMES = new Set(['utils', 'util', 'helpers', 'helper', 'common', 'types', 'misc'])
const FILE_LINES_MAX = 600
const COLUMNS_MAX = 100
/** Tests of these folders see the package as its users do. */
const OUTSIDE_TESTS = /^test\/(?:integration|fault|package)\//

function word(what: string, pattern: RegExp, allowed: readonly string[], use: string): Monopoly {
  return { what, pattern, allowed, use }
}

function module(name: string, allowed: readonly string[], use: string): Monopoly {
  const escaped = name.replace(/[/.]/g, '\\$&')
  return { what: name, pattern: new RegExp(`^${escaped}(?:/|$)`), allowed, use }
}

function isAllowed(rule: Monopoly, path: string): boolean {
  return rule.allowed.some((place) => path.startsWith(place))
}

function banned(path: string, line: number, what: string, use: string): string {
  return `${path}:${line}: ${what} is banned here, use ${use}`
}

/** The room of a path in src; `door` for a file that lies in src itself. */
function roomOf(path: string): string {
  const parts = path.split('/')
  return parts.length === 2 ? 'door' : (parts[1] as string)
}

interface Import {
  readonly from: StringLiteral
  readonly isType: boolean
}

function importsOf({ code, strings }: Scan): Import[] {
  const found: Import[] = []
  for (const from of strings) {
    const before = code.slice(0, from.start).trimEnd()
    if (/\b(?:import|require)\s*\($/.test(before)) {
      found.push({ from, isType: /\btypeof\s+import\s*\($/.test(before) })
    } else if (/(?:\bfrom|\bimport)$/.test(before)) {
      const clause = before.slice(
        Math.max(before.lastIndexOf('import'), before.lastIndexOf('export')),
      )
      found.push({ from, isType: /^\w+\s+type\b(?!\s*(?:,|from\b))/.test(clause) })
    }
  }
  return found
}

/** The part of its room in which a file lies; '' if in none. */
function partOf(path: string): string {
  const parts = path.split('/')
  return parts.length > 3 ? (parts[2] as string) : (PART_FILES[path] ?? '')
}

/** Whether parts of one room may be imported by each other. */
function isPartAllowed(path: string, target: string): boolean {
  const parts = PARTS[roomOf(path)]
  const part = partOf(path)
  return parts === undefined || part === partOf(target) || !!parts[part]?.includes(partOf(target))
}

function mayImport(path: string, target: string, isType: boolean): boolean {
  const room = roomOf(path)
  const targetRoom = roomOf(target)
  if (room === 'door') return true
  if (room === targetRoom) return isPartAllowed(path, target)
  if (targetRoom === 'door') {
    const isFront = target === FRONT_DOOR && USES_FRONT_DOOR.includes(room)
    return isFront || SIDE_DOORS[room]?.includes(target) === true
  }
  if (IMPORTS[room]?.includes(targetRoom)) return true
  return isType && TYPE_IMPORTS[room]?.includes(targetRoom) === true
}

function importedWhere(path: string): string {
  const room = roomOf(path)
  const rooms = [...(IMPORTS[room] ?? [])]
  if (USES_FRONT_DOOR.includes(room)) rooms.unshift(FRONT_DOOR)
  for (const name of TYPE_IMPORTS[room] ?? []) rooms.push(`types of ${name}`)
  return rooms.length === 0 ? 'nothing of ours' : rooms.join(', ')
}

/** The import table: who may import which room. */
export function importTable({ path, text }: SourceFile): string[] {
  const room = roomOf(path)
  if (room !== 'door' && IMPORTS[room] === undefined) {
    return [`${path}:1: the room ${room} is not in the import table of test/tidy/rules.ts`]
  }
  const problems: string[] = []
  for (const { from, isType } of importsOf(scan(text))) {
    if (!from.value.startsWith('.')) continue
    const target = posix.join(posix.dirname(path), from.value)
    if (!target.startsWith('src/')) {
      problems.push(banned(path, from.line, `importing ${target}`, 'files of src'))
    } else if (!mayImport(path, target, isType)) {
      const isOwn = roomOf(target) === room
      const use = isOwn ? `what PARTS allows ${partOf(path) || room}` : importedWhere(path)
      problems.push(banned(path, from.line, `importing ${target}`, use))
    }
  }
  return problems
}

/** Circles of files that import each other, type imports included: its strongly connected parts. */
export function circles(files: readonly SourceFile[]): string[] {
  const imports = new Map<string, string[]>()
  for (const { path, text } of files) {
    const targets = importsOf(scan(text)).filter(({ from }) => from.value.startsWith('.'))
    imports.set(
      path,
      targets.map(({ from }) => posix.join(posix.dirname(path), from.value)),
    )
  }
  // Tarjan: a file closes a circle with all above it on the stack if it reaches none older.
  const order = new Map<string, number>()
  const stack: string[] = []
  const found: string[] = []
  const visit = (path: string): number => {
    const own = order.size
    let lowest = own
    order.set(path, own)
    stack.push(path)
    for (const target of imports.get(path)!) {
      if (!imports.has(target)) continue
      const isNew = !order.has(target)
      if (isNew || stack.includes(target)) {
        lowest = Math.min(lowest, isNew ? visit(target) : order.get(target)!)
      }
    }
    if (lowest < own) return lowest
    const circle = stack.splice(stack.indexOf(path))
    if (circle.length > 1) found.push(`${path}:1: a circle of imports: ${circle.join(', ')}`)
    return Number.POSITIVE_INFINITY
  }
  for (const path of imports.keys()) if (!order.has(path)) visit(path)
  return found
}

/** Integration, fault and package tests see the package from outside. */
export function testsFromOutside({ path, text }: SourceFile): string[] {
  if (!OUTSIDE_TESTS.test(path)) return []
  return importsOf(scan(text))
    .filter(({ from }) => /^\.[./]*\/src\//.test(from.value))
    .map(({ from }) => banned(path, from.line, `importing ${from.value}`, "a door of 'corelane'"))
}

/** Rooms that play the other end in the tests of a room; their programs never import each other. */
const TEST_PEERS: Readonly<Record<string, readonly string[]>> = { coordinator: ['partition'] }

/** Whether tests of a room may import a file. */
function mayTest(room: string, target: string): boolean {
  if (target.startsWith('test/unit/')) return target.startsWith(`test/unit/${room}/`)
  if (!target.startsWith('src/')) return true
  const other = roomOf(target)
  if (other === 'door') return USES_FRONT_DOOR.includes(room)
  const lower = [room, ...(IMPORTS[room] ?? []), ...(TEST_PEERS[room] ?? [])]
  return lower.includes(other)
}

/**
 * Unit tests import the room that their folder names, and rooms that it may import. All that one
 * property imports is within the reach of one room in the same way.
 */
export function testedRooms({ path, text }: SourceFile): string[] {
  const [, folder, named] = path.split('/')
  if (folder !== 'unit' && folder !== 'property') return []
  const imports = importsOf(scan(text))
    .filter(({ from }) => from.value.startsWith('.'))
    .map(({ from }) => ({ from, target: posix.join(posix.dirname(path), from.value) }))
  const misplaced = (room: string) => imports.filter(({ target }) => !mayTest(room, target))
  const choices = folder === 'unit' ? [misplaced(named!)] : Object.keys(IMPORTS).map(misplaced)
  const fewest = choices.reduce((a, b) => (b.length < a.length ? b : a))
  return fewest.map(({ from, target }) =>
    banned(path, from.line, `importing ${target}`, 'the room that it tests and lower ones'),
  )
}

function findWords(file: SourceFile, code: string, rules: readonly Monopoly[]): string[] {
  const problems: string[] = []
  for (const rule of rules) {
    if (isAllowed(rule, file.path)) continue
    for (const match of code.matchAll(rule.pattern)) {
      problems.push(banned(file.path, lineAt(code, match.index), rule.what, rule.use))
    }
  }
  return problems
}

/** Words and modules that belong to a few places only. */
export function monopolies(file: SourceFile): string[] {
  const parts = scan(file.text)
  const problems = findWords(file, parts.code, WORDS)
  for (const { from } of importsOf(parts)) {
    for (const rule of MODULES) {
      if (rule.pattern.test(from.value) && !isAllowed(rule, file.path)) {
        problems.push(banned(file.path, from.line, rule.what, rule.use))
      }
    }
  }
  return problems
}

/** What is banned everywhere in src. */
export function phrases(file: SourceFile): string[] {
  return findWords(file, scan(file.text).code, PHRASES)
}

/** Unfinished work, in src and in tests. */
export function leftovers({ path, text }: SourceFile): string[] {
  const { code, comments } = scan(text)
  const problems: string[] = []
  for (const comment of comments) {
    const mark = /\b(?:FIXME|TODO|XXX)\b/.exec(comment.text)
    if (mark) problems.push(banned(path, comment.line, mark[0], 'an issue, or do it now'))
  }
  for (const match of code.matchAll(TEST_MODIFIER)) {
    problems.push(banned(path, lineAt(code, match.index), `.${match[1]}`, 'a test that runs'))
  }
  return problems
}

/** Names that say nothing, and folder barrels. */
export function names({ path }: SourceFile): string[] {
  const name = posix.basename(path).replace(/\..*$/, '')
  if (VAGUE_NAMES.has(name))
    return [banned(path, 1, `the name ${name}`, 'the noun the file is about')]
  if (/^src\/.+\/index\.\w+$/.test(path)) {
    return [banned(path, 1, 'an index file of a room', 'the file that has the thing')]
  }
  return []
}

/** Every file of src opens with a header; it says its thread where that is not its room's. */
export function headers({ path, text }: SourceFile): string[] {
  const [first, second] = text.split('\n')
  const opening = first?.startsWith('#!') ? second : first
  if (/^\/\/ \S/.test(opening ?? '')) return []
  return [
    `${path}:1: a file opens with a header: one sentence for its job, and what it must not do`,
  ]
}

/** Length of files and of comment lines; biome sees to functions and to code. */
export function sizes({ path, text }: SourceFile): string[] {
  const problems: string[] = []
  const lines = text.trimEnd().split('\n')
  if (lines.length > FILE_LINES_MAX) {
    problems.push(banned(path, lines.length, `a file of ${lines.length} lines`, 'two files'))
  }
  for (const { line, text: comment } of scan(text).comments) {
    const columns = [...(lines[line - 1] ?? '')].length
    if (columns > COLUMNS_MAX && !comment.includes('://')) {
      problems.push(banned(path, line, `a comment to column ${columns}`, `${COLUMNS_MAX} at most`))
    }
  }
  return problems
}

const ATOMIC_EFFECT =
  /\bAtomics\s*\.\s*(?:store|add|sub|and|or|xor|exchange|compareExchange|notify)\b/g
const TAG = /\b(PUBLISH|OBSERVE)\(([a-z0-9-]+)\)/g
const TAG_REACH_LINES = 3

/** In src/memory every atomic effect says what it publishes or observes, and tags come in pairs. */
export function atomicTags(files: readonly SourceFile[]): string[] {
  const problems: string[] = []
  const seen = new Map<string, Map<string, string>>()
  for (const { path, text } of files) {
    const { code, comments } = scan(text)
    const tagLines = new Set<number>()
    for (const comment of comments) {
      for (const [, kind, tag] of comment.text.matchAll(TAG) as Iterable<
        [string, string, string]
      >) {
        tagLines.add(comment.line)
        const kinds = seen.get(tag) ?? new Map<string, string>()
        seen.set(tag, kinds.set(kind, `${path}:${comment.line}`))
      }
    }
    for (const match of code.matchAll(ATOMIC_EFFECT)) {
      const line = lineAt(code, match.index)
      const reach = range(TAG_REACH_LINES + 1).map((above) => line - above)
      if (!reach.some((near) => tagLines.has(near))) {
        problems.push(
          banned(
            path,
            line,
            `${match[0]} without a tag`,
            '// PUBLISH(tag): … or // OBSERVE(tag): …',
          ),
        )
      }
    }
  }
  for (const [tag, kinds] of seen) {
    for (const kind of ['PUBLISH', 'OBSERVE']) {
      const other = [...kinds.values()][0]
      if (!kinds.has(kind))
        problems.push(`${other}: the tag ${tag} has no ${kind}(${tag}) anywhere`)
    }
  }
  return problems
}

const SUBJECT_COLUMNS_MAX = 72

/** Subjects of commits name the area that they change, and are short. */
export function subjects(log: string): string[] {
  return log
    .split('\n')
    .filter((subject) => subject !== '')
    .flatMap((subject) => {
      const columns = [...subject].length
      if (columns > SUBJECT_COLUMNS_MAX) {
        return [`"${subject}" has ${columns} columns, use ${SUBJECT_COLUMNS_MAX} at most`]
      }
      return /^[a-z][\w ,/.-]*: \S/.test(subject) ? [] : [`"${subject}" lacks its area and a colon`]
    })
}
