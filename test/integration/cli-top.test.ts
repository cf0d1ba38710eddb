// CLI top: `corelane top` and `corelane dashboard` beside a process that serves its dashboard.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import {
  type Dashboard,
  PartitionConfig,
  type QueueManager,
  QueueMetrics,
  serveDashboard,
} from 'corelane'
import { afterAll, afterEach, expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { open, share } from '../support/managers.ts'
import { openPool, openQueue, openSubmitter, withFaults } from '../support/pools.ts'
import { CliProcess, CliSession, type Ending } from './support/cli-process.ts'

const BIN = join(import.meta.dirname, '../../dist/cli/main.js')
const undone: (() => unknown)[] = []
const session = new CliSession({ CORELANE_DASHBOARD_URL: '' })

afterAll(() => void session.child.kill('SIGKILL'))

afterEach(async () => {
  for (const undo of undone.splice(0)) await undo()
})

const shared = share('survival.js', {
  partitions: 1,
  lanes: { api: {}, other: { maxConcurrency: 1 } },
  metrics: QueueMetrics.local(),
})

async function serve(): Promise<[QueueManager, Dashboard]> {
  const manager = shared()
  const dashboard = await manager.serveDashboard({ intervalMs: 100, environment: 'staging' })
  undone.push(() => dashboard.close())
  return [manager, dashboard]
}

function start(args: readonly string[]): CliProcess {
  const cli = new CliProcess(args)
  undone.push(() => cli.child.kill('SIGKILL'))
  return cli
}

const end = (args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Ending> =>
  within(session.run(args, '', env), args.join(' '))

test('one look is a table for people, or an object for programs', async () => {
  const [manager, { url, token }] = await serve()
  manager.lane('other').pause()
  const waiting = manager.submit('other', 'echo', 1)
  const { code, stdout } = await end(['top', url, '--once'])
  expect(code).toBe(0)
  expect(stdout).toMatch(/^corelane [\d:]{8}, staging, /)
  expect(stdout).toMatch(/^other \(paused\) +1 +0 /m)
  expect(stdout).not.toContain('\x1b')
  const address = new URL('/', url).href
  const { results } = await end(['top', '--token', token, '--once', '--json'], {
    CORELANE_DASHBOARD_URL: address,
  })
  expect(results).toMatchObject([{ lanes: { other: { queued: 1, isPaused: true } } }])
  manager.lane('other').resume()
  await waiting
})

test('a queue stands beside the process, or alone, with its lanes and workers', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(2))
  const manager = await open('survival.js', {
    partitions: 1,
    lanes: { api: {} },
    metrics: QueueMetrics.local(),
  })
  await openPool(queue, manager)
  await queue.lanes.pause('api')
  await queue.lanes.setConcurrency('api', 2)
  await openSubmitter(queue).enqueue('api', 'echo', 1)
  const workers = () => queue.workers.list()
  await expect.poll(async () => (await workers()).length, { timeout: 20_000 }).toBe(1)
  const [worker] = await workers()
  const lane = /^api \(paused\) +1 +0 +0 +0 +1 +max 2$/m
  let reads = 0
  const slow = withFaults(queue, {
    counts: async () => {
      // The first read ends after the first news.
      if (reads++ === 0) await new Promise((resolve) => setTimeout(resolve, 300))
      return queue.counts()
    },
  })
  const both = await manager.serveDashboard({ queue: slow, intervalMs: 100 })
  const alone = await serveDashboard({ queue, intervalMs: 100 })
  undone.push(
    () => both.close(),
    () => alone.close(),
  )
  for (const dashboard of [both, alone]) {
    const { code, stdout } = await end(['top', dashboard.url, '--once'])
    expect(code).toBe(0)
    expect(/^PARTITION /m.test(stdout)).toBe(dashboard === both)
    expect(stdout).toMatch(/^queue: 1 waiting, 0 leased, 0 delayed, 0 dead; 1 lane, 1 worker$/m)
    expect(stdout).toMatch(lane)
    expect(stdout).toMatch(new RegExp(`^${worker!.workerId} +running +0 +0 +1 `, 'm'))
  }
  const { results } = await end(['top', alone.url, '--once', '--json'])
  expect(results).toMatchObject([{ queue: { waiting: 1, workers: [{ pid: process.pid }] } }])
})

test('without a terminal it prints table after table, until the process or its reader ends', async () => {
  const [, dashboard] = await serve()
  const top = start(['top', dashboard.url])
  await within(
    until(() => top.stdout.split('LANE').length > 3, 'three tables'),
    'tables',
  )
  const leaving = start(['top', dashboard.url, '--json'])
  await within(leaving.says('stdout', '\n'), 'a line')
  leaving.child.stdout.destroy()
  expect(await within(leaving.end(), 'an end without a reader')).toMatchObject({ code: 0 })
  await dashboard.close()
  expect(await within(top.end(), 'its end')).toMatchObject({ code: 0, stderr: '' })
})

test('a full disk is no success, and a reader that has left is none of its concern', async () => {
  const [, { url }] = await serve()
  for (const [target, code, complaint] of [
    ['> /dev/full', 1, 'corelane: ENOSPC: no space left on device, write\n'],
    ['| true', 0, ''],
  ] as const) {
    const script = `set -o pipefail; "$0" "$1" top "$2" --once ${target}`
    const shell = spawn('bash', ['-c', script, process.execPath, BIN, url])
    let said = ''
    shell.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const [exitCode] = await within(once(shell, 'close'), target)
    expect([exitCode, said]).toEqual([code, complaint])
  }
})

test('an address that does not do is refused, by its reason and without its token', async () => {
  const [, { url }] = await serve()
  const portOf = (listener: RequestListener) => {
    const server = createServer(listener).listen(0)
    undone.push(() => server.close())
    return (server.address() as AddressInfo).port
  }
  const port = portOf((_, response) => response.writeHead(404).end())
  const page = portOf((_, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<p>\n\n</p>')
  })
  for (const [words, complaint] of [
    [[], 'CORELANE_DASHBOARD_URL'],
    [['redis://localhost'], 'is no http: URL'],
    [[new URL('/', url).href], 'has no token'],
    [[url, '--token', 'wrong-secret'], 'refuses the token'],
    [[`http://127.0.0.1:${port}/#token=wrong-secret`], 'is no dashboard: it says 404'],
    [[`http://127.0.0.1:${page}/#token=wrong-secret`], 'is no dashboard: it says a text/html'],
    [['http://127.0.0.1:1/#token=wrong-secret'], 'no dashboard answers at http://127.0.0.1:1'],
  ] as const) {
    for (const command of ['top', 'dashboard']) {
      const { code, stdout, stderr } = await end([command, ...words])
      expect([code, stdout]).toEqual([2, ''])
      expect(stderr).toContain(complaint)
      expect(stderr).toContain(`Try: corelane ${command} --help`)
      expect(stderr).not.toContain('wrong-secret')
    }
  }
})

test('the dashboard opens in a browser, once it has answered', async () => {
  const [, { url, token }] = await serve()
  const page = new URL('/', url).href
  expect(await end(['dashboard', page, '--token', token, '--print'])).toMatchObject({
    code: 0,
    stdout: `${url}\n`,
  })
  // No program that opens anything is found there.
  const { code, stdout, stderr } = await end(['dashboard', url], { PATH: '/nowhere' })
  expect([code, stdout]).toEqual([1, `${url}\n`])
  expect(stderr).toContain('opened no browser: open the address above')
})

/** A terminal of 60 columns, by util-linux's `script`. */
test.runIf(process.platform === 'linux')(
  'in a terminal it draws in place, in colour unless that is unwanted, and q ends it',
  async () => {
    const [, { url }] = await serve()
    for (const NO_COLOR of ['', '1']) {
      const words = `stty cols 60 rows 12; '${process.execPath}' '${BIN}' top '${url}'`
      const env = { ...process.env, NO_COLOR, TERM: 'xterm', FORCE_COLOR: undefined }
      const child = spawn('script', ['-qec', words, '/dev/null'], { env, stdio: 'pipe' })
      undone.push(() => child.kill('SIGKILL'))
      let drawn = ''
      child.stdout.setEncoding('utf8').on('data', (chunk) => {
        drawn += chunk
      })
      await within(
        until(() => drawn.split('\x1b[H').length > 2, 'two screens'),
        'screens',
      )
      child.stdin.write('q')
      const [code] = await within(
        new Promise<[number]>((resolve) => child.once('exit', (one) => resolve([one!]))),
        'q',
      )
      expect(code).toBe(0)
      expect(drawn).toContain('\x1b[?1049h')
      expect(drawn).toContain('\x1b[?1049l')
      expect(drawn.includes('\x1b[1m')).toBe(NO_COLOR === '')
      const lines = drawn
        .split('\x1b[H')
        .flatMap((screen) => stripVTControlCharacters(screen).split('\r\n'))
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(60)
    }
  },
)
