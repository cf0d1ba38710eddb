// Pages: the examples of the documentation that need other packages run as their readers would run
// them. Method: a page's files are written beside the packages that they import, and started.

import { type ChildProcess, spawn } from 'node:child_process'
import { once, setMaxListeners } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { join } from 'node:path'
import { afterAll, afterEach, expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { describeWithTools } from '../support/locked-packages.ts'
import { makeFolder, PAGE_TOOLS, writeFiles } from '../support/pages.ts'
import { range } from '../support/range.ts'

const running = new Set<ChildProcess>()

afterEach(() => {
  for (const program of running) program.kill('SIGKILL')
  running.clear()
})

const folders: string[] = []

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** Writes the files of a page into a folder of its own. */
function filesOf(page: string, tools: string = PAGE_TOOLS): string {
  const folder = makeFolder(page, tools)
  folders.push(folder)
  writeFiles(`docs/${page}.md`, folder)
  return folder
}

interface Program {
  readonly process: ChildProcess
  readonly output: () => string
  readonly exit: Promise<readonly unknown[]>
}

function start(folder: string, words: readonly string[], env: object = {}): Program {
  const child = spawn(process.execPath, words, {
    cwd: folder,
    env: { ...process.env, NODE_OPTIONS: '', PORT: '0', ...env },
  })
  running.add(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream!.on('data', (chunk) => {
      output += chunk
    })
  }
  return { process: child, output: () => output, exit: once(child, 'exit') }
}

interface Answer {
  readonly status: number
  readonly body: string
}

interface Ask {
  readonly signal?: AbortSignal
  readonly agent?: Agent
  readonly onReceived?: () => void
}

function ask(url: string, { onReceived, ...given }: Ask = {}): Promise<Answer> {
  // A server that has the head of such a request says so.
  const headers = onReceived && { expect: '100-continue' }
  return new Promise((resolve, reject) => {
    const options = { agent: false as const, ...given, ...(headers && { headers }) }
    const request = get(url, options, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => {
        body += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode!, body }))
      response.on('error', reject)
    })
    request.on('error', reject)
    if (onReceived !== undefined) request.once('continue', onReceived)
  })
}

/** Asks until the answer has a status. */
async function askUntil(url: string, status: number): Promise<Answer> {
  for (;;) {
    const answer = await within(ask(url), url)
    if (answer.status === status) return answer
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

describeWithTools(PAGE_TOOLS, () => {
  test.each(['fastify', 'express'])('docs/web-server.md: the server by %s', async (name) => {
    const server = start(filesOf('web-server'), [`${name}.mjs`])
    await until(() => server.output().includes('\n'), 'it listens')
    const url = server.output().trim()
    expect(url).toMatch(/^http:\/\/[\w.:[\]]+:\d+$/)

    const first = await within(ask(`${url}/digest?text=a&rounds=2`), 'a digest')
    expect(first.status).toBe(200)
    expect(JSON.parse(first.body).digest).toMatch(/^[0-9a-f]{64}$/)

    // Clients that leave make room again, though the handlers have seconds of work before them.
    const leaving = new AbortController()
    setMaxListeners(0, leaving.signal)
    const gone = range(20).map(() =>
      ask(`${url}/digest?rounds=100000`, { signal: leaving.signal }).catch((error) => error.code),
    )
    const refused = await within(askUntil(`${url}/digest`, 503), 'overload')
    expect(refused.body).toContain('20 of 20 commands are pending')
    expect((await within(ask(`${url}/ping`), 'ping')).body).toBe('pong')
    leaving.abort()
    expect(await Promise.all(gone)).toEqual(gone.map(() => 'ABORT_ERR'))
    await within(askUntil(`${url}/digest`, 200), 'room again')

    if (name === 'fastify') {
      const { body } = await within(ask(`${url}/table`), 'a stream')
      expect(body.split('\n').at(-2)).toBe(`99999,${99_999 ** 2}`)
    }

    // A request in flight at SIGTERM is answered, and the process ends well: it does not wait until
    // the client, which keeps its connection alive, has been idle for long.
    const agent = new Agent({ keepAlive: true })
    let last: Promise<Answer> | undefined
    const received = new Promise<void>((onReceived) => {
      last = ask(`${url}/digest?rounds=500`, { agent, onReceived })
    })
    await within(received, 'the last request is received')
    server.process.kill('SIGTERM')
    expect((await within(last!, 'the last answer')).status).toBe(200)
    expect(await within(server.exit, 'exit')).toEqual([0, null])
    agent.destroy()
  })

  /** What a program prints, once it has ended well. */
  async function outputOf(page: string, ...words: string[]): Promise<string[]> {
    const program = start(filesOf(page), words)
    expect(await within(program.exit, words.join(' ')), program.output()).toEqual([0, null])
    return program.output().trim().split('\n')
  }

  test('docs/web-server.md: the lag of the event loop, both ways', async () => {
    const lines = (await outputOf('web-server', 'lag.mjs')).map((line) => line.split(/: | ms$/))
    expect(lines.map(([way]) => way)).toEqual(['in the event loop', 'as a command'])
    for (const [, lag] of lines) expect(Number(lag)).toBeGreaterThan(0)
  })

  test('docs/handlers.md: every kind of handler', async () => {
    expect(await outputOf('handlers', 'main.mjs')).toEqual([
      'hello you',
      '0.5',
      '1',
      "[ 'a' ]",
      'one',
      'two',
      '7,7',
      "[ 'hello x', 'hello y' ]",
    ])
  })

  test('docs/comparison.md: the program before and after', async () => {
    const before = await outputOf('comparison', 'piscina.mjs')
    expect(before).toEqual(['6 6'])
    expect(await outputOf('comparison', 'corelane.mjs')).toEqual(before)
  })
})

const RUNNERS = join(import.meta.dirname, '../environments/tools/runners')

describeWithTools(RUNNERS, () => {
  test.each([
    ['vitest', 'vitest/vitest.mjs', ['run', 'mjs', '--root', '.'], 'Tests  4 passed'],
    ['jest', 'jest/bin/jest.js', ['--testMatch', '**/*.test.cjs'], '3 passed'],
  ])('docs/testing.md: the tests by %s', async (_, program, words, says) => {
    const folder = filesOf('testing', RUNNERS)
    writeFileSync(join(folder, 'vitest.config.mjs'), 'export default {}')
    const ran = start(folder, [join(RUNNERS, 'node_modules', program), ...words], { NO_COLOR: '1' })
    expect((await within(ran.exit, 'the runner'))[0], ran.output()).toBe(0)
    expect(ran.output()).toContain(says)
  })
})
