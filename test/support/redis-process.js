// Redis process: a real redis-server of its own for a test, a campaign or a benchmark. Plain
// JavaScript, since campaigns and benchmarks run on Node 20 as they are. Documented in
// redis-process.d.ts.

import { execFileSync, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const HOST = '127.0.0.1'
const MAJOR_MIN = 7
/**
 * Below the ports that systems give to outgoing connections: a client that reconnects while the
 * server is away could be given the server's own port otherwise, and would connect to itself.
 */
const PORTS = [20_000, 32_000]
const PORT_TRIES = 20
const START_MS = 30_000
const STOP_MS = 10_000
const LOOK_MS = 10

/** Hears of the end of whoever holds the other end of its stdin, even by SIGKILL. */
const GUARD = `trap '' INT TERM HUP
read -r word
[ "$word" = ended ] || { kill -KILL "$1"; rm -rf "$2"; }`

let found

export function findRedis() {
  if (found !== undefined) return found
  try {
    const text = execFileSync('redis-server', ['--version'], { encoding: 'utf8', stdio: 'pipe' })
    const version = /v=(\d+\.\d+\.\d+)/.exec(text)?.[1]
    const isNew = version !== undefined && Number.parseInt(version, 10) >= MAJOR_MIN
    const missing = `redis-server is ${version ?? 'of no known version'}, ${MAJOR_MIN}.0 is needed`
    found = { version, missing: isNew ? undefined : missing }
  } catch {
    found = { version: undefined, missing: 'there is no redis-server; scripts/brokers installs it' }
  }
  return found
}

function persistence(kind) {
  if (kind === 'off') return ['--appendonly', 'no']
  return ['--appendonly', 'yes', '--appendfsync', kind]
}

/** What becomes of a word that is sent to a port, or undefined if nobody answers. */
function ask(port, word) {
  return new Promise((resolve) => {
    const socket = connect(port, HOST, () => socket.write(`${word}\r\n`))
    const end = (answer) => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(1_000, () => end(undefined))
    socket.setEncoding('utf8').once('data', end)
    socket.once('error', () => end(undefined)).once('close', () => end(undefined))
  })
}

export class RedisProcess {
  #options
  #dir
  #port
  #child
  #exited
  #isStopped = false

  static async start(options = {}) {
    const { missing } = findRedis()
    if (missing !== undefined) throw new Error(missing)
    const server = new RedisProcess(options)
    try {
      for (let tries = 0; tries < PORT_TRIES; tries++) {
        server.#port = options.port ?? randomInt(...PORTS)
        if (await server.#launch()) return server
      }
      throw new Error(`no free port for redis-server in ${PORT_TRIES} tries:\n${server.log}`)
    } catch (error) {
      await server.stop()
      throw error
    }
  }

  constructor(options) {
    this.#options = options
    this.#dir = mkdtempSync(join(tmpdir(), 'corelane-redis-'))
  }

  get host() {
    return HOST
  }

  get port() {
    return this.#port
  }

  get pid() {
    return this.#child?.pid
  }

  get url() {
    const { password } = this.#options
    const user = password === undefined ? '' : `:${encodeURIComponent(password)}@`
    return `redis://${user}${HOST}:${this.#port}`
  }

  get log() {
    try {
      return readFileSync(join(this.#dir, 'log'), 'utf8')
    } catch {
      return ''
    }
  }

  async kill() {
    await this.#end('SIGKILL')
  }

  async shutdown() {
    await this.#end('SIGTERM')
  }

  async restart() {
    if (this.#isStopped) throw new Error('a server that was stopped has no data any more')
    await this.#end('SIGKILL')
    if (!(await this.#launch())) throw new Error(`redis-server does not come back:\n${this.log}`)
  }

  async cpuUs() {
    const text = (await ask(this.#port, 'INFO cpu')) ?? ''
    const figures = text.matchAll(/^used_cpu_(?:sys|user):([\d.]+)/gm)
    return [...figures].reduce((sum, [, seconds]) => sum + Number(seconds) * 1e6, 0)
  }

  freeze() {
    process.kill(this.pid, 'SIGSTOP')
  }

  thaw() {
    process.kill(this.pid, 'SIGCONT')
  }

  async stop() {
    this.#isStopped = true
    await this.#end('SIGKILL')
    rmSync(this.#dir, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose]() {
    await this.stop()
  }

  get #timesReady() {
    return this.log.split('Ready to accept connections').length
  }

  #words() {
    const { persistence: kind = 'off', maxMemory, password, users = [] } = this.#options
    const { args = [] } = this.#options
    return [
      ...['--port', String(this.#port), '--bind', HOST, '--dir', this.#dir],
      ...['--logfile', join(this.#dir, 'log'), '--daemonize', 'no', '--save', ''],
      ...persistence(kind),
      ...(maxMemory === undefined ? [] : ['--maxmemory', maxMemory]),
      ...(password === undefined ? [] : ['--requirepass', password]),
      ...users.flatMap((user) => ['--user', ...user.split(' ')]),
      ...args,
    ]
  }

  /** Starts a process; tells whether it came up. It does not if somebody else has the port. */
  async #launch() {
    const timesReady = this.#timesReady
    const child = spawn('redis-server', this.#words(), { stdio: 'ignore' })
    const guard = spawn('sh', ['-c', GUARD, 'guard', String(child.pid), this.#dir], {
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    guard.on('error', () => {})
    guard.stdin.on('error', () => {})
    guard.unref()
    guard.stdin.unref?.()
    // Neither keeps a process alive that forgets to stop its server: the guard does that for it.
    child.unref()
    let hasExited = false
    this.#child = child
    this.#exited = new Promise((resolve) => {
      const end = () => {
        hasExited = true
        guard.stdin.end('ended\n')
        resolve()
      }
      child.once('exit', end).once('error', end)
    })
    for (const end = performance.now() + START_MS; performance.now() < end; ) {
      if (hasExited) return false
      const answer = await ask(this.#port, 'PING')
      // Somebody else's server may answer on the port while ours is about to give up.
      if (hasExited) return false
      if (answer?.startsWith('+PONG') || answer?.startsWith('-NOAUTH')) {
        if (this.#timesReady > timesReady) return true
      }
      await sleep(LOOK_MS)
    }
    throw new Error(`redis-server did not answer within ${START_MS} ms:\n${this.log}`)
  }

  async #end(signal) {
    const child = this.#child
    if (child === undefined) return
    child.ref()
    child.kill(signal)
    // A frozen one hears of nothing but SIGKILL.
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    await this.#exited
    clearTimeout(late)
  }
}
