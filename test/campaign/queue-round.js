// Queue round: one queue under load and under faults, until every command has ended.

import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FlakyProxy } from '../support/flaky-proxy.js'
import { inflict } from './queue-faults.js'
import { QueueLedger } from './queue-ledger.js'
import { addGarbage, envelopeOf, openQueue, openSubmitter } from './queue-parts.js'
import { CommandSource, WORKERS } from './queue-plan.js'
import { QueueWorkers } from './queue-workers.js'
import { comesTrue } from './threads.js'

/** Nothing may take longer than this, whatever happened before. */
const STUCK_MS = 45_000
/** Commands that must come through after a fault before the next one. */
const PROGRESS = 5
const GAP_MS = 250
const LOOK_MS = 150
const RETRY_MS = 50

/** Runs one. */
export class QueueRound {
  violations = []
  ledger
  workers
  redis
  random
  leaseMs
  /** Commands by index, as planned; what became of them is added. */
  commands
  faults
  lines = []
  garbage = 0
  counts
  dead
  #place
  #path
  #admin
  #name = `round-${randomUUID().slice(0, 8)}`
  #source
  #settled = 0
  #hasEnded = false
  #isOver = false
  #isStuck = false
  /** The campaign's own connections: for results through a proxy, for the rest without. */
  #proxy
  #queue
  #submitterQueue
  #submitter
  #looked = new Set()
  #openMax

  /**
   * @param {{ random: object, setting: object, faults: string[], leaseMs: number,
   * openMax: number }} plan
   * @param {object} redis - A `RedisProcess`.
   * @param {object} admin - A client of it that reconnects.
   * @param {string} folder - For the ledger.
   */
  constructor({ random, setting, faults, leaseMs, openMax }, redis, admin, folder) {
    this.random = random
    this.leaseMs = leaseMs
    this.#openMax = openMax
    this.redis = redis
    this.#admin = admin
    this.faults = faults
    this.#path = join(folder, this.#name)
    this.ledger = new QueueLedger(this.#path)
    this.#source = new CommandSource(random, setting)
    this.commands = this.#source.commands
    this.#place = { port: redis.port, name: this.#name, leaseMs, ...setting }
    this.workers = new QueueWorkers(this.#place, this.ledger, this.#path)
  }

  /** Commands that have not ended. */
  get open() {
    return this.commands.length - this.#settled
  }

  async run() {
    this.#proxy = await FlakyProxy.open(this.redis.port)
    this.#queue = await openQueue(this.#place)
    this.#submitterQueue = await openQueue({ ...this.#place, port: this.#proxy.port })
    this.#submitter = await openSubmitter(this.#submitterQueue)
    await Promise.all(Array.from({ length: WORKERS }, () => this.workers.add()))
    const load = this.#load()
    const looks = this.#lookAll()
    const watch = this.#watch()
    try {
      for (const kind of this.faults) await this.#inflict(kind)
    } catch (error) {
      this.#violate('the round comes to its end', error.stack ?? error)
    }
    this.#hasEnded = true
    await load
    await this.#settleAll()
    await looks
    this.#isOver = true
    await watch
    await this.#close()
  }

  /** A Redis that is too slow for its leases is a fault that hits every process. */
  async #watch() {
    for (; !this.#isOver; await sleep(LOOK_MS)) {
      const startMs = performance.now()
      await this.#admin.ping().catch(() => {})
      const tookMs = performance.now() - startMs
      if (tookMs > this.leaseMs / 2) this.ledger.write('stall', Math.round(tookMs), 0)
    }
  }

  /** A worker that a fault can be done to. */
  anyWorker() {
    return this.random.oneOf(this.workers.running.filter(({ isFrozen }) => !isFrozen))
  }

  /** One end of a connection through a proxy: a worker's or the submitter's. */
  anyEnd() {
    if (this.random.percent(30)) return { pid: process.pid, proxy: this.#proxy }
    return this.anyWorker()
  }

  /** Cuts every connection but the campaign's own. */
  async killClients() {
    for (const type of ['normal', 'pubsub']) {
      await this.#admin.sendCommand(['CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes'])
    }
  }

  async addGarbage() {
    await addGarbage(this.#admin, this.#place, this.random)
    this.garbage++
  }

  /** Submits a command of a type of its own and waits until it has ended. */
  async submitOne(type) {
    const command = this.#submit(type)
    if (!(await comesTrue(() => command.ended !== undefined, STUCK_MS))) {
      this.#violate('every command ends', `${type} ${command.index} does not`)
    }
  }

  #violate(law, what, index) {
    this.violations.push({ law, what, index })
  }

  async #inflict(kind) {
    await inflict(kind, this)
    const settled = this.#settled
    if (!(await comesTrue(() => this.#settled >= settled + PROGRESS, STUCK_MS))) {
      throw new Error(`no command comes through within ${STUCK_MS} ms after: ${kind}`)
    }
    await sleep(this.random.below(GAP_MS))
  }

  async #load() {
    while (!this.#hasEnded) {
      while (this.open < this.#openMax) this.#submit()
      await sleep(2)
    }
  }

  #submit(type) {
    const command = this.#source.next(type)
    if (command.road === 'queue') void this.#enqueue(command)
    else void this.#submitAndWait(command)
    return command
  }

  async #submitAndWait(command) {
    const { lane, type, index, us, key } = command
    command.id = `${this.#name}-${index}`
    const options = { id: command.id, key: key === undefined ? undefined : `key-${key}` }
    try {
      const outcome = await this.#submitter.execute(lane, type, { index, us }, options)
      command.partitionId = outcome.info.partition
      this.#end(command, { success: outcome.ok, value: outcome.value, error: outcome.error })
    } catch (error) {
      this.#violate('what is submitted is accepted', error.stack, index)
      this.#end(command, { success: false, error })
    }
  }

  /** Enqueues a command until the queue says that it has it. From then on it must not be lost. */
  async #enqueue(command) {
    const envelope = envelopeOf(`${this.#name}-${command.index}`, command, this.#queue)
    command.id = envelope.id
    command.partitionId = envelope.partitionId
    while (!this.#isStuck) {
      try {
        await this.#queue.enqueueMany([envelope])
        break
      } catch {
        await sleep(RETRY_MS)
      }
    }
    this.#looked.add(command)
  }

  /** Looks for the results of the commands that nobody announces. */
  async #lookAll() {
    const until = () => this.#hasEnded && this.open === 0
    while (!until() && !this.#isStuck) {
      await sleep(LOOK_MS)
      const asked = [...this.#looked]
      if (asked.length === 0) continue
      const references = asked.map(({ id, partitionId }) => ({ commandId: id, partitionId }))
      let states
      try {
        states = await this.#queue.look(references)
      } catch {
        continue
      }
      for (const [at, state] of states.entries()) {
        const command = asked[at]
        if (state.state === 'pending') continue
        this.#looked.delete(command)
        if (state.state === 'ended') this.#end(command, state.result)
        else {
          this.#violate('what was acknowledged is not lost', 'the queue forgot it', command.index)
          this.#end(command, { success: false })
        }
      }
    }
  }

  #end(command, { success, value, error }) {
    command.ended = (command.ended ?? 0) + 1
    Object.assign(command, { success, value, error })
    this.#settled++
  }

  async #settleAll() {
    if (await comesTrue(() => this.open === 0, STUCK_MS)) return
    this.#isStuck = true
    const open = this.commands.filter(({ ended }) => ended === undefined)
    const some = open.slice(0, 5).map(({ index, type }) => `${type} ${index}`)
    this.#violate('every command ends', `${open.length} do not, among them ${some}`)
  }

  async #close() {
    // What ends last is still being written down by its worker.
    await this.workers.close()
    for (const failure of this.workers.failures)
      this.#violate('workers end as they should', failure)
    try {
      this.counts = await this.#queue.counts()
      this.dead = await this.#queue.dead.list(1_000)
      await this.#recheck()
    } catch (error) {
      this.#violate('the queue tells what it has in the end', error.stack)
    }
    await this.#submitter.close()
    await this.#submitterQueue.close()
    await this.#queue.close()
    await this.#proxy.close()
    this.ledger.close()
    this.lines = QueueLedger.read(this.#path)
  }

  /** What the queue has on record must be what its submitter was told. */
  async #recheck() {
    const known = this.commands.filter(({ partitionId }) => partitionId !== undefined)
    for (let at = 0; at < known.length; at += 1_000) {
      const some = known.slice(at, at + 1_000)
      const references = some.map(({ id, partitionId }) => ({ commandId: id, partitionId }))
      for (const [i, state] of (await this.#queue.look(references)).entries()) {
        some[i].record = state.state === 'ended' ? state.result : state.state
      }
    }
  }
}
