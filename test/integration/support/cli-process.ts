// CLI process: runs the built bin as a shell would, with every wait bounded.

import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const root = join(import.meta.dirname, '../../..')
const BIN = join(root, 'dist/cli/main.js')

/** A stuck process is killed after this long, and the test sees a signal where it wanted a code. */
const LIFE_MS_MAX = 60_000

/** A line of the bin's output. */
export interface ResultLine {
  id: string | number | null
  ok: boolean
  // biome-ignore lint/suspicious/noExplicitAny: a test knows what its handler returns
  value?: any
  error?: {
    name: string
    message: string
    code?: string
    stack?: string
    cause?: { message: string }
  }
  line?: number
  partition?: number
  durationMs?: number
}

/** How a process ended. */
export interface Ending {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
  /** The lines of stdout, parsed. */
  results: ResultLine[]
}

/** The path of a file in test/fixtures. */
export function fixture(name: string): string {
  return join(root, 'test/fixtures', name)
}

/** A running bin. */
export class CliProcess {
  readonly child: ChildProcessWithoutNullStreams
  stdout = ''
  stderr = ''
  readonly #ended: Promise<unknown[]>

  /**
   * @param args - After the name of the bin.
   * @param nodeArgs - Before it.
   * @param env - Besides this process's environment.
   * @param leadsGroup - Whether it has a process group of its own, as in a terminal.
   * @param lifeMs - After how long it is killed; 0: never, and the test ends it.
   */
  constructor(
    args: readonly string[],
    nodeArgs: readonly string[] = [],
    env: NodeJS.ProcessEnv = {},
    leadsGroup = false,
    lifeMs = LIFE_MS_MAX,
  ) {
    this.child = spawn(process.execPath, [...nodeArgs, BIN, ...args], {
      cwd: root,
      env: { ...process.env, ...env },
      timeout: lifeMs,
      killSignal: 'SIGKILL',
      detached: leadsGroup,
    })
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
    })
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    // A bin that ends early closes the pipe that is still being written.
    this.child.stdin.on('error', () => {})
    this.#ended = once(this.child, 'close')
  }

  /** Waits until one of its streams has some text in it, or it has ended. */
  async says(stream: 'stdout' | 'stderr', text: string): Promise<void> {
    const ended = this.#ended.then(() => 'ended')
    while (!this[stream].includes(text)) {
      const next = once(this.child[stream], 'data')
      next.catch(() => {})
      if ((await Promise.race([next, ended])) === 'ended') return
    }
  }

  /** Writes chunks for as long as the bin takes them. */
  async feed(chunks: Iterable<string | Buffer>): Promise<void> {
    const { stdin } = this.child
    for (const chunk of chunks) {
      if (!stdin.writable) return
      if (!stdin.write(chunk)) {
        await Promise.race([once(stdin, 'drain').catch(() => {}), this.#ended])
      }
    }
  }

  async end(): Promise<Ending> {
    const [code, signal] = (await this.#ended) as [number | null, NodeJS.Signals | null]
    const { stdout, stderr } = this
    return endingOf({ code, signal, stdout, stderr })
  }
}

function endingOf(ended: Omit<Ending, 'results'>): Ending {
  return {
    ...ended,
    get results() {
      const lines = ended.stdout.split('\n').filter((line) => line !== '')
      return lines.map((line) => JSON.parse(line))
    },
  }
}

/** A whole input: text, or commands that become a line each. */
type Input = string | Buffer | readonly object[]

const bytesOf = (input: Input): Buffer =>
  Buffer.from(Array.isArray(input) ? toLines(input) : (input as string | Buffer))

/** One process in which the bin runs again and again, for what only the command matters in. */
export class CliSession {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>

  /** @param env - Besides this process's environment. */
  constructor(env: NodeJS.ProcessEnv) {
    const folder = mkdtempSync(join(tmpdir(), 'corelane-cli-'))
    const results = openSync(join(folder, 'results'), 'a+')
    this.child = spawn(process.execPath, [fixture('cli-session.js')], {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'inherit', results],
    })
    closeSync(results)
    rmSync(folder, { recursive: true })
    this.#lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]()
  }

  /** Runs the bin; one call at a time. */
  async run(args: readonly string[], input: Input = '', env = {}): Promise<Ending> {
    const line = JSON.stringify([args, bytesOf(input).toString('base64'), env])
    this.child.stdin!.write(`${line}\n`)
    const { value } = await this.#lines.next()
    return endingOf({ signal: null, ...JSON.parse(value) })
  }
}

/**
 * Runs the bin on a whole input.
 *
 * @param args - After the name of the bin.
 */
export function runCli(args: readonly string[], input: Input = ''): Promise<Ending> {
  const cli = new CliProcess(args)
  cli.child.stdin.end(bytesOf(input))
  return cli.end()
}

/** Commands as lines. */
export function toLines(commands: readonly object[]): string {
  return commands.map((command) => `${JSON.stringify(command)}\n`).join('')
}
