// Examples: the code blocks of docs/distributed.md that have a name do what the page says. Method:
// they are cut out of the page, written side by side into a folder of the package, so that they
// import 'corelane' as a user does, and run by node as they stand.

import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/distributed.md'), 'utf8')
const blocks = new Map(
  [...page.matchAll(/^```js (\S+)\n([\s\S]*?)^```$/gm)].map(([, name, code]) => [name!, code!]),
)

mkdirSync(join(root, '.cache'), { recursive: true })
const folder = mkdtempSync(join(root, '.cache/examples-'))
for (const [name, code] of blocks) writeFileSync(join(folder, name), code)
afterAll(() => rmSync(folder, { recursive: true }))

const runFile = promisify(execFile)

/** Runs a block, or a program that imports blocks, and gives what it printed. */
async function run(...args: string[]): Promise<string> {
  const { stdout } = await runFile(process.execPath, args, { cwd: folder, timeout: 20_000 })
  return stdout
}

/** A program that imports a block and prints something of it. */
function printing(program: string): string[] {
  return ['--input-type=module', '--eval', program]
}

const checks: Record<string, () => Promise<void>> = {
  'local.js': async () => {
    const code = `${blocks.get('local.js')}
      console.log(queue.strategy, queue.numPartitions > 0, eight.strategy, eight.numPartitions)`
    expect(await run(...printing(code))).toBe('balanced true roundRobin 8\n')
  },
  'handlers.js': async () => {
    const code = "console.log((await import('./handlers.js')).primes({ below: 10 }))"
    expect(await run(...printing(code))).toBe('4\n')
  },
  'many-cores.js': async () => {
    expect(await run('many-cores.js')).toBe('[ 25, 168, 1229 ]\n')
  },
  'worker.js': async () => {
    const program = `
      const { manager, pool } = await import('./worker.js')
      console.log(pool.stats().state)
      await pool.close()
      await manager.close()`
    expect(await run(...printing(program))).toBe('running\n')
  },
  'submitter.js': async () => {
    expect(await run('submitter.js')).toBe('12\norder-18\n')
  },
  'by-hand.js': async () => {
    expect(await run('by-hand.js')).toBe('order-17 12\n')
  },
  'folder-queue.js': async () => {
    const code = blocks.get('folder-queue.js')!
    expect(code.trimEnd().split('\n').length).toBeLessThanOrEqual(45)
  },
  'lifted.js': async () => {
    const program = `
      const { queue } = await import('./lifted.js')
      const envelope = { id: 'a', commandType: 't', laneId: 'l', partitionId: 3, createdAt: 1 }
      await queue.enqueue(envelope)
      const given = await queue.dequeue(3)
      console.log(given.id, queue.capabilities.delivery, queue.workerId)`
    expect(await run(...printing(program))).toBe('a at-most-once worker-1\n')
  },
  'folder-pool.js': async () => {
    expect(await run('folder-pool.js')).toBe('168\n')
  },
  'contract.test.js': async () => {
    const report = await run('--test', '--test-reporter=tap', 'contract.test.js')
    expect(Number(/^# pass (\d+)$/m.exec(report)?.[1])).toBeGreaterThan(30)
    expect(report).toMatch(/^# fail 0$/m)
    expect(report).toMatch(/\d\d sentences are not claimed/)
  },
}

test('every block has a check, and every check its block', () => {
  expect([...blocks.keys()].toSorted()).toEqual(Object.keys(checks).toSorted())
})

for (const [name, check] of Object.entries(checks)) test.concurrent(name, check)
