// Mix campaign: uses everything that a manager offers at once and at random, and holds what comes
// of it against four laws.
//
//   npm run test:fault -- mix                 200 rounds of two seconds, a seed from the clock
//   npm run test:fault -- mix --seed 7 --rounds 20
//   npm run test:fault -- mix --seed 7 --round 12      that round alone, as it was
//
// A round makes a manager with lanes, limits, bounds and threads of chance; for a second it submits
// commands of all kinds with options of all kinds, in batches, streams and maps, broadcasts,
// reloads, pauses lanes and changes their limits; then it drains or shuts down, and closes, or
// closes at once. The laws: drain and close end in time, every promise settles, statistics come
// back to zero, nothing is thrown outside of a promise, and where no thread is made to die no two
// commands of a key run at once. Exits with 1 if a law was broken, and prints the seed and the
// round.

import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { QueueManager, QueueMetrics } from 'corelane'
import { Generator } from './generator.js'
import { Watchdog, within } from './threads.js'

const ROUNDS = 200
/** Reached only by what hangs, on busy machines, too. */
const END_MS = 60_000
const HANDLERS = new URL('./mix-handlers.js', import.meta.url)
/** The same module, loaded anew. */
const AGAIN = new URL('./mix-handlers.js?again', import.meta.url)
const LANES = ['plain', 'narrow', 'timed', 'bounded']

function readOptions() {
  const number = { type: 'string', default: '0' }
  const round = { type: 'string', default: '-1' }
  const { values } = parseArgs({ options: { seed: number, rounds: number, round } })
  for (const [name, text] of Object.entries(values)) {
    if (Number.isInteger(Number(text))) continue
    throw new Error(`--${name} is ${text}; allowed: an integer`)
  }
  return {
    seed: Number(values.seed) || (Date.now() % 1_000_000) + 1,
    rounds: Number(values.rounds) || ROUNDS,
    only: Number(values.round),
  }
}

/** One manager from its making to its end. */
class MixRound {
  broken = []
  #random
  #manager
  #isKeyed
  /** No thread is made to die. */
  #isGentle
  /** Word 0 counts commands that ran beside another of their key; the others are the handlers'. */
  #words = new Int32Array(new SharedArrayBuffer(16))
  #open = new Map()
  #count = 0

  constructor(seed) {
    this.#random = new Generator(seed)
    this.#isGentle = this.#random.percent(40)
    this.#manager = new QueueManager(this.#options())
  }

  get commands() {
    return this.#count
  }

  async run() {
    const random = this.#random
    const manager = this.#manager
    const acts = this.#acts()
    const untilMs = performance.now() + random.between(400, 1_600)
    if (random.percent(50)) this.#track('start', manager.start())
    if (random.percent(50)) this.#track('events', this.#read(manager.subscribe(), 10_000))
    while (performance.now() < untilMs) {
      for (let left = random.between(1, 6); left > 0; left--) random.oneOf(acts)()
      await sleep(random.oneOf([0, 0, 1, 5]))
    }
    for (const lane of LANES) setTimeout(() => manager.lane(lane).resume(), 120)
    if (random.percent(50)) void manager.shutdown()
    if (random.percent(90)) await this.#ends('drain', manager.drain(END_MS))
    await this.#ends('close', within(manager.close(), 'close', END_MS))
    for (let turns = 0; this.#open.size > 0 && turns < 500; turns++) await sleep(10)
    if (this.#open.size > 0) this.broken.push(`unsettled: ${[...this.#open.values()].join(', ')}`)
    const beside = this.#words[0]
    if (this.#isGentle && beside > 0) this.broken.push(`${beside} ran beside one of their key`)
    for (const [name, { queued, running, unsettled }] of Object.entries(manager.stats().lanes)) {
      if (queued + running + unsettled === 0) continue
      this.broken.push(`lane ${name}: ${queued} queued, ${running} running, ${unsettled} unsettled`)
    }
  }

  async #ends(what, ending) {
    try {
      await ending
    } catch (error) {
      this.broken.push(`${what}: ${error?.message}`)
    }
  }

  #options() {
    const random = this.#random
    const strategy = random.oneOf(['balanced', 'hash', 'roundRobin', 'single'])
    this.#isKeyed = strategy === 'hash' || strategy === 'single'
    const isElastic = strategy === 'balanced' && random.percent(30)
    const threads = isElastic
      ? { min: 0, max: 2, idleTimeoutMs: 20 }
      : { count: random.between(1, 3) }
    const maybe = (chance, more) => (random.percent(chance) ? more : {})
    const algorithm = random.oneOf(['token-bucket', 'token-bucket', 'sliding-window'])
    const scope = random.oneOf(['global', 'global', 'partition'])
    const rateLimit = { limit: random.between(5, 55), windowMs: 50, algorithm, scope }
    const retry = {
      retries: random.below(3),
      delayMs: random.below(20),
      retryTimeouts: random.percent(50),
      retryLost: random.percent(50),
    }
    return {
      handlers: HANDLERS,
      workerData: this.#words,
      lanes: {
        plain: { priority: 0, ...maybe(30, { minConcurrency: 1, pressureThreshold: 3 }) },
        narrow: {
          priority: 1,
          maxConcurrency: random.between(1, 2),
          ...maybe(50, { rateLimit }),
          ...maybe(20, { groupConcurrency: 1, groupWeights: { g1: 3 } }),
          ...maybe(20, { groupRateLimit: { limit: 5, windowMs: 50 } }),
        },
        timed: {
          priority: 2,
          timeoutMs: 60,
          retry,
          ...maybe(30, { priorityBoost: { deadlineMs: 40, steps: [{ afterMs: 10, by: 2 }] } }),
        },
        bounded: {
          priority: 3,
          maxPending: random.between(3, 22),
          overflow: random.oneOf(['wait', 'reject']),
          ...maybe(30, { maxPendingBytes: 500_000 }),
        },
      },
      defaultLane: 'plain',
      partitions: { strategy, ...(strategy === 'single' ? {} : threads) },
      concurrencyPerPartition: random.between(1, 4),
      deadLetterCapacity: random.oneOf([0, 3, 1_000]),
      floatingRejections: random.oneOf(['event', 'end']),
      timeoutGraceMs: this.#isGentle ? 60_000 : random.oneOf([0, 50, 300]),
      ringBytes: random.oneOf([65_536, 1_048_576]),
      closeTimeoutMs: this.#isGentle ? 20_000 : 800,
      ...maybe(30, { metrics: QueueMetrics.local() }),
      ...maybe(40, { maxCommandsPerThread: random.between(5, 130) }),
      ...maybe(10, { maxHeapMb: random.oneOf([8, 20]) }),
      ...maybe(40, { maxPending: 50 }),
    }
  }

  #commandOptions() {
    const random = this.#random
    const options = {}
    const maybe = (chance, more) => {
      if (random.percent(chance)) Object.assign(options, more())
    }
    if (this.#isKeyed) maybe(50, () => ({ key: random.oneOf(['k1', 'k2', 'k3']) }))
    maybe(30, () => ({ group: random.oneOf(['g1', 'g2']) }))
    maybe(15, () => ({ timeoutMs: random.oneOf([1, 20, 80]) }))
    const retryable = () => random.percent(50)
    const more = () => (random.percent(30) ? { retryable } : {})
    maybe(15, () => ({ retry: { retries: random.below(3), delayMs: random.below(10), ...more() } }))
    maybe(25, () => ({ signal: this.#signal(), kill: !this.#isGentle && random.percent(20) }))
    maybe(10, () => ({ delayMs: random.oneOf([1, 20]) }))
    maybe(10, () => ({
      deadlineMs: random.oneOf([1, 30]),
      onDeadline: random.oneOf(['boost', 'reject']),
    }))
    maybe(10, () => ({ startWithinMs: random.oneOf([1, 30]) }))
    maybe(10, () => ({ priority: random.below(9) }))
    maybe(10, () => ({ onProgress: () => {} }))
    return options
  }

  #signal() {
    const controller = new AbortController()
    const ms = this.#random.oneOf([0, 1, 10, 60])
    if (ms === 0) queueMicrotask(() => controller.abort())
    else setTimeout(() => controller.abort(new Error('mix: enough')), ms)
    return controller.signal
  }

  #work() {
    const random = this.#random
    const nested = (depth) => ({
      lane: random.oneOf(LANES),
      ...(depth > 0 && random.percent(30)
        ? { type: 'call', payload: nested(depth - 1) }
        : { type: random.oneOf(['echo', 'nap', 'fail']), payload: 3 }),
      options: {
        ...(this.#isKeyed && random.percent(30) ? { key: random.oneOf(['k1', 'k2', 'k3']) } : {}),
        ...(random.percent(20) ? { group: random.oneOf(['g1', 'g2']) } : {}),
        ...(random.percent(20) ? { timeoutMs: 20 } : {}),
      },
      follows: random.percent(50),
    })
    const getter = {
      get text() {
        if (random.percent(10)) throw new Error('mix: getter')
        return 'read'
      },
    }
    return random.oneOf([
      ['echo', { number: 1, text: 'abc' }],
      ['echo', 'x'.repeat(300_000)],
      ['echo', new Uint8Array(200_000)],
      ['echo', getter],
      ['busy', random.oneOf([0, 2, 15])],
      ['nap', random.oneOf([1, 10, 40])],
      ['politeNap', 30],
      ['fail', 1],
      ['failLater', 1],
      ['report', 20],
      ['call', nested(2)],
      ['call', nested(2)],
      ['leave', nested(0)],
      ['bytes', 300_000],
      ['text', 90_000],
      ['uncloneable', 1],
    ])
  }

  #acts() {
    const random = this.#random
    const manager = this.#manager
    const lane = () => random.oneOf(LANES)
    const submit = () => {
      const [type, payload] = this.#work()
      const file = random.percent(10) ? { file: HANDLERS } : {}
      const given = { ...this.#commandOptions(), ...file }
      const call = random.percent(20) ? 'execute' : 'submit'
      this.#track(type, manager[call](lane(), type, payload, given))
    }
    const sometimes = (chance, act) => () => {
      if (random.percent(chance)) act()
    }
    return [
      ...Array.from({ length: 12 }, () => submit),
      () => {
        const { key, ...options } = this.#commandOptions()
        const type = random.oneOf(['echo', 'nap', 'fail'])
        this.#track('submitMany', manager.submitMany(lane(), type, [1, 2, 3, 4, 5], options))
      },
      () => {
        const { retry, ...options } = this.#commandOptions()
        const type = random.oneOf(['later', 'numbers'])
        this.#track('stream', this.#read(manager.stream(lane(), type, 60, options), 30))
      },
      () => {
        const options = { concurrency: random.between(1, 8), settle: random.percent(50) }
        const type = random.oneOf(['echo', 'nap', 'fail'])
        const payloads = Array.from({ length: 20 }, (_, i) => i)
        this.#track('map', this.#read(manager.map(lane(), type, payloads, options), 10))
      },
      sometimes(30, () => {
        const options = random.percent(30) ? { sticky: true } : {}
        this.#track('broadcast', manager.broadcast(random.oneOf(['echo', 'nap']), 1, options))
      }),
      sometimes(15, () => this.#track('reload', manager.reload(random.oneOf([undefined, AGAIN])))),
      sometimes(30, () => {
        const { buffer } = new Uint8Array(1000)
        const options = { transferList: [buffer], retry: { retries: 0 } }
        this.#track('move', manager.submit(lane(), 'echo', buffer, options))
      }),
      sometimes(5, () => this.#track('profile', manager.profilePartition(0, { durationMs: 5 }))),
      sometimes(10, () => manager.deadLetters.purge()),
      sometimes(30, () => {
        const one = manager.lane(lane())
        one.pause()
        setTimeout(() => one.resume(), random.oneOf([1, 20, 100]))
      }),
      sometimes(30, () => this.#change((narrow) => narrow.setConcurrency(random.between(1, 3)))),
      sometimes(20, () =>
        this.#change((narrow) => narrow.setRateLimit({ limit: random.between(5, 55) })),
      ),
      sometimes(this.#isGentle ? 0 : 5, () => {
        this.#track('exit', manager.submit(lane(), 'exit', 1))
      }),
      sometimes(this.#isGentle ? 0 : 5, () => {
        this.#track('loop', manager.submit(lane(), 'loop', 1, { timeoutMs: 20 }))
      }),
      sometimes(30, () => this.#track('room', manager.room(lane()))),
      sometimes(30, () => this.#track('redrive', manager.deadLetters.redriveAll())),
      () => manager.stats(),
    ]
  }

  /** A limit that the lane was made without, or that this plan does not allow, is refused. */
  #change(change) {
    try {
      change(this.#manager.lane('narrow'))
    } catch (error) {
      if (error.code !== 'CORELANE_INVALID_OPTION') throw error
    }
  }

  /** Reads to the end, or leaves before it. */
  async #read(items, most) {
    let left = this.#random.percent(50) ? this.#random.below(most) : Number.POSITIVE_INFINITY
    for await (const _ of items) if (left-- <= 0) return
  }

  #track(what, promise) {
    const number = ++this.#count
    this.#open.set(number, what)
    const settled = () => this.#open.delete(number)
    Promise.resolve(promise).then(settled, settled)
  }
}

const { seed, rounds, only } = readOptions()
const watchdog = new Watchdog(END_MS)
let broken = 0
let commands = 0
let round = 0
const violate = (law) => {
  broken++
  console.log(`VIOLATION seed ${seed} round ${round}: ${law}`)
}
process.on('uncaughtException', (error) => violate(`nothing is thrown: ${error?.stack}`))
process.on('unhandledRejection', (error) => violate(`nothing is rejected: ${error?.stack}`))
for (; round < rounds; round++) {
  if (only >= 0 && round !== only) continue
  watchdog.round = round
  const one = new MixRound(Math.imul(seed, 0x9e3779b1) ^ round)
  await one.run()
  for (const law of one.broken) violate(law)
  commands += one.commands
}
await watchdog.end()
const verdict = broken === 0 ? 'PASS' : `FAIL: ${broken} broken`
console.log(`mix campaign, seed ${seed}: ${round} rounds, ${commands} calls: ${verdict}`)
process.exitCode = broken === 0 ? 0 : 1
