// Queue workers: the worker processes of a round of the queue campaign, each behind a proxy of its
// own. Whoever dies is replaced.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { FlakyProxy } from '../support/flaky-proxy.js'
import { within } from './threads.js'

const SCRIPT = fileURLToPath(new URL('./queue-worker.js', import.meta.url))
const START_MS = 30_000
const LEAVE_MS = 20_000
const SAID_MAX = 4_000

/** One process. */
class WorkerProcess {
  said = ''
  isFrozen = false
  isLeaving = false
  #child
  #proxy
  #ended
  #ready

  constructor(child, proxy) {
    this.#child = child
    this.#proxy = proxy
    this.#ended = once(child, 'exit')
    this.#ready = Promise.race([once(child, 'message'), this.#ended])
    child.stderr.setEncoding('utf8').on('data', (text) => {
      this.said = (this.said + text).slice(-SAID_MAX)
    })
  }

  get pid() {
    return this.#child.pid
  }

  get proxy() {
    return this.#proxy
  }

  /** Ends with its exit code or its signal. */
  get ended() {
    return this.#ended.then(([code, signal]) => code ?? signal)
  }

  get isRunning() {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  async isReady() {
    await within(this.#ready, 'a worker', START_MS)
  }

  signal(name) {
    if (name === 'SIGSTOP') this.isFrozen = true
    if (name === 'SIGCONT') this.isFrozen = false
    this.#child.kill(name)
  }

  async close() {
    this.signal('SIGKILL')
    await this.#ended
    await this.#proxy.close()
  }
}

/** All of them. */
export class QueueWorkers {
  /** What ended otherwise than it should. */
  failures = []
  #place
  #ledger
  #path
  #all = new Set()
  #isClosed = false

  /**
   * @param {object} place - The queue, as for `openQueue`.
   * @param {import('./queue-ledger.js').QueueLedger} ledger
   * @param {string} path - Of the ledger.
   */
  constructor(place, ledger, path) {
    this.#place = place
    this.#ledger = ledger
    this.#path = path
  }

  /** Those that run and are not about to leave. */
  get running() {
    return [...this.#all].filter((worker) => worker.isRunning && !worker.isLeaving)
  }

  /** Starts one. */
  async add() {
    const proxy = await FlakyProxy.open(this.#place.port)
    const plan = { queue: { ...this.#place, port: proxy.port }, ledger: this.#path }
    const child = fork(SCRIPT, [JSON.stringify(plan)], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    const worker = new WorkerProcess(child, proxy)
    this.#all.add(worker)
    void worker.ended.then((ending) => this.#ended(worker, ending))
    await worker.isReady()
    return worker
  }

  /** Kills one and starts another. */
  async replace(worker) {
    this.#ledger.write('fault', 'kill', worker.pid)
    worker.isLeaving = true
    worker.signal('SIGKILL')
    await worker.ended
    await this.add()
  }

  /** Lets one leave in order. One that took another's place may not be there yet. */
  async leave(worker) {
    worker.isLeaving = true
    await worker.isReady()
    worker.signal('SIGTERM')
    const ending = await within(worker.ended, 'a worker leaves', LEAVE_MS)
    if (ending !== 0) this.failures.push(`a worker left with ${ending}: ${worker.said}`)
  }

  /** Lets all leave in order, and takes away what remains. */
  async close() {
    this.#isClosed = true
    const leaving = await Promise.allSettled(this.running.map((worker) => this.leave(worker)))
    for (const { reason } of leaving) if (reason !== undefined) this.failures.push(String(reason))
    await Promise.all([...this.#all].map((worker) => worker.close()))
  }

  /** Kills all at once, for an end that is no end of a round. */
  kill() {
    this.#isClosed = true
    for (const worker of this.#all) worker.signal('SIGKILL')
  }

  #ended(worker, ending) {
    void worker.proxy.close()
    if (worker.isLeaving || this.#isClosed) return
    // A poison command did this; anything but a kill is a bug.
    this.#ledger.write('fault', 'died', worker.pid)
    if (ending !== 'SIGKILL') this.failures.push(`a worker ended with ${ending}: ${worker.said}`)
    this.add().catch((error) => this.failures.push(`a worker did not start: ${error.message}`))
  }
}
