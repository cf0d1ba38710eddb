// Bench smoke: every row of the benchmark runs, on corelane, Piscina and the two baselines, with
// its results checked. What it measures in so short a time means nothing.

import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { describeWithRedis } from '../support/redis-server.ts'

const root = join(import.meta.dirname, '../..')
const run = promisify(execFile)

/** Runs the benchmark; rejects unless it ends well. */
async function bench(...words: string[]): Promise<string> {
  const args = [join(root, 'bench/run.js'), ...words]
  const { stdout } = await run(process.execPath, args, { cwd: root, timeout: 240_000 })
  return stdout
}

test('every row of the benchmark runs and gets right results from every system', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'corelane-bench-'))
  try {
    const path = join(folder, 'report.json')
    await bench('--quick', '--json', path)
    const report = JSON.parse(readFileSync(path, 'utf8'))
    const listed = (await bench('--list')).match(/^ {2}([\w-]+): /gm)!.map((id) => id.slice(2, -2))

    expect(report.failures).toEqual([])
    expect(report.rows.map(({ id }: { id: string }) => id)).toEqual(listed)
    for (const { id, columns, entries } of report.rows) {
      const systems = entries.map(({ system }: { system: string }) => system)
      expect(systems, id).toEqual(expect.arrayContaining(['corelane', 'piscina']))
      for (const { samples } of entries) {
        for (const { metric } of columns)
          expect(samples[0][metric], metric).toEqual(expect.any(Number))
      }
    }
    expect(report.micro.length).toBeGreaterThan(0)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}, 240_000)

test('a row that does not exist is not measured and an unknown system is refused', async () => {
  expect(await bench('--quick', '--only', 'no such row')).not.toContain('per second')
  await expect(bench('--quick', '--only', 'serial', '--systems', 'abacus')).rejects.toThrow(
    'no system "abacus"; there are corelane, piscina',
  )
})

test('what lanes cost is measured, and every command of the deep queue has its result', async () => {
  const script = join(root, 'bench/lane-cost.bench.js')
  const args = ['--expose-gc', script, '--quick']
  const { stdout } = await run(process.execPath, args, { cwd: root, timeout: 240_000 })
  const row = /of bare, [\d.]+ times its processor time, [\d.]+ on the main thread$/gm
  expect(stdout.match(row)).toHaveLength(22)
  expect(stdout).toMatch(/^5,000 queued: [\d,]+ submits\/s, [\d,]+ drained\/s$/m)
  expect(stdout).toMatch(/while it waits: \d+ bytes$/m)
  expect(stdout.match(/^(stream|asyncStream) +[\d,]+ values\/s/gm)).toHaveLength(2)
  expect(stdout).toContain('a slow reader lost nothing')
}, 240_000)

test('what metrics, telemetry and the dashboard cost is measured as ratios, and memory read', async () => {
  const args = [join(root, 'bench/metrics-cost.bench.js'), '--quick']
  const { stdout } = await run(process.execPath, args, { cwd: root, timeout: 240_000 })
  const ratio = /^(on : off|telemetry : off|dashboard : on) +time [\d.]+, processor time [\d.]+$/gm
  expect(stdout.match(ratio)).toHaveLength(3)
  expect(stdout).toMatch(/, [1-9]\d* KiB of news read$/m)
  expect(stdout.match(/ commands: heap [\d.]+, array buffers [\d.]+, resident/g)).toHaveLength(10)
  expect(stdout).toMatch(
    /^last : sixth +heap [\d.]+, array buffers [\d.]+, resident memory [\d.]+$/m,
  )
}, 240_000)

describeWithRedis('the benchmark of the queue', () => {
  test('sends commands to worker processes and checks what comes back', async () => {
    const script = join(root, 'bench/queue.bench.js')
    const args = [script, '--quick', '--systems', 'corelane']
    const { stdout } = await run(process.execPath, args, { cwd: root, timeout: 240_000 })
    expect(stdout.match(/^corelane +[\d,]+\/s/gm)).toHaveLength(2)
  }, 240_000)
})
