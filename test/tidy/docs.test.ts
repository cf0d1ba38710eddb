// Docs: each comparison is given documents that are right and documents that are wrong in one way.

import { expect, test } from 'vitest'
import { integer, oneOf, text } from '../../src/base/options.ts'
import * as docs from './docs.ts'

const ERRORS = {
  X_ONE: { name: 'LaneError', template: 'No {a} | "b"', retryable: true },
  X_TWO: { name: 'ConfigError', template: 'Two', retryable: false },
} as const

const ERROR_DOC = `# Errors

## \`X_ONE\`

- Message: \`No {a} | "b"\`
- Class: \`LaneError\`
- Retryable: yes

It happens. Wait.

## \`X_TWO\`

- Message: \`Two\`
- Class: \`ConfigError\`
- Retryable: no

It happens. Mend it.
`

test('an error document that matches passes', () => {
  expect(docs.errorDocs(ERROR_DOC, ERRORS)).toEqual([])
})

test.each([
  ['a template', 'No {a}', 'No {b}', 'X_ONE lacks the line: - Message: `No {a} | "b"`'],
  ['a class', '`LaneError`', '`ConfigError`', 'X_ONE lacks the line: - Class: `LaneError`'],
  ['a flag', 'Retryable: yes', 'Retryable: no', 'X_ONE lacks the line: - Retryable: yes'],
  ['the sentence', 'It happens. Wait.', '', 'X_ONE does not say in a sentence'],
  ['a code', '`X_ONE`', '`X_NIL`', 'no section for X_ONE'],
])('an error document that differs in %s is reported', (_what, from, to, complaint) => {
  const problems = docs.errorDocs(ERROR_DOC.replace(from, to), ERRORS)
  expect(problems[0]).toContain(complaint)
})

test('an error document with a code too many is reported', () => {
  const { X_ONE } = ERRORS
  expect(docs.errorDocs(ERROR_DOC, { X_ONE })).toEqual([
    'docs/errors.md: X_TWO is not in the table of errors',
  ])
})

const TABLES = {
  RATE_LIMIT_RULES: {
    limit: integer(10, 1, 20),
    mode: oneOf('a', ['a', 'b']),
    name: text(undefined),
    pick: { default: { n: 1 }, allowed: 'x | y', accepts: () => true },
  },
}

const OPTION_DOC = `# Options

## Rate limit options

| option | default | allowed | meaning |
|---|---|---|---|
| \`limit\` | \`10\` | an integer from 1 to 20 | How many. |
| \`mode\` | \`"a"\` | "a", "b" | Which. |
| \`name\` | none | a non-empty string | What it is called. |
| \`pick\` | \`{"n":1}\` | x \\| y | What is picked. |
`

test('an options document that matches passes', () => {
  expect(docs.optionDocs(OPTION_DOC, TABLES)).toEqual([])
})

test.each([
  [
    'a default',
    '`10`',
    '`11`',
    'should say: | `limit` | `10` | an integer from 1 to 20 | How many. |',
  ],
  ['what is allowed', 'x \\| y', 'x', 'should say: | `pick`'],
  ['a meaning', 'Which.', '', 'mode has no meaning'],
  ['an option', '`name`', '`title`', 'lacks the row: | `name` | none | a non-empty string | … |'],
  ['a section', 'Rate limit', 'Rate', 'no section "## Rate limit options" for RATE_LIMIT_RULES'],
])('an options document that differs in %s is reported', (_what, from, to, complaint) => {
  const problems = docs.optionDocs(OPTION_DOC.replace(from, to), TABLES)
  expect(problems[0]).toContain(complaint)
})

test('an options document with an option or a section too many is reported', () => {
  const { limit, mode, name } = TABLES.RATE_LIMIT_RULES
  expect(docs.optionDocs(OPTION_DOC, { RATE_LIMIT_RULES: { limit, mode, name } })).toEqual([
    'docs/options.md: Rate limit options: pick is not an option',
  ])
  expect(docs.optionDocs(OPTION_DOC, {})).toEqual([
    'docs/options.md: "Rate limit options" belongs to no table of rules',
  ])
})

const FLAGS = {
  name: { flag: '--name <queue>', rule: text('default') },
  rounds: { flag: '--rounds <n>', rule: integer(3, 1, 9) },
  quick: { flag: '--quick', rule: { default: false } },
  out: { flag: '--out <file>', rule: text(undefined) },
}

const FLAG_DOC = `# Commands

## One

| option | default | what |
|---|---|---|
| \`--name <queue>\` | \`default\` | Its name. |
| \`--rounds <n>\` | 3 | How many. |
| \`--quick\` | off | Sooner. |
| \`--out <file>\` | standard output | Where. |
`

test.each([
  ['nothing', '', '', []],
  ['a default', '`default`', '`commands`', ['"One" says that --name <queue> is commands']],
  ['a switch', 'off', 'on', ['"One" says that --quick is on, it is off']],
  ['a row', '`--rounds <n>`', '`--rounds <m>`', ['lacks the row of --rounds <n>', 'no option']],
])('a page of flags that differs in %s is judged', (_what, from, to, complaints) => {
  const problems = docs.flagDocs(FLAG_DOC.replace(from, to), { One: FLAGS })
  expect(problems).toEqual(complaints.map((complaint) => expect.stringContaining(complaint)))
})

const MANIFEST = {
  version: '1.0.0',
  bin: { x: './dist/cli/main.js' },
  exports: {
    '.': {
      import: { types: './dist/index.d.ts', default: './dist/index.js' },
      require: { types: './dist/index.d.cts', default: './dist/index.cjs' },
    },
  },
}

test('doors: named files must exist and every door must be named', () => {
  expect(docs.doors(MANIFEST, ['src/index.ts', 'src/base/a.ts'], () => true)).toEqual([])
  expect(docs.doors(MANIFEST, [], (path) => !path.includes('cli'))).toEqual([
    'package.json: dist/cli/main.js does not exist after the build',
  ])
  expect(docs.doors(MANIFEST, ['src/redis.ts'], () => true)).toEqual([
    'package.json: the door src/redis.ts has no entry in exports for both formats',
  ])
})

test('built files: none missing, none left over', () => {
  const compiled = ['build/a/b.js', 'build/a/b.d.ts', 'build/a/b.js.map']
  expect(docs.builtFiles(['src/a/b.ts', 'src/a/c.d.cts'], compiled)).toEqual([])
  const wrong = ['build/a/b.js', 'build/old.d.ts']
  expect(docs.builtFiles(['src/a/b.ts'], wrong)).toEqual([
    'build/a/b.d.ts: missing, run npm run build',
    'build/old.d.ts: has no source, run npm run build',
  ])
})

test('shipped files: what is named and what that loads', () => {
  const shipped = [
    { path: 'dist/cli/main.js', text: "import '../queue.js'" },
    { path: 'dist/queue.js', text: "new URL('./entry.cjs', import.meta.url); './more.js/../../x'" },
    { path: 'dist/entry.cjs', text: '' },
    { path: 'dist/index.js', text: 'import("./queue.js")' },
    { path: 'dist/index.cjs', text: 'require(`./queue.cjs`)' },
    { path: 'dist/queue.cjs', text: '' },
    { path: 'dist/index.d.ts', text: "export * from './index.cjs'" },
    { path: 'dist/index.d.cts', text: "import { A } from './shared.cjs'" },
    { path: 'dist/shared.d.cts', text: '' },
    { path: 'dist/licences.txt', text: '' },
  ]
  expect(docs.shippedFiles(MANIFEST, shipped)).toEqual([])
  const [main, queue, ...others] = shipped
  expect(docs.shippedFiles(MANIFEST, [main!, ...others])).toEqual([
    'dist/queue.js: missing, run npm run build',
    'dist/entry.cjs: nothing loads it',
  ])
  expect(docs.shippedFiles(MANIFEST, [queue!, ...others])).toEqual([
    'dist/cli/main.js: missing, run npm run build',
  ])
})

test('lock file: no registry, no platform missing', () => {
  const a = { optionalDependencies: { b: '1.0.0' } }
  const inner = 'node_modules/x/node_modules/a'
  for (const home of [
    'node_modules/b',
    'node_modules/x/node_modules/b',
    `${inner}/node_modules/b`,
  ]) {
    expect(docs.lockFile({ packages: { [inner]: a, [home]: {} } })).toEqual([])
  }
  expect(docs.lockFile({ packages: { [inner]: a, 'node_modules/y/node_modules/b': {} } })).toEqual([
    `package-lock.json: b of ${inner} is missing`,
  ])
  expect(
    docs.lockFile({ packages: { 'node_modules/b': { resolved: 'https://r/b.tgz' } } }),
  ).toEqual(['package-lock.json: node_modules/b names the registry https://r/b.tgz'])
})

test('changelog, readme and links', () => {
  expect(docs.changelog('## [0.1.0] - 2026-01-01\n', '0.1.0')).toEqual([])
  expect(docs.changelog('## [0.1.0]\n', '0.2.0')).toHaveLength(1)
  expect(docs.readme('run ./scripts/demo and ./scripts/test')).toEqual([])
  expect(docs.readme('run ./scripts/test')).toEqual(['README.md: does not mention ./scripts/demo'])
  const page = '[a](b.md) [c](https://d) [e](#f) `[g](h.md)` [i](../j.md#k) [l](b.md#a-b-1)\n# F'
  const read = (path: string) => (path === 'docs/b.md' ? '# A `b`\n## A, b\n# C' : undefined)
  expect(docs.links('docs/x.md', page, read)).toEqual([
    'docs/x.md: links to ../j.md#k, which does not exist',
  ])
  expect(docs.links('docs/x.md', '[a](b.md#d) [b](#c)', read)).toEqual([
    'docs/x.md: links to b.md#d, a heading that does not exist',
    'docs/x.md: links to #c, a heading that does not exist',
  ])
  const ours = 'https://github.com/corelane/corelane/blob/main/docs/b.md'
  expect(docs.links('README.md', `[a](${ours}#c)`, read)).toEqual([])
  expect(docs.links('README.md', `[a](${ours})`, () => undefined)).toHaveLength(1)
  expect(docs.absoluteLinks(`[a](${ours}) [b](#c)`)).toEqual([])
  expect(docs.absoluteLinks('[a](docs/b.md)')).toEqual([
    `README.md: links to docs/b.md, write ${ours}`,
  ])
})
