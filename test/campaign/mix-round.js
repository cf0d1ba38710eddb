// Mix round: one manager from its making to its end, used at random, and then judged.

import { getEventListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { QueueManager } from 'corelane'
import { countsBroken, Epochs, isAskedFor, runsBroken, statsBroken } from './mix-laws.js'
import { LANES, MixLedger, ORDERED_KEYS } from './mix-ledger.js'
import { HANDLERS, MixPlan, MODULES } from './mix-plan.js'
import { comesTrue, within } from './threads.js'

/** Reached only by what hangs, on busy machines, too. */
const END_MS = 120_000
/** Ends when its manager does. */
const EVENTS = 'events'

export class MixRound {
  broken = new Set()
  #random
  #plan
  #options
  #manager
  #ledger = new MixLedger()
  #proxy
  #acts
  /** Threads end. */
  #isClosing = false
  /** An act is under way that a callback has asked for. */
  #isActing = false
  #open = new Map()
  #count = 0
  /** By command, if events are counted. */
  #events
  /** By command, of those that have one. */
  #groups = new Map()
  #slots
  #rates

  constructor(random) {
    this.#random = random
    this.#plan = new MixPlan(random, this.#maybeAct)
    this.#options = this.#plan.manager(this.#ledger.buffer)
    const { maxConcurrency, rateLimit } = this.#options.lanes.narrow
    this.#slots = new Epochs(maxConcurrency)
    this.#rates = new Epochs(rateLimit)
    this.#manager = new QueueManager(this.#options)
    this.#proxy = this.#manager.handlers()
    this.#acts = this.#makeActs()
  }

  get calls() {
    return this.#count
  }

  async run() {
    const random = this.#random
    const manager = this.#manager
    if (random.percent(50)) this.#countEvents()
    if (random.percent(50)) this.#track('start', manager.start())
    if (random.percent(50)) this.#track(EVENTS, this.#read(manager.subscribe(), 10_000))
    if (random.percent(20)) this.#track(EVENTS, this.#lookAtEach(manager.subscribe()))
    this.#track(EVENTS, manager.closed)
    await this.#actFor(random.between(20, 100))
    if (random.percent(30)) {
      await this.#comeToRest()
      await this.#actFor(random.between(10, 40))
    }
    const closing = random.percent(8) ? this.#close() : undefined
    if (random.percent(30)) {
      manager.shutdown()
      await this.#actFor(10)
    }
    if (random.percent(10)) this.#track('short drain', manager.drain(1))
    if (random.percent(90) && closing === undefined)
      await this.#ends('drain', manager.drain(END_MS))
    await this.#ends('close', within(closing ?? this.#close(), 'close', END_MS))
    if (!(await comesTrue(() => this.#open.size === 0, END_MS))) this.#break(this.#unsettled)
    this.#judge()
  }

  #close() {
    this.#isClosing = true
    return this.#manager.close()
  }

  /** @param turns - How many turns of the event loop; a plan by time would be empty under load. */
  async #actFor(turns) {
    const random = this.#random
    for (let turn = 0; turn < turns; turn++) {
      for (let left = random.between(1, 6); left > 0; left--) random.oneOf(this.#acts)()
      await sleep(random.oneOf([0, 0, 1, 5]))
    }
  }

  /** Does something from inside a callback of the manager's, now and then. */
  #maybeAct = () => {
    const random = this.#random
    if (this.#isActing || this.#acts === undefined || !random.percent(5)) return
    this.#isActing = true
    try {
      random.oneOf(this.#acts)()
    } finally {
      this.#isActing = false
    }
  }

  /** Lets everything end that was begun, before the manager is told to end. */
  async #comeToRest() {
    const manager = this.#manager
    const broken = () => {
      const isOpen = [...this.#open.values()].some((what) => what !== EVENTS)
      return isOpen ? [this.#unsettled] : [...statsBroken(manager.stats())]
    }
    if (!(await comesTrue(() => broken().length === 0, END_MS)))
      for (const law of broken()) this.#break(`at rest ${law}`)
    for (const lane of LANES) {
      await this.#ends('room', within(manager.room(lane), `room in ${lane}`, END_MS))
    }
  }

  #judge() {
    const { isGentle, hasMetrics, sharedSignals } = this.#plan
    const stats = this.#manager.stats()
    const facts = {
      plan: this.#options,
      slots: this.#slots,
      rates: this.#rates,
      groups: this.#groups,
    }
    const metrics = hasMetrics ? this.#manager.metrics.snapshot() : undefined
    for (const law of statsBroken(stats)) this.#break(law)
    for (const law of runsBroken(this.#ledger, isGentle, facts)) this.#break(law)
    const { runs } = this.#ledger
    for (const law of countsBroken(stats, runs, this.#events, metrics)) this.#break(law)
    for (const signal of sharedSignals) {
      if (getEventListeners(signal, 'abort').length > 0) this.#break('a signal keeps a listener')
    }
  }

  #break(law) {
    this.broken.add(law)
  }

  get #unsettled() {
    return `unsettled: ${[...this.#open.values()].join(', ')}`
  }

  async #ends(what, ending) {
    try {
      await ending
    } catch (error) {
      this.#break(`${what}: ${error?.message}`)
    }
  }

  #countEvents() {
    const manager = this.#manager
    this.#events = new Map()
    const count =
      (name) =>
      ({ id, group }) => {
        const counts = this.#events.get(id) ?? { submitted: 0, ended: 0 }
        counts[name]++
        this.#events.set(id, counts)
        if (group !== undefined) this.#groups.set(id, group)
        this.#maybeAct()
      }
    manager.on('queue.command.submitted', count('submitted'))
    manager.on('queue.command.completed', count('ended'))
    manager.on('queue.command.failed', count('ended'))
  }

  #makeActs() {
    const random = this.#random
    const manager = this.#manager
    const plan = this.#plan
    const lane = () => random.oneOf(LANES)
    const submit = () => {
      const [type, payload, isRight] = plan.work()
      const file = random.percent(10) && type !== 'gained' ? { file: HANDLERS } : {}
      const given = { ...plan.command(), ...file }
      const call = random.below(10)
      if (call === 0) {
        const outcome = manager.execute(lane(), type, payload, given)
        this.#track(type, outcome.then(resultOf), isRight)
      } else if (call === 1) {
        this.#track(type, manager.run(type, payload, { ...given, lane: lane() }), isRight)
      } else if (call === 2) {
        this.#track(type, this.#proxy[type]?.(payload, { ...given, lane: lane() }))
      } else this.#track(type, manager.submit(lane(), type, payload, given), isRight)
    }
    const acts = []
    /** An act, so many times as likely; in some rounds never, or more often. */
    const add = (times, act) => {
      for (let left = times * random.oneOf([0, 1, 1, 3]); left > 0; left--) acts.push(act)
    }
    let isChanging = false
    const change = (epochs, value, call) => {
      // Lets commands start, which calls their getters.
      if (isChanging) return
      isChanging = true
      try {
        epochs.change(value, () => call(manager.lane('narrow')))
      } catch (error) {
        // A limit that the lane was made without, or that this plan does not allow.
        if (error.code !== 'CORELANE_INVALID_OPTION') throw error
      } finally {
        isChanging = false
      }
    }
    for (let left = 100; left > 0; left--) acts.push(submit)
    add(10, () => {
      const { key, ...options } = plan.command()
      const type = random.oneOf(['echo', 'nap', 'fail'])
      const payloads = [1, 2, 3, 4, 5]
      const isRight = (values) => values.every((value, i) => value === payloads[i])
      this.#track('submitMany', manager.submitMany(lane(), type, payloads, options), isRight)
    })
    add(10, () => {
      const { retry, ...options } = plan.command()
      const type = random.oneOf(['later', 'numbers'])
      const isRight = (values) =>
        values.every((value, i) => (type === 'numbers' ? value === i : value.length === i % 700))
      const stream = manager.stream(lane(), type, random.oneOf([60, 3_000]), options)
      this.#track('stream', this.#read(stream, 30), isRight)
    })
    add(10, () => {
      const ordered = random.percent(70)
      const settle = random.percent(50)
      const more = random.percent(50) ? plan.command() : {}
      const options = { ...more, concurrency: random.between(1, 8), ordered, settle }
      const type = random.oneOf(['echo', 'nap', 'fail'])
      const payloads = Array.from({ length: 20 }, (_, i) => i)
      const inputsOf = (values) => values.map((value) => value.input ?? value)
      const isRight = (values) =>
        ordered
          ? inputsOf(values).every((input, i) => input === i)
          : new Set(inputsOf(values)).size === values.length
      this.#track('map', this.#read(manager.map(lane(), type, payloads, options), 10), isRight)
    })
    add(5, () => {
      if (!plan.isKeyed) return
      const key = random.oneOf(ORDERED_KEYS)
      const options = { key, retry: { retries: 0 } }
      const one = lane()
      for (let left = random.between(2, 8); left > 0; left--) {
        const more = random.percent(20) ? { startWithinMs: random.oneOf([1, 50]) } : {}
        const payload = random.oneOf([1, 10, 'x'.repeat(30_000)])
        const type = typeof payload === 'number' ? random.oneOf(['nap', 'busy']) : 'echo'
        this.#track('ordered', manager.submit(one, type, payload, { ...options, ...more }))
      }
    })
    add(3, () => {
      const options = random.percent(30) ? { sticky: true } : {}
      this.#track('broadcast', manager.broadcast(random.oneOf(['echo', 'nap']), 1, options))
    })
    add(1, () => this.#track('reload', manager.reload(random.oneOf(MODULES))))
    add(3, () => {
      const { buffer } = new Uint8Array(1_000)
      const options = { transferList: [buffer], retry: { retries: 0 } }
      this.#track('move', manager.submit(lane(), 'echo', buffer, options))
    })
    add(1, () => {
      const profile = manager.profilePartition(random.below(3), { durationMs: 10 })
      this.#track('profile', profile)
    })
    add(1, () => manager.deadLetters.purge())
    add(3, () => this.#track('redrive', manager.deadLetters.redriveAll()))
    add(3, () => {
      const one = manager.lane(lane())
      one.pause()
      setTimeout(() => one.resume(), random.oneOf([0, 1, 20, 100]))
    })
    add(3, () => {
      const slots = random.between(1, 3)
      change(this.#slots, slots, (narrow) => narrow.setConcurrency(slots))
    })
    add(2, () => {
      const limit = random.percent(20) ? 1 : random.between(5, 55)
      const terms = { limit, windowMs: random.oneOf([20, 50]) }
      const value = { ...this.#options.lanes.narrow.rateLimit, ...terms }
      change(this.#rates, value, (narrow) => narrow.setRateLimit(terms))
    })
    add(3, () => this.#track('room', manager.room(lane())))
    add(10, () => {
      manager.stats()
      manager.metrics?.snapshot()
      if (random.percent(10)) manager.metrics?.delta(manager.metrics.snapshot())
      Object.keys(this.#proxy)
    })
    // Seldom: a thread that is started anew takes as long as many commands.
    const die = (type, options) => () => {
      if (random.percent(25)) this.#track(type, manager.submit(lane(), type, 1, options))
    }
    if (!plan.isGentle) {
      add(1, die('exit'))
      add(1, die('loop', { timeoutMs: 20 }))
      add(1, die('floating'))
      if (plan.hasHeapLimit) add(1, die('hoard', { timeoutMs: 2_000 }))
    }
    return acts
  }

  /** Reads to the end, or leaves before it. */
  async #read(items, most) {
    const values = []
    let left = this.#random.percent(50) ? this.#random.below(most) : Number.POSITIVE_INFINITY
    for await (const value of items) {
      if (left-- <= 0) break
      values.push(value)
    }
    return values
  }

  /** Reads statistics at each event. */
  async #lookAtEach(events) {
    for await (const _ of events) {
      this.#manager.stats()
      this.#manager.metrics?.snapshot()
    }
  }

  #track(what, promise, isRight = () => true) {
    const number = ++this.#count
    this.#open.set(number, what)
    Promise.resolve(promise).then(
      (value) => {
        this.#open.delete(number)
        if (!isRight(value)) this.#break(`${what} gave what it should not`)
      },
      (error) => {
        this.#open.delete(number)
        if (isAskedFor(error, this.#plan.isGentle && !this.#isClosing)) return
        this.#break(`${what} failed with ${error?.stack ?? error}`)
      },
    )
  }
}

function resultOf({ ok, value, error }) {
  if (ok) return value
  throw error
}
