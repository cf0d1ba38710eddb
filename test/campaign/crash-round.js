// Crash round: one manager, its commands and the deaths of its threads. Gathers what happened; the
// judge says whether it was right.

import { setTimeout as sleep } from 'node:timers/promises'
import { commandInfo, QueueManager } from 'corelane'
import { EXIT_BASE, kindOfDeath } from './crash-kinds.js'
import { CrashLedger } from './crash-ledger.js'
import { KEYS } from './crash-plan.js'
import { comesTrue, within } from './threads.js'

/** A manager that does nothing for so long is stuck. */
const STUCK_MS = 45_000
/** Native code ends by itself; this is much more than it takes. */
const CONDEMNED_MS = 30_000
const ABORT_LOOK_MS = 3
/** What a record counts, by the last part of an event's name. */
const COUNTERS = {
  completed: 'completedEvents',
  failed: 'failedEvents',
  started: 'startedEvents',
  timeout: 'timeouts',
  dead_lettered: 'deadLettered',
}

/** What is known of one command. */
function blankRecord() {
  return {
    settled: 0,
    isDone: false,
    value: undefined,
    error: undefined,
    info: undefined,
    completedEvents: 0,
    failedEvents: 0,
    startedEvents: 0,
    /** Error codes of the runs that were followed by another. */
    retries: [],
    timeouts: 0,
    deadLettered: 0,
    /** Number of the last run, as its last event says. */
    attempt: 1,
  }
}

/** Runs a plan. */
export class CrashRound {
  records
  ledger
  stats
  letters = []
  /** Every death of a present thread: partition, kind, ms until the next was ready. */
  deaths = []
  failedPartitions = 0
  missed = 0
  /** What did not end in time, and other failures of the whole. */
  failures = []
  /** What nobody caught on the main thread. */
  thrown = []
  #plan
  #manager
  #open = 0
  #lastMs = performance.now()
  #firstId
  /** Commands to be aborted once they run. */
  #victims = new Map()

  constructor(plan) {
    this.#plan = plan
    this.records = plan.commands.map(blankRecord)
  }

  /** @param {object} native - How much native code runs into its time-out. */
  async run(native) {
    const note = (error) => this.thrown.push(String(error?.stack ?? error))
    process.on('uncaughtException', note)
    process.on('unhandledRejection', note)
    try {
      await this.#run(native)
    } finally {
      process.off('uncaughtException', note)
      process.off('unhandledRejection', note)
    }
  }

  async #run(native) {
    const { options, commands, hearsStarts, closesEarly, closesAtOnce } = this.#plan
    const shared = CrashLedger.share(commands.length, KEYS)
    this.ledger = new CrashLedger(shared)
    this.#manager = QueueManager.create({
      handlers: new URL('./crash-handlers.js', import.meta.url),
      workerData: { ...shared, native, exitBase: EXIT_BASE },
      ...options,
    })
    const manager = this.#manager
    await within(manager.start(), 'start', STUCK_MS)
    const heard = this.#listen(hearsStarts)
    const aborter = setInterval(() => this.#abortVictims(), ABORT_LOOK_MS)
    try {
      await this.#submitAll()
      if (!closesEarly) await this.#settleAll(closesAtOnce)
    } catch (error) {
      this.failures.push(String(error))
    }
    this.letters = manager.deadLetters.list()
    try {
      await within(manager.close(), 'close', STUCK_MS)
      // What is settled last is heard of in a microtask.
      await sleep(1)
      await within(heard, 'the end of the events', STUCK_MS)
    } catch (error) {
      this.failures.push(String(error))
    }
    clearInterval(aborter)
    if (closesEarly) this.letters = manager.deadLetters.list()
    this.stats = manager.stats()
  }

  async #submitAll() {
    const { commands, burst, openMax } = this.#plan
    for (const command of commands) {
      this.#submit(command)
      if (command.index % burst !== burst - 1) continue
      await sleep(0)
      await this.#until(() => this.#open < openMax)
    }
  }

  /** Waits until a condition holds, as long as commands are settled. */
  async #until(holds) {
    this.#lastMs = performance.now()
    while (!holds()) {
      await sleep(1)
      if (performance.now() - this.#lastMs < STUCK_MS) continue
      const open = this.records.flatMap(({ settled }, index) => (settled === 0 ? [index] : []))
      const { partitions, lanes } = this.#manager.stats()
      const state = JSON.stringify({ partitions, lanes })
      throw new Error(`${open.length} commands do not settle: ${open.slice(0, 20)}; ${state}`)
    }
  }

  async #settleAll(closesAtOnce) {
    const manager = this.#manager
    await this.#until(() => this.#open === 0)
    await within(manager.drain(STUCK_MS), 'drain', STUCK_MS)
    const areGone = () => manager.stats().partitions.every(({ terminating }) => terminating === 0)
    if (!(await comesTrue(areGone, CONDEMNED_MS))) {
      this.failures.push('threads that were given up did not end')
    }
    if (closesAtOnce) return
    const areReady = () => manager.stats().partitions.every(({ state }) => state === 'ready')
    if (!(await comesTrue(areReady, CONDEMNED_MS))) {
      const states = manager.stats().partitions.map(({ state }) => state)
      this.failures.push(`partitions are not ready in the end: ${states}`)
    }
  }

  #submit({ index, kind, type, lane, payload, options, isDetailed }) {
    const record = this.records[index]
    let all = options
    if (kind?.isKilled) {
      const controller = new AbortController()
      this.#victims.set(index, controller)
      all = { ...options, signal: controller.signal, kill: true }
    }
    this.#open++
    const settle = (isDone, value, error, info) => {
      this.#open--
      this.#lastMs = performance.now()
      record.settled++
      Object.assign(record, { isDone, error, info })
      // Large payloads would look like a leak.
      if (isDone) record.value = value === null ? null : [value?.index, value?.text?.length]
    }
    const method = isDetailed ? 'execute' : 'submit'
    this.#manager[method](lane, type, payload, all).then(
      (given) => {
        if (!isDetailed) settle(true, given, undefined, undefined)
        else settle(given.ok, given.value, given.error, given.info)
      },
      (error) => settle(false, undefined, error, error?.[commandInfo]),
    )
  }

  #abortVictims() {
    for (const [index, controller] of this.#victims) {
      if (this.records[index].settled === 0 && this.ledger.started(index) === 0) continue
      this.#victims.delete(index)
      controller.abort(new Error(`campaign: command ${index}`))
    }
  }

  async #listen(hearsStarts) {
    const names = ['submitted', 'completed', 'failed', 'retry', 'timeout', 'dead_lettered']
    if (hearsStarts) names.push('started')
    const subscription = this.#manager.subscribe({
      events: [
        ...names.map((name) => `queue.command.${name}`),
        'queue.partition.lost',
        'queue.partition.replaced',
        'queue.partition.failed',
      ],
      capacity: 1_000_000,
    })
    const lostAt = new Map()
    for await (const event of subscription) {
      const { id, partition } = event
      if (id !== undefined) this.#hearOfCommand(event)
      else if (event.event === 'queue.partition.failed') this.failedPartitions++
      else if (event.event === 'queue.partition.lost') {
        const death = { partition, kind: kindOfDeath(event.error), error: event.error, ms: NaN }
        this.deaths.push(death)
        lostAt.set(partition, { death, atMs: event.atMs })
      } else if (lostAt.has(partition)) {
        const { death, atMs } = lostAt.get(partition)
        death.ms = event.atMs - atMs
        lostAt.delete(partition)
      }
    }
    this.missed = subscription.missed
  }

  #hearOfCommand({ event, id, attempt, error }) {
    // Commands are numbered as they are submitted.
    this.#firstId ??= Number(id)
    const record = this.records[Number(id) - this.#firstId]
    record.id = id
    record.attempt = attempt
    const name = event.slice('queue.command.'.length)
    if (name === 'retry') record.retries.push(error)
    else if (name in COUNTERS) record[COUNTERS[name]]++
  }
}
