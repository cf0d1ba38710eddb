// CLI: the bin as a shell runs it, from its arguments to its exit code.

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { range } from '../support/range.ts'
import { CliSession, fixture, runCli } from './support/cli-process.ts'

const root = join(import.meta.dirname, '../..')
const handlers = fixture('cli-handlers.js')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }

type Input = string | Buffer | readonly object[]

/** Runs commands in the session. */
function run(args: readonly string[], input: Input) {
  return session.run(['run', handlers, ...args], input)
}

const session = new CliSession({})
afterAll(() => void session.child.kill('SIGKILL'))

test('commands become results with their id, value, partition and duration', async () => {
  const { code, results, stderr } = await run(
    ['--partitions', '2'],
    [
      { id: 'a', type: 'echo', payload: { n: [1, 2] } },
      { id: 7, type: 'echo', payload: 'text' },
    ],
  )
  expect(stderr).toBe('')
  expect(code).toBe(0)
  expect(results).toHaveLength(2)
  expect(results.find(({ id }) => id === 'a')).toMatchObject({ ok: true, value: { n: [1, 2] } })
  expect(results.find(({ id }) => id === 7)).toMatchObject({ ok: true, value: 'text' })
  for (const { partition, durationMs } of results) {
    expect([0, 1]).toContain(partition)
    expect(durationMs).toBeGreaterThanOrEqual(0)
  }
})

test('a failed command prints its error with code and cause, and the exit code is 1', async () => {
  const { code, results, stderr } = await run(
    ['--ordered', '--stack'],
    [{ type: 'fail', payload: 'bad' }, { type: 'throwText' }, { type: 'echo', payload: 1 }],
  )
  expect(code).toBe(1)
  expect(stderr).toBe('corelane: 1 done, 2 failed\n')
  expect(results[0]).toMatchObject({ id: 1, ok: false })
  expect(results[0]?.error).toMatchObject({
    name: 'RangeError',
    message: 'bad',
    code: 'E_TEST',
    stack: expect.stringContaining('cli-handlers.js'),
    cause: { name: 'Error', message: 'the reason' },
  })
  expect(results[0]?.partition).toBeGreaterThanOrEqual(0)
  expect(results[1]?.error).toMatchObject({ value: 'only text' })
  expect(results[2]).toMatchObject({ ok: true, value: 1 })
})

test('an empty input gives an empty output and succeeds', async () => {
  expect(await run([], '')).toMatchObject({ code: 0, stdout: '', stderr: '' })
})

test('lines take what they leave out from the command line, and ids from their numbers', async () => {
  const lines = '\n{}\r\n   \n{"lane":"system"}\n{"type":"echo","id":"own","payload":1}'
  const { results } = await run(['--ordered', '--type', 'lane', '--lane', 'skill'], lines)
  expect(results.map(({ id, value }) => [id, value])).toEqual([
    [2, { lane: 'skill', key: null }],
    [4, { lane: 'system', key: null }],
    ['own', 1],
  ])
  const keyed = [{ id: 'a', key: 'own' }, { id: 'b', payload: { id: 3 } }, { id: 'c' }]
  const { results: ofKeys } = await run(['--ordered', '--type', 'lane', '--key', 'id'], keyed)
  const query = ['own', '3', 'c'].map((key) => ({ lane: 'query', key }))
  expect(ofKeys.map(({ value }) => value)).toEqual(query)
})

test('each line that is refused costs itself alone, and is reported with its number', async () => {
  const long = JSON.stringify({ type: 'echo', payload: 'x'.repeat(300_000) })
  const refused: [line: string, id: string | null, says: string][] = [
    ['{"id":"cut"', null, 'CORELANE_INVALID_COMMAND'],
    ['{"id":"typo","type":"echo","priorty":1}', 'typo', 'CORELANE_INVALID_COMMAND'],
    [long, null, `${long.length + 1} bytes long`],
    ['{"id":"\xff"}', null, 'is not UTF-8; allowed: a JSON object in UTF-8'],
    ['{"id":"lane","type":"echo","lane":"nowhere"}', 'lane', 'CORELANE_UNKNOWN_LANE'],
    ['{"id":"type","type":"nothing"}', 'type', 'CORELANE_UNKNOWN_TYPE'],
    ['{"id":"rank","type":"echo","priority":256}', 'rank', 'CORELANE_INVALID_OPTION'],
    ['{"id":"key","type":"echo","key":"k"}', 'key', 'CORELANE_INVALID_COMMAND'],
    ['{"id":"circle","type":"circle"}', 'circle', 'The result cannot be written as JSON'],
  ]
  const lines = [...refused.map(([line]) => line), '{"id":"last","type":"echo","payload":2}']
  const input = Buffer.from(lines.join('\n'), 'latin1')
  const { code, results, stderr } = await run(['--ordered', '--line-bytes', '1000'], input)
  expect(code).toBe(1)
  for (const [at, [, id, says]] of refused.entries()) {
    const { error, line, ...result } = results[at]!
    expect(result).toMatchObject({ id, ok: false })
    expect([line ?? at + 1, `${error!.code} ${error!.message}`]).toEqual([
      at + 1,
      expect.stringContaining(says),
    ])
    if (line !== undefined) expect(stderr).toMatch(new RegExp(`\\bline ${line}\\b`))
  }
  expect(results.at(-1)).toMatchObject({ id: 'last', ok: true, value: 2 })
})

test('--ordered prints in the order of the input whatever takes how long', async () => {
  const commands = range(40).map((n) => ({
    id: n,
    type: 'wait',
    payload: { ms: (n * 7) % 20, value: n },
  }))
  const { code, results } = await run(['--ordered', '--partitions', '2'], commands)
  expect(code).toBe(0)
  expect(results.map(({ id }) => id)).toEqual(commands.map(({ id }) => id))
  expect(results.map(({ value }) => value)).toEqual(commands.map(({ id }) => id))
})

test('--key keeps the commands of a key in order on one partition', async () => {
  const commands = range(300).map((n) => ({
    type: 'follow',
    payload: { n, user: { id: n % 7 } },
  }))
  const { code, results } = await run(['--key', 'user.id', '--partitions', '2'], commands)
  expect(code).toBe(0)
  expect(results).toHaveLength(300)
  const partitionOf = new Map<string, number>()
  for (const { value } of results) {
    expect(value.previous).toBe(value.n < 7 ? null : value.n - 7)
    expect(value.key).toBe(String(value.n % 7))
    expect(partitionOf.get(value.key) ?? value.partition).toBe(value.partition)
    partitionOf.set(value.key, value.partition)
  }
})

test.each([
  ['single', ['--strategy', 'single']],
  ['none', ['--strategy', 'none']],
  ['hash', ['--strategy', 'hash', '--partitions', '2']],
  ['roundRobin', ['--strategy', 'roundRobin', '--partitions', '2']],
  ['balanced', ['--strategy', 'balanced', '--partitions', '2']],
  ['auto', ['--strategy', 'auto']],
])('the strategy %s runs every command', async (_name, args) => {
  const commands = range(50).map((n) => ({ id: n, type: 'echo', payload: n }))
  const { code, results } = await run(args, commands)
  expect(code).toBe(0)
  expect(results.map(({ value }) => value).toSorted((a, b) => a - b)).toEqual(
    commands.map(({ id }) => id),
  )
})

test('what a handler prints goes to stderr and leaves the results alone', async () => {
  const ways = ['print', 'printByProcess', 'printDirectly']
  const commands = ways.map((type) => ({ type, payload: `hello by ${type}` }))
  const { code, results, stderr } = await runCli(['run', handlers, '--ordered'], commands)
  expect(code).toBe(0)
  expect(results.map(({ ok, value }) => [ok, value])).toEqual(
    commands.map(({ payload }) => [true, payload.length]),
  )
  expect(stderr.trim().split('\n').sort()).toEqual(commands.map(({ payload }) => payload))
})

test('results go where stdout goes: after what is in a file already, and before what comes later', () => {
  mkdirSync(join(root, '.cache'), { recursive: true })
  const folder = mkdtempSync(join(root, '.cache/cli-'))
  const file = join(folder, 'out')
  const line = JSON.stringify({ type: 'printDirectly', payload: 'hello there' })
  const bin = `"${process.execPath}" dist/cli/main.js run "${handlers}"`
  const script = (target: string) =>
    `echo '${line}' | (echo before; ${bin}; echo after) > "${target}"`
  try {
    for (const target of [file, '/dev/null']) {
      const options = { cwd: root, encoding: 'utf8' } as const
      const { status, stderr } = spawnSync('sh', ['-c', script(target)], options)
      expect([status, stderr]).toEqual([0, 'hello there\n'])
    }
    expect(readFileSync(file, 'utf8')).toMatch(/^before\n\{.*"value":11.*\}\nafter\n$/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('--progress ends with the counts on stderr where that is no terminal', async () => {
  const { results, stderr } = await run(
    ['--progress'],
    [{ type: 'echo' }, { type: 'fail', payload: 'x' }],
  )
  expect(results).toHaveLength(2)
  expect(stderr).toMatch(/corelane: 1 done, 1 failed, 0 in flight, \d+\/s\n$/)
})

test('a handler module that is missing exits with 2 and runs nothing', async () => {
  const { code, stdout, stderr } = await session.run(['run', './no-such-file.js'], [{}])
  expect(code).toBe(2)
  expect(stdout).toBe('')
  expect(stderr).toMatch(/no-such-file\.js could not be loaded: .*Cannot find module/)
})

test('a handler module that throws while it loads exits with 2 and shows the causes', async () => {
  const { code, stderr } = await session.run(['run', fixture('cli-fails-to-load.js')])
  expect(code).toBe(2)
  expect(stderr).toContain('this module cannot load')
  expect(stderr).toContain('cause: the deeper reason')
})

test.each([
  [['run', handlers, '--partitions', '0'], '--partitions is 0; allowed: an integer from 1 to 256'],
  [
    ['run', handlers, '--strategy', 'random'],
    '--strategy is "random"; allowed: "auto", "balanced"',
  ],
  [['run', handlers, '--strategy', 'none', '--partitions', '2'], '--partitions is 2; allowed: 1'],
  [['run', handlers, '--lane', 'nowhere'], '--lane is "nowhere"; allowed: system, control, query'],
  [['run', handlers, '--key', 'a', '--strategy', 'balanced'], '--key is given with --strategy bal'],
  [['run', handlers, '--in-flight', '0'], '--in-flight is 0; allowed: an integer from 1 to 65536'],
  [['run', handlers, '--line-bytes', 'many'], '--line-bytes is "many"; allowed: an integer'],
  [['run', handlers, 'surplus'], 'run takes no argument "surplus"'],
  [['run'], 'run needs <handlers>, or --queue where workers have them'],
  [['worker'], 'worker needs <handlers>'],
  [['fly'], 'there is no command "fly"; commands: run'],
  [['--fly'], 'there is no option --fly'],
])('the command line %j exits with 2 and says why', async (args, complaint) => {
  const { code, stdout, stderr } = await session.run(args)
  expect(stderr).toContain(complaint)
  expect(stderr).toMatch(/^Try: corelane (?:\w+ )?--help$/m)
  expect(stdout).toBe('')
  expect(code).toBe(2)
})

test('docs/cli.md lists every option of every command as --help does', async () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/cli.md'), 'utf8')
  const rows = [...page.matchAll(/^\| `(--[\w-]+(?: <\w+>)?)` \|/gm)].map(([, flag]) => flag)
  const flags: string[][] = []
  for (const command of ['run', 'worker', 'queue', 'top', 'dashboard', 'bench']) {
    const { code, stdout } = await session.run([command, '--help'])
    expect(code).toBe(0)
    flags.push([...stdout.matchAll(/^ {2}(--[\w-]+(?: <\w+>)?)/gm)].map(([, flag]) => flag!))
  }
  expect(flags[0]).toHaveLength(19)
  expect(rows).toEqual(flags.flat())
})

test('help and version can be asked for in every usual way', async () => {
  const ask = (...words: string[]) => session.run(words)
  expect(await ask('help')).toMatchObject({ code: 0, stdout: (await ask('--help')).stdout })
  const ofRun = await ask('run', '--help')
  expect(await ask('help', 'run')).toMatchObject({ code: 0, stdout: ofRun.stdout })
  const versions = [await ask('-v'), await ask('version'), await ask('--version')]
  expect(new Set(versions.map(({ code, stdout }) => `${code} ${stdout}`)).size).toBe(1)
  expect(versions[0]!.stdout).toContain(`corelane/${manifest.version} `)
})
