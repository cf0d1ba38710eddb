// Mix pool: a pool of Piscina's kind, used at random from its making to its end.

import { setTimeout as sleep } from 'node:timers/promises'
import { FixedQueue, LaneTaskQueue, Piscina } from 'corelane/piscina'
import { isAskedFor } from './mix-laws.js'
import { MixLedger } from './mix-ledger.js'
import { HANDLERS, LATE } from './mix-plan.js'
import { comesTrue, within } from './threads.js'

/** Reached only by what hangs, on busy machines, too. */
const END_MS = 120_000
const LANES = { a: { priority: 0, maxConcurrency: 1 }, b: { priority: 5 } }

export class PoolRound {
  broken = new Set()
  #random
  #pool
  #hasLanes
  #open = new Map()
  #count = 0

  constructor(random) {
    this.#random = random
    const queue = random.oneOf([undefined, undefined, FixedQueue, LaneTaskQueue, 'balancer'])
    this.#hasLanes = queue === undefined
    this.#pool = new Piscina({
      filename: HANDLERS.href,
      workerData: new MixLedger().buffer,
      minThreads: random.below(2),
      maxThreads: random.between(1, 3),
      idleTimeout: random.oneOf([0, 10, 10_000]),
      ...(random.percent(30) ? { execArgv: ['--import', LATE] } : {}),
      maxQueue: random.oneOf([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 'auto', 5]),
      concurrentTasksPerWorker: random.oneOf([1, 1, 4]),
      recordTiming: random.percent(50),
      stricterFIFO: random.percent(50),
      closeTimeout: END_MS,
      ...(this.#hasLanes ? { lanes: LANES } : {}),
      ...(typeof queue === 'function' ? { taskQueue: new queue() } : {}),
      ...(queue === 'balancer' ? { loadBalancer: this.#balance } : {}),
    })
    this.#pool.on('error', (error) => this.#look('an error event', error))
  }

  get calls() {
    return this.#count
  }

  async run() {
    const random = this.#random
    await this.#runFor(random.between(30, 150))
    if (random.percent(30)) {
      await this.#ends('destroy', this.#pool.destroy())
      await this.#runFor(20)
    }
    const ending = random.percent(50) ? this.#pool.close({ force: random.percent(50) }) : undefined
    if (random.percent(30)) this.#run()
    await this.#ends('ending', ending ?? this.#pool.destroy())
    const isSettled = await comesTrue(() => this.#open.size === 0, END_MS)
    if (!isSettled) this.broken.add(`unsettled tasks: ${[...this.#open.values()].join(', ')}`)
    const { queueSize, threads } = this.#pool
    if (queueSize !== 0) this.broken.add(`${queueSize} tasks wait in a pool that has ended`)
    if (threads.length > 0) this.broken.add(`${threads.length} threads are left of a pool`)
  }

  async #runFor(turns) {
    const random = this.#random
    for (let turn = 0; turn < turns; turn++) {
      for (let left = random.between(1, 8); left > 0; left--) this.#run()
      await sleep(random.oneOf([0, 1, 10]))
    }
  }

  #balance = (_task, workers) => {
    const free = workers.filter(({ currentUsage }) => currentUsage < 1)
    return this.#random.percent(5) || free.length === 0 ? null : this.#random.oneOf(free)
  }

  #run() {
    const random = this.#random
    const number = random.below(1_000_000)
    const ms = random.oneOf([0, 1, 15])
    const is = (value) => value === number
    const [name, task, isRight] = random.oneOf([
      ['echo', number, is],
      ['echo', { number }, (value) => is(value.number)],
      ['busy', ms, (value) => value === ms],
      ['block', ms, (value) => value === ms],
      ['nap', ms, (value) => value === ms],
      ['fail', 1, () => false],
      ['failOddly', random.below(4), () => false],
      ['uncloneable', 1, () => false],
      ['circular', number, (value) => is(value.payload)],
      ['bytes', 300_000, ({ length }) => length === 300_000],
      [random.percent(20) ? 'exit' : 'echo', number, is],
    ])
    const options = { name }
    if (random.percent(15)) options.signal = this.#signal()
    if (this.#hasLanes && random.percent(30)) options.lane = random.oneOf(['a', 'b'])
    if (this.#hasLanes && random.percent(15)) options.timeoutMs = random.oneOf([5, 1_000])
    if (random.percent(15)) options.key = random.oneOf(['k1', 'k2'])
    const place = ++this.#count
    this.#open.set(place, name)
    this.#pool.run(task, options).then(
      (value) => {
        this.#open.delete(place)
        if (!isRight(value)) this.broken.add(`task ${name} gave what it should not`)
      },
      (error) => {
        this.#open.delete(place)
        this.#look(`task ${name}`, error)
      },
    )
  }

  #signal() {
    const controller = new AbortController()
    const ms = this.#random.oneOf([0, 1, 10])
    if (ms === 0) queueMicrotask(() => controller.abort())
    else setTimeout(() => controller.abort(), ms)
    return controller.signal
  }

  /** Piscina's own errors are plain, or those of Node's ports. */
  #look(what, error) {
    const isPlain = error?.constructor === Error || error?.name === 'DataCloneError'
    if (isPlain || isAskedFor(error, false)) return
    this.broken.add(`${what} failed with ${error?.stack ?? error}`)
  }

  async #ends(what, ending) {
    try {
      await within(ending, what, END_MS)
    } catch (error) {
      this.broken.add(`${what}: ${error?.message}`)
    }
  }
}
