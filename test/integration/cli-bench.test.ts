// CLI bench: the comparison of strategies, on built-in work and on the user's own.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { CliSession, fixture } from './support/cli-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'corelane-strategies-'))
const session = new CliSession({})
afterAll(() => {
  session.child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

const bench = (...args: string[]) =>
  session.run(['bench', 'strategies', '--partitions', '2', ...args])

test('every strategy runs every workload, in text, JSON and a page', async () => {
  const [json, html] = [join(folder, 'out.json'), join(folder, 'out.html')]
  const { code, stdout } = await bench('--quick', '--json', json, '--html', html)
  expect(code).toBe(0)
  const report = JSON.parse(readFileSync(json, 'utf8'))
  const names = report.workloads.map(({ name }: { name: string }) => name)
  expect(names).toEqual(['uniform', 'zipf', 'hot key', 'long and short', 'bursts'])
  for (const { figures, verdict } of report.workloads) {
    expect(Object.keys(figures)).toEqual(['single', 'roundRobin', 'hash', 'balanced'])
    for (const { perSecond, failure } of Object.values<{ perSecond: number; failure: unknown }>(
      figures,
    )) {
      expect(perSecond).toBeGreaterThan(0)
      expect(failure).toBeUndefined()
    }
    // One key runs on one thread, in order.
    expect(figures.single.outOfOrder + figures.hash.outOfOrder).toBe(0)
    expect(stdout).toContain(verdict)
    expect(verdict).toContain('no advice from one round')
  }
  const page = readFileSync(html, 'utf8')
  // Three charts with a bar for each strategy and workload.
  expect(page.match(/class="bar"/g)).toHaveLength(3 * 4 * 5)
  expect(page).toContain('width: 100.0%')
  expect(page).not.toMatch(/<script|(?:src|href)="?https?:/)
}, 60_000)

test("the user's own handlers, keys and payloads are used, and trials say how far they differ", async () => {
  const keys = join(folder, 'keys.txt')
  writeFileSync(keys, 'ada\n{"key":"bob","payload":"</script>"}\n')
  const own = ['--handlers', fixture('survival.js'), '--type', 'echo', '--keys', keys]
  const rounds = ['--rounds', '2', '--ms', '30', '--partitions', '2']
  const html = join(folder, 'own.html')
  // Alone, `bench` compares strategies.
  const { code, stdout } = await session.run(['bench', ...rounds, ...own, '--html', html])
  expect(code).toBe(0)
  expect(stdout).toContain('yours: 2 commands of yours with 2 keys')
  expect(stdout).toMatch(/commands\/s +least +most/)
  expect(stdout).toMatch(/yours: (choose \w+ \S+ to \S+\/s|too close to call: )/)
})

test('a handler that fails is reported, and the exit code says so', async () => {
  const keys = join(folder, 'one.txt')
  writeFileSync(keys, 'ada\n')
  const own = ['--handlers', fixture('survival.js'), '--type', 'alwaysFails', '--payload', '"<b>"']
  const { code, stdout } = await bench('--rounds', '2', '--ms', '20', ...own, '--keys', keys)
  expect(code).toBe(1)
  expect(stdout).toContain('yours: no advice, since a command failed under single: Error: no: <b>')
  // The first failure ends it.
  expect(stdout).not.toContain('roundRobin')
  expect(stdout).toContain('failed: Error: no: <b>')
})

test('what makes no sense is refused by name', async () => {
  for (const [args, message] of [
    [['--handlers', fixture('survival.js')], '--handlers is given without --type'],
    [['--type', 'echo'], '--type is given without --handlers'],
    [['--keys', join(folder, 'none')], '--keys cannot be read'],
    [['--payload', '{'], '--payload is no JSON'],
    [['--rounds', '0'], '--rounds is 0; allowed: an integer from 1 to 100'],
    [['--handlers', fixture('cli-fails-to-load.js'), '--type', 'f'], 'this module cannot load'],
  ] as const) {
    const { code, stderr } = await bench(...args)
    expect(code).toBe(2)
    expect(stderr).toContain(message)
    expect(stderr).not.toMatch(/\n +at /)
  }
  const { code, stderr } = await session.run(['bench', 'everything'])
  expect(code).toBe(2)
  expect(stderr).toContain('there is no benchmark "everything"; benchmarks: strategies')
})
