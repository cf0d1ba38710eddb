// Examples: the code blocks of docs/distributed.md that have a name do what the page says. Method:
// they are cut out of the page, written side by side into a folder with the packed package, and run
// by node as they stand.

import { execFile } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { describeWithTools } from '../support/locked-packages.ts'
import { makeFolder, PAGE_TOOLS, writeFiles } from '../support/pages.ts'

const folder = makeFolder('distributed')
const names = writeFiles('docs/distributed.md', folder)
afterAll(() => rmSync(folder, { recursive: true }))

const codeOf = (name: string): string => readFileSync(join(folder, name), 'utf8')

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
  'local.mjs': async () => {
    const code = `${codeOf('local.mjs')}
      console.log(queue.strategy, queue.numPartitions > 0, eight.strategy, eight.numPartitions)`
    expect(await run(...printing(code))).toBe('balanced true roundRobin 8\n')
  },
  'handlers.mjs': async () => {
    const code = "console.log((await import('./handlers.mjs')).primes({ below: 10 }))"
    expect(await run(...printing(code))).toBe('4\n')
  },
  'many-cores.mjs': async () => {
    expect(await run('many-cores.mjs')).toBe('[ 25, 168, 1229 ]\n')
  },
  'worker.mjs': async () => {
    const program = `
      const { manager, pool } = await import('./worker.mjs')
      console.log(pool.stats().state)
      await pool.close()
      await manager.close()`
    expect(await run(...printing(program))).toBe('running\n')
  },
  'submitter.mjs': async () => {
    expect(await run('submitter.mjs')).toBe('12\norder-18\n')
  },
  'tenants.mjs': async () => {
    expect(await run('tenants.mjs')).toBe('15\n')
  },
  'by-hand.mjs': async () => {
    expect(await run('by-hand.mjs')).toBe('order-17 12\n')
  },
  'folder-queue.mjs': async () => {
    const code = codeOf('folder-queue.mjs')
    expect(code.trimEnd().split('\n').length).toBeLessThanOrEqual(45)
  },
  'lifted.mjs': async () => {
    const program = `
      const { queue } = await import('./lifted.mjs')
      const envelope = { id: 'a', commandType: 't', laneId: 'l', partitionId: 3, createdAt: 1 }
      await queue.enqueue(envelope)
      const given = await queue.dequeue(3)
      console.log(given.id, queue.capabilities.delivery, queue.workerId)`
    expect(await run(...printing(program))).toBe('a at-most-once worker-1\n')
  },
  'folder-pool.mjs': async () => {
    expect(await run('folder-pool.mjs')).toBe('168\n')
  },
  'contract.test.mjs': async () => {
    const report = await run('--test', '--test-reporter=tap', 'contract.test.mjs')
    expect(Number(/^# pass (\d+)$/m.exec(report)?.[1])).toBeGreaterThan(30)
    expect(report).toMatch(/^# fail 0$/m)
    expect(report).toMatch(/\d\d sentences are not claimed/)
  },
}

test('every block has a check, and every check its block', () => {
  expect(names.toSorted()).toEqual(Object.keys(checks).toSorted())
})

describeWithTools(PAGE_TOOLS, () => {
  for (const [name, check] of Object.entries(checks)) test.concurrent(name, check)
})
