// Worker session: one `corelane worker`, from its start to its exit code.
// Owns: the process's standard streams and its signals while it runs.

import { nowMs, timers } from '../base/clock.ts'
import { type Arrival, endBySignal, isRepeated } from '../base/ending.ts'
import {
  type Dashboard,
  type LeasedQueue,
  type QueueIncident,
  type QueueManager,
  WorkerPool,
} from '../index.ts'
import { EXIT_FAILED, EXIT_OK, EXIT_USAGE } from './command-line.ts'
import { failureText } from './json-value.ts'
import { LineWriter } from './line-writer.ts'
import { openQueue, placeOf, type QueueFlags } from './queue-flags.ts'
import { type EndSignal, SIGNALS } from './results-apart.ts'

/** How often a worker that npx started looks whether its parent is still there. */
const PARENT_CHECK_MS = 500

export interface WorkerPlan {
  /** Where the queue is. */
  readonly url: string
  readonly queue: QueueFlags
  /** Names of the lanes to take; undefined for all. */
  readonly lanes: readonly string[] | undefined
  readonly leaseMs: number | undefined
  /** How long a drain may take, in milliseconds. */
  readonly drainMs: number
  /** Where to serve a dashboard; undefined for nowhere. */
  readonly dashboardPort: number | undefined
  /** Whether printed errors have their stacks. */
  readonly withStack: boolean
}

/** Runs commands of a queue until a signal comes. */
export class WorkerSession {
  readonly #manager: QueueManager
  readonly #plan: WorkerPlan
  readonly #notices: LineWriter
  /** Resolves at the first signal. */
  readonly #stopped: Promise<void>
  #stop: () => void = () => {}
  #isStopped = false
  #first: Arrival | undefined
  #hasFailed = false
  #pool: WorkerPool | undefined
  #dashboard: Dashboard | undefined
  #lastIncident: string | undefined

  /** @param manager - Not started yet; closed in the end. */
  constructor(manager: QueueManager, plan: WorkerPlan) {
    const { stderr } = process
    // Output of handlers is piped to the process's stdout; here it belongs among the notices.
    Object.defineProperty(process, 'stdout', { configurable: true, get: () => stderr })
    this.#manager = manager
    this.#plan = plan
    this.#notices = new LineWriter(stderr, () => {})
    this.#stopped = new Promise((resolve) => {
      this.#stop = resolve
    })
  }

  /** @returns The exit code. */
  async run(): Promise<number> {
    for (const name of SIGNALS) process.on(name, this.#interrupt)
    const unwatch = this.#watchNpx()
    let queue: LeasedQueue | undefined
    try {
      try {
        queue = await this.#start()
      } catch (error) {
        this.#log(failureText(error, this.#plan.withStack))
        return EXIT_USAGE
      }
      await this.#stopped
      await this.#drain()
    } finally {
      await this.#close(queue)
      for (const name of SIGNALS) process.off(name, this.#interrupt)
      unwatch()
    }
    return this.#hasFailed ? EXIT_FAILED : EXIT_OK
  }

  async #start(): Promise<LeasedQueue> {
    const { url, queue: flags, leaseMs, lanes, dashboardPort: port } = this.#plan
    const queue = await openQueue(url, flags, {
      leaseMs,
      onIncident: ({ kind, detail }) => this.#sayOnce(`${kind}: ${detail}`),
    })
    try {
      if (port !== undefined) this.#dashboard = await this.#manager.serveDashboard({ port, queue })
      const pool = new WorkerPool(queue, this.#manager, {
        lanes,
        onIncident: (incident) => this.#hear(incident),
      })
      await pool.start()
      this.#pool = pool
    } catch (error) {
      await queue.close()
      throw error
    }
    const { strategy, numPartitions, workerId } = queue
    const what = `${numPartitions} partitions, ${strategy}`
    this.#log(`${workerId} takes commands of ${flags.name} (${what}) at ${placeOf(url)}`)
    if (this.#dashboard !== undefined) this.#log(`dashboard: ${this.#dashboard.url}`)
    return queue
  }

  async #drain(): Promise<void> {
    try {
      await this.#pool!.drain(this.#plan.drainMs)
    } catch (error) {
      // Commands that still run are ended and given back: other workers run them.
      this.#log(failureText(error, this.#plan.withStack))
    }
  }

  async #close(queue: LeasedQueue | undefined): Promise<void> {
    const parts = [this.#pool, this.#dashboard, this.#manager, queue]
    for (const part of parts) {
      try {
        await part?.close()
      } catch (error) {
        this.#hasFailed = true
        this.#log(failureText(error, this.#plan.withStack))
      }
    }
    if (this.#pool !== undefined) this.#sum(this.#pool)
    await this.#notices.finish()
  }

  #sum(pool: WorkerPool): void {
    const { completed, failed, retried, deadLettered, returned, lost } = pool.stats()
    const again = `${retried} to be run again, ${returned} given back unstarted, ${lost} leases lost`
    this.#log(`${completed} completed, ${failed + deadLettered} failed, ${again}`)
  }

  #hear({ what, error, commandIds, laneIds }: QueueIncident): void {
    const count = commandIds === undefined ? '' : `: ${commandIds.length} commands`
    const which = laneIds === undefined ? count : `: ${laneIds.join(', ')}`
    const why = error === undefined ? '' : `: ${failureText(error, this.#plan.withStack)}`
    this.#sayOnce(`${what}${which}${why}`)
  }

  /** The same thing over and over is said once. */
  #sayOnce(text: string): void {
    if (text === this.#lastIncident) return
    this.#lastIncident = text
    this.#log(text)
  }

  readonly #interrupt = (name: EndSignal): void => {
    if (isRepeated(this.#first, name)) return
    if (this.#isStopped) endBySignal(name)
    this.#first = { signal: name, atMs: nowMs() }
    this.#finishAfter(name)
  }

  /**
   * npx ends at a signal, and passes it to the shell between, but not to this process: that gets
   * another parent. It is the first signal then.
   *
   * @returns Ends it.
   */
  #watchNpx(): () => void {
    if (process.env.npm_command !== 'exec') return () => {}
    const parent = process.ppid
    const timer = timers.setInterval(() => {
      if (process.ppid === parent) return
      timers.clearInterval(timer)
      if (!this.#isStopped) this.#finishAfter('npx has ended')
    }, PARENT_CHECK_MS)
    return () => timers.clearInterval(timer)
  }

  #finishAfter(reason: string): void {
    this.#isStopped = true
    this.#log(`${reason}: finishing what runs; a second signal ends at once`)
    this.#stop()
  }

  #log(text: string): void {
    this.#notices.write(`corelane: ${text}`)
  }
}
