// Rules: each rule is given a made-up file that breaks it and one that does not, so that no rule is
// empty. The words inside strings here are never seen by the rules themselves.

import { describe, expect, test } from 'vitest'
import { prose, unreleased } from './prose.ts'
import * as rules from './rules.ts'
import { scan } from './scan.ts'

const CARD = '// Thing: does it.\n// Owns: a thing.\n'

function file(path: string, text: string): rules.SourceFile {
  return { path, text }
}

describe('the scanner', () => {
  test('blanks comments, strings and regexes and keeps offsets', () => {
    const text = `a('x // no') // Atomics\nb(/[/'"]/g, "it's") /* c\n Atomics */ d`
    const { code, comments } = scan(text)
    expect(code).toBe(`a('       ')           \nb(/     /g, "    ")     \n            d`)
    expect(comments.map(({ line, text: comment }) => [line, comment])).toEqual([
      [1, '// Atomics'],
      [2, '/* c'],
      [3, ' Atomics */'],
    ])
  })

  test('keeps the code inside templates, however deep', () => {
    const { code } = scan('x(`a ${f({ b: `c ${Atomics} }` })} Date.now ${d}`, e)')
    expect(code).toBe('x(`    f({ b: `    Atomics   ` })             d `, e)')
  })

  test('tells a division from a regex', () => {
    const { code } = scan("a = b / c / 'd'\ni++ / 2 / 'e'\nreturn /'/.test(f) && x[0] / '/'")
    expect(code).toBe("a = b / c / ' '\ni++ / 2 / ' '\nreturn / /.test(f) && x[0] / ' '")
  })

  test('minds backslashes', () => {
    expect(scan(String.raw`a('\'b', '\\') + c`).code).toBe("a('   ', '  ') + c")
  })

  test('survives literals that do not end', () => {
    for (const text of ["a('b", 'a(`b', 'a(`b ${c', 'a /* b', 'a(/b', "a('\\"]) {
      expect(scan(text).code.length).toBeGreaterThanOrEqual(text.length)
    }
  })
})

describe('the import table', () => {
  test('names the line, the file and what may be imported', () => {
    expect(
      rules.importTable(file('src/schedule/a.ts', `${CARD}import { b } from '../memory/b.ts'\n`)),
    ).toEqual(['src/schedule/a.ts:3: importing src/memory/b.ts is banned here, use base, model'])
  })

  test.each([
    ['src/base/a.ts', "import '../model/b.ts'", 'nothing of ours'],
    ['src/model/a.ts', "import type { b } from '../memory/b.ts'", 'base'],
    ['src/partition/a.ts', "import { b } from '../coordinator/b.ts'", 'base, model'],
    ['src/coordinator/a.ts', "export { b } from '../partition/b.ts'", 'base, model'],
    ['src/coordinator/a.ts', "import { b } from '../index.ts'", 'base, model'],
    ['src/coordinator/a.ts', "const b = await import('../cli/b.ts')", 'base, model'],
    ['src/schedule/a.ts', "type B = typeof import('../wire/b.ts')", 'base, model'],
    ['src/cli/a.ts', "import { b } from '../coordinator/b.ts'", 'types of coordinator'],
    ['src/coordinator/threads/a.ts', "import type { B } from '../dispatch/b.ts'", 'PARTS'],
    ['src/coordinator/command.ts', "import type { B } from './threads/b.ts'", 'PARTS'],
    ['src/coordinator/a.ts', "import { b } from './attic/b.ts'", 'PARTS'],
    ['src/cli/a.ts', "import { type B } from '../coordinator/b.ts'", 'types of coordinator'],
    ['src/cli/a.ts', "import { b } from '../handler.ts'", 'src/index.ts'],
    ['src/cli/a.ts', "import { b } from '../../test/b.ts'", 'files of src'],
    ['src/base/a.ts', "import {\n  b,\n} from '../wire/b.ts'", 'nothing of ours'],
    ['src/distributed/contract/a.ts', "import { b } from '../local/b.ts'", 'what PARTS allows'],
    ['src/distributed/work/a.ts', "import { b } from '../submit/b.ts'", 'what PARTS allows'],
    ['src/distributed/redis/scripts/a.ts', "import { b } from '../../b.ts'", 'what PARTS allows'],
  ])('in %s refuses %s', (path, text, use) => {
    expect(rules.importTable(file(path, text))).toEqual([
      expect.stringMatching(new RegExp(`^${path}:\\d+: importing .* is banned here, use .*${use}`)),
    ])
  })

  test.each([
    ['src/partition/a.ts', "import { b } from '../memory/b.ts'"],
    ['src/coordinator/a.ts', "import { b } from '../schedule/b.ts'"],
    ['src/coordinator/a.ts', "import { b } from './threads/b.ts'"],
    ['src/coordinator/threads/a.ts', "import { b } from '../command.ts'"],
    ['src/coordinator/a.ts', "new URL('../partition/main.js', import.meta.url)"],
    ['src/cli/a.ts', "import type { B } from '../coordinator/b.ts'"],
    ['src/distributed/redis/scripts/a.ts', "import { b } from '../../contract/b.ts'"],
    ['src/distributed/work/a.ts', "import { b } from '../b.ts'"],
    ['src/cli/a.ts', "import { b } from '../index.ts'"],
    ['src/index.ts', "export { b } from './coordinator/b.ts'"],
    ['src/base/a.ts', "const b = Array.from('../wire/b.ts') // from '../wire/b.ts'"],
  ])('in %s allows %s', (path, text) => {
    expect(rules.importTable(file(path, text))).toEqual([])
  })

  test('refuses a room it does not know', () => {
    expect(rules.importTable(file('src/attic/a.ts', CARD))).toHaveLength(1)
  })
})

describe('circles of imports', () => {
  const [a, b, c] = ['a', 'b', 'c'].map((name) => `src/base/${name}.ts`) as [string, string, string]

  test('names the files of a circle, also one of types', () => {
    const files = [
      file(a, "import { b } from './b.ts'"),
      file(b, "export type { C } from './c.ts'"),
      file(c, "import type { A } from './a.ts'"),
    ]
    expect(rules.circles(files)).toEqual([`${a}:1: a circle of imports: ${a}, ${b}, ${c}`])
  })

  test('takes two ways to one file for no circle', () => {
    const files = [
      file(a, "import { b } from './b.ts'\nimport { c } from './c.ts'"),
      file(b, "import { c } from './c.ts'"),
      file(c, ''),
    ]
    expect(rules.circles(files)).toEqual([])
  })
})

describe('word monopolies', () => {
  test('names the line, the word and the replacement', () => {
    expect(rules.monopolies(file('src/wire/a.ts', `${CARD}\nconst t = Date.now()\n`))).toEqual([
      'src/wire/a.ts:4: Date.now is banned here, use nowMs from src/base/clock.ts',
    ])
  })

  test.each([
    ['Atomics.load(a, 0)', 'src/memory/a.ts'],
    ['type A = SharedArrayBuffer', 'src/memory/a.ts'],
    ['performance.now()', 'src/base/clock.ts'],
    ['Date.now()', 'src/base/clock.ts'],
    ['new Date()', 'src/base/clock.ts'],
    ['process.hrtime.bigint()', 'src/base/clock.ts'],
    ['setTimeout(f, 1)', 'src/base/clock.ts'],
    ['globalThis.setTimeout(f, 1)', 'src/base/clock.ts'],
    ['setInterval(f, 1)', 'src/base/clock.ts'],
    ['setImmediate(f)', 'src/base/clock.ts'],
    ["import { setTimeout as wait } from 'node:timers/promises'", 'src/base/clock.ts'],
    ["import { performance } from 'node:perf_hooks'", 'src/base/clock.ts'],
    ['process.nextTick(f)', 'src/base/clock.ts'],
    ['queueMicrotask(f)', 'src/base/clock.ts'],
    ['globalThis.performance', 'src/base/clock.ts'],
    ['x instanceof Error', 'src/cli/a.ts'],
    ['x instanceof Uint8Array', 'src/cli/a.ts'],
    ['x instanceof AbortSignal', 'src/cli/a.ts'],
    ['new URL(x)', 'src/cli/a.ts'],
    ['URL.canParse(x)', 'src/cli/a.ts'],
    ['crypto.randomUUID()', 'src/cli/a.ts'],
    ['new TextEncoder()', 'src/cli/a.ts'],
    ['process.exit(1)', 'src/cli/a.ts'],
    ['console.log(1)', 'src/cli/a.ts'],
    ['globalThis.console.log(1)', 'src/cli/a.ts'],
    ['process.env.HOME', 'src/coordinator/cores.ts'],
    ["import { Worker } from 'node:worker_threads'", 'src/partition/a.ts'],
    ["import { isMainThread } from 'node:worker_threads'", 'src/handler.ts'],
    ["import { wrap } from 'comlink'", 'src/wire/control-calls.ts'],
    ["import type { Remote } from 'comlink'", 'src/coordinator/a.ts'],
  ])('%s may stand in its own place only', (text, home) => {
    expect(rules.monopolies(file('src/schedule/a.ts', text))).not.toEqual([])
    expect(rules.monopolies(file(home, text))).toEqual([])
  })

  test.each([
    'Math.random()',
    "import { env } from 'node:process'",
    "import { run } from 'corelane'",
  ])('%s may stand nowhere', (text) => {
    for (const path of ['src/base/clock.ts', 'src/memory/a.ts', 'src/cli/a.ts', 'src/index.ts']) {
      expect(rules.monopolies(file(path, text))).not.toEqual([])
    }
  })

  test.each([
    '// Atomics are not used here',
    "throw new Error('call setTimeout')",
    '/SharedArrayBuffer/.test(name)',
    'timers.setTimeout(f, 1)',
    'types.isSharedArrayBuffer(value)',
    'new Date(epochMs)',
    'process.exitCode = 1',
    'log.console',
  ])('%s is no use of the word', (text) => {
    expect(rules.monopolies(file('src/schedule/a.ts', text))).toEqual([])
  })
})

describe('the smaller rules', () => {
  test('phrases: no export-all, no enum', () => {
    const text = "export * from './b.ts'\nconst enum A {}\nconst b = 'export * enum x'\n"
    expect(rules.phrases(file('src/base/a.ts', text))).toEqual([
      'src/base/a.ts:1: export * is banned here, use named exports',
      'src/base/a.ts:2: enum is banned here, use a frozen object and a union of its values',
    ])
  })

  test('leftovers: no unfinished work, no test switched off or alone', () => {
    const text = [
      '// FIXME later',
      '/*\n TODO */',
      "test.only('a', f)",
      "describe.concurrent.skip('b', f)",
      "const c = 'TODO'",
      'stream.skip(1)',
    ].join('\n')
    expect(rules.leftovers(file('test/unit/a.test.ts', text))).toEqual([
      'test/unit/a.test.ts:1: FIXME is banned here, use an issue, or do it now',
      'test/unit/a.test.ts:3: TODO is banned here, use an issue, or do it now',
      'test/unit/a.test.ts:4: .only is banned here, use a test that runs',
      'test/unit/a.test.ts:5: .skip is banned here, use a test that runs',
    ])
  })

  test('names: nothing vague, no index file in a room', () => {
    for (const path of ['src/base/utils.ts', 'test/unit/helpers.ts', 'src/wire/types.d.ts']) {
      expect(rules.names(file(path, ''))).toHaveLength(1)
    }
    expect(rules.names(file('src/wire/index.ts', ''))).toHaveLength(1)
    for (const path of ['src/index.ts', 'src/base/clock.ts', 'test/types/base.types.ts']) {
      expect(rules.names(file(path, ''))).toEqual([])
    }
  })

  test('headers: a first line that says the job', () => {
    expect(rules.headers(file('src/base/a.ts', 'const a = 1\n'))).toHaveLength(1)
    expect(rules.headers(file('src/base/a.ts', '\n// A: b.\n'))).toHaveLength(1)
    expect(rules.headers(file('src/base/a.ts', CARD))).toEqual([])
    expect(rules.headers(file('src/cli/main.ts', `#!/usr/bin/env node\n${CARD}`))).toEqual([])
  })

  test('sizes: 600 lines, comments to column 100', () => {
    expect(rules.sizes(file('src/base/a.ts', 'a\n'.repeat(601)))).toEqual([
      'src/base/a.ts:601: a file of 601 lines is banned here, use two files',
    ])
    expect(rules.sizes(file('src/base/a.ts', 'a\n'.repeat(600)))).toEqual([])
    expect(rules.sizes(file('src/base/a.ts', `// ${'a'.repeat(98)}\n`))).toHaveLength(1)
    expect(rules.sizes(file('src/base/a.ts', `// ${'é'.repeat(97)}\n`))).toEqual([])
    expect(rules.sizes(file('src/base/a.ts', `f('${'a'.repeat(120)}')\n`))).toEqual([])
  })

  test('tests from outside: no file of src', () => {
    const text = "import { a } from '../../src/base/a.ts'\nimport { b } from 'corelane'\n"
    expect(rules.testsFromOutside(file('test/fault/a.test.ts', text))).toEqual([
      "test/fault/a.test.ts:1: importing ../../src/base/a.ts is banned here, use a door of 'corelane'",
    ])
    expect(rules.testsFromOutside(file('test/unit/a.test.ts', text))).toEqual([])
  })

  test('tested rooms: no room above, and no support of another', () => {
    const importing = (...targets: string[]): string =>
      targets.map((target) => `import { a } from '../../../${target}'\n`).join('')
    const unit = (...targets: string[]) =>
      rules.testedRooms(file('test/unit/wire/a.test.ts', importing(...targets)))
    expect(unit('src/wire/a.ts', 'src/memory/a.ts', 'test/support/a.ts')).toEqual([])
    expect(unit('src/schedule/a.ts', 'test/unit/memory/support/a.ts')).toHaveLength(2)
    expect(unit('src/index.ts')).toHaveLength(1)
    const property = (...targets: string[]) =>
      rules.testedRooms(
        file('test/property/a.test.ts', importing(...targets).replaceAll('../../../', '../../')),
      )
    expect(property('src/wire/a.ts', 'src/memory/a.ts')).toEqual([])
    expect(property('src/wire/a.ts', 'src/schedule/a.ts', 'src/partition/a.ts')).toEqual([])
    expect(property('src/operations/a.ts', 'src/schedule/a.ts', 'src/cli/a.ts')).not.toEqual([])
  })
})

describe('atomic tags', () => {
  const PAIR =
    '// PUBLISH(tail): a.\nAtomics.store(w, 0, 1)\n// OBSERVE(tail): b.\nAtomics.load(w, 0)\n'

  test('a tagged pair passes, and so do loads without a tag', () => {
    expect(
      rules.atomicTags([file('src/memory/a.ts', `${PAIR}\n\n\n\nAtomics.load(w, 1)\n`)]),
    ).toEqual([])
  })

  test('a tag reaches three lines down and no further', () => {
    const near = PAIR.replace('a.\n', 'a.\n//\n//\n')
    const far = PAIR.replace('a.\n', 'a.\n//\n//\n//\n')
    expect(rules.atomicTags([file('src/memory/a.ts', near)])).toEqual([])
    expect(rules.atomicTags([file('src/memory/a.ts', far)])).toEqual([
      'src/memory/a.ts:5: Atomics.store without a tag is banned here, use // PUBLISH(tag): … or // OBSERVE(tag): …',
    ])
  })

  test.each(['store', 'add', 'sub', 'exchange', 'compareExchange', 'notify'])(
    'Atomics.%s wants a tag',
    (verb) => {
      expect(rules.atomicTags([file('src/memory/a.ts', `Atomics.${verb}(w, 0, 1)`)])).toHaveLength(
        1,
      )
    },
  )

  test('a tag without its other half is reported, across files', () => {
    const one = file('src/memory/a.ts', '// PUBLISH(tail): a.\n// OBSERVE(head): b.\n')
    const two = file('src/memory/b.ts', '// OBSERVE(tail): c.\n')
    expect(rules.atomicTags([one, two])).toEqual([
      'src/memory/a.ts:2: the tag head has no PUBLISH(head) anywhere',
    ])
  })
})

describe('subjects', () => {
  test('lets short ones with an area pass', () => {
    expect(rules.subjects('docs, testing: begin with blocks\nwire: `move` detaches\n\n')).toEqual(
      [],
    )
  })

  test.each([
    ['no area', 'mend the ring'],
    ['a capital', 'Ring: mend it'],
    ['73 columns', `ring: ${'x'.repeat(67)}`],
  ])('complains about %s', (_what, subject) => {
    expect(rules.subjects(subject)).toHaveLength(1)
  })
})

describe('prose', () => {
  test('names the line, the words and the way out', () => {
    expect(prose(file('src/base/a.ts', `${CARD}\n// It rings nobody.\n`))).toEqual([
      'src/base/a.ts:4: "nobody" is banned here, use the noun: no caller, no thread, no subscription',
    ])
  })

  test.each([
    ['src/base/a.ts', '// Whoever asks first makes it.'],
    ['src/base/a.ts', '/** Told apart. The caller is told. */'],
    ['src/base/a.ts', "const text = 'the sum of what must not happen'"],
    ['src/base/a.ts', '// It ends. What is left runs on.'],
    ['docs/a.md', 'What is left goes on running.'],
    ['docs/a.md', '| a | nobody |'],
  ])('complains in %s about %s', (path, text) => {
    expect(prose(file(path, text))).toHaveLength(1)
  })

  test.each([
    ['src/base/a.ts', 'const nobody = 1 // What does it cost? Little.'],
    ['src/base/a.ts', '/** What a handler takes. */'],
    ['docs/a.md', '# What a command costs\n\n```\nnobody is told\n```\n\n`whoever`'],
  ])('says nothing in %s about %s', (path, text) => {
    expect(prose(file(path, text))).toEqual([])
  })

  test('leaves the history of a changelog alone', () => {
    expect(unreleased('## [Unreleased]\n\nnew\n\n## [0.1.0]\n\nold\n')).toBe(
      '## [Unreleased]\n\nnew\n\n',
    )
  })
})
