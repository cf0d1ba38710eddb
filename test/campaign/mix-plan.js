// Mix plan: managers, options and payloads of chance. Data only, but for callbacks that act.

import { QueueMetrics } from 'corelane'
import { KEYS, LANES } from './mix-ledger.js'

export const HANDLERS = new URL('./mix-handlers.js', import.meta.url)
const AGAIN = `${HANDLERS.href}?again`
/** A module with fewer handlers, and another one. */
const OTHERS = `data:text/javascript,${encodeURIComponent(`
  export { echo, nap, fail, numbers } from '${HANDLERS.href}?others'
  export const gained = (payload) => payload`)}`
const BROKEN = 'data:text/javascript,throw new Error("mix: broken")'
const PAUSE = 'new Promise((resolve) => setTimeout(resolve, 80))'
/** Waits while it loads. */
export const LATE = `data:text/javascript,await ${PAUSE}`
/** The handlers, which take their time to load and to tear down. */
const SLOW = `data:text/javascript,${encodeURIComponent(`await ${PAUSE}
  export * from '${HANDLERS.href}?slow'
  export const teardown = () => ${PAUSE}`)}`
/** What a reload loads. */
export const MODULES = [undefined, undefined, AGAIN, HANDLERS, OTHERS, BROKEN, SLOW]

const GROUPS = ['g1', 'g2']
const KEYED = ['hash', 'single', 'custom']

/** Draws what a round is made of. */
export class MixPlan {
  isGentle
  isKeyed
  hasMetrics
  hasHeapLimit
  #random
  #act
  #strategy
  /** Signals that many commands share. */
  #shared = []

  /**
   * @param act - Does something with the manager, seldom; called by callbacks.
   */
  constructor(random, act) {
    this.#random = random
    this.#act = act
    /** No thread is made to die. */
    this.isGentle = random.percent(50)
    this.#strategy = random.oneOf(['balanced', 'balanced', 'roundRobin', ...KEYED])
    this.isKeyed = KEYED.includes(this.#strategy)
    this.hasMetrics = random.percent(30)
    this.hasHeapLimit = !this.isGentle && random.percent(30)
  }

  /** Options of the manager. */
  manager(workerData) {
    const random = this.#random
    const { isGentle } = this
    const maybe = (chance, more) => (random.percent(chance) ? more : {})
    const rate = (scopes) => ({
      limit: random.between(5, 55),
      windowMs: random.oneOf([50, 50, 20]),
      algorithm: random.oneOf(['token-bucket', 'token-bucket', 'sliding-window']),
      scope: random.oneOf(scopes),
    })
    const retry = {
      retries: random.below(3),
      delayMs: random.below(20),
      backoff: random.oneOf(['exponential', 'fixed']),
      jitter: random.oneOf([0, 0.5]),
      retryTimeouts: random.percent(50),
      retryLost: random.percent(50),
    }
    const limits = () => ({
      ...maybe(15, { maxConcurrency: random.between(1, 3) }),
      ...maybe(15, { groupConcurrency: random.between(1, 2), groupWeights: { g2: 2 } }),
      ...maybe(10, { groupRateLimit: rate(['global']) }),
    })
    return {
      handlers: random.percent(20) ? SLOW : HANDLERS,
      workerData,
      lanes: {
        plain: {
          priority: 0,
          ...limits(),
          ...maybe(30, { minConcurrency: 1, pressureThreshold: 3 }),
        },
        narrow: {
          priority: random.oneOf([1, 1, 9]),
          maxConcurrency: random.between(1, 2),
          ...maybe(20, { minConcurrency: 1 }),
          ...maybe(60, { rateLimit: rate(['global', 'global', 'partition']) }),
          ...maybe(25, { groupConcurrency: 1, groupWeights: { g1: 3 } }),
          ...maybe(25, { groupRateLimit: rate(['global']) }),
        },
        timed: {
          priority: 2,
          ...limits(),
          timeoutMs: 60,
          retry,
          ...maybe(30, { priorityBoost: { deadlineMs: 40, steps: [{ afterMs: 10, by: 2 }] } }),
          ...maybe(15, { onDeadline: 'reject' }),
        },
        bounded: {
          priority: random.oneOf([3, 3, 0]),
          ...limits(),
          maxPending: random.between(3, 22),
          overflow: random.oneOf(['wait', 'reject']),
          ...maybe(30, { maxPendingBytes: 500_000 }),
        },
      },
      defaultLane: random.oneOf(LANES),
      partitions: this.#partitions(),
      concurrencyPerPartition: random.between(1, 4),
      deadLetterCapacity: random.oneOf([0, 3, 1_000]),
      floatingRejections: isGentle ? 'event' : random.oneOf(['event', 'end']),
      timeoutGraceMs: isGentle ? 60_000 : random.oneOf([0, 50, 300]),
      ringBytes: random.oneOf([16_384, 65_536, 1_048_576]),
      closeTimeoutMs: isGentle ? 20_000 : 800,
      ...(this.hasMetrics ? { metrics: this.#metrics() } : {}),
      ...maybe(40, { maxCommandsPerThread: random.between(5, 130) }),
      ...maybe(10, { maxHeapMb: random.oneOf([8, 20]) }),
      ...maybe(40, { maxPending: 50, overflow: random.oneOf(['wait', 'wait', 'reject']) }),
      ...(this.hasHeapLimit ? { resourceLimits: { maxOldGenerationSizeMb: 24 } } : {}),
      ...maybe(isGentle ? 0 : 30, { maxCrashes: 1, terminatingMax: random.below(3) }),
    }
  }

  #metrics() {
    const backend = { increment: this.#act, set() {}, record: this.#act }
    if (this.#random.percent(50)) return QueueMetrics.local()
    return new QueueMetrics(backend, { intervalMs: 10 })
  }

  #partitions() {
    const random = this.#random
    const strategy = this.#strategy
    if (strategy === 'single') return { strategy: random.oneOf(['single', 'none']) }
    if (strategy === 'balanced' && random.percent(50)) {
      const idleTimeoutMs = random.oneOf([0, 5, 20])
      return { strategy, min: random.oneOf([0, 0, 1]), max: random.between(1, 3), idleTimeoutMs }
    }
    const count = random.between(1, 3)
    return { strategy, count, ...(strategy === 'custom' ? { choose: this.#choose } : {}) }
  }

  /** Commands of a key have one partition; the others have any, or by mistake none. */
  #choose = ({ key, type, partitions }) => {
    const random = this.#random
    if (key !== undefined) return key.charCodeAt(1) % partitions
    this.#act()
    if (random.percent(2)) throw new Error('mix: partitioner')
    if (random.percent(2)) return random.oneOf([-1, partitions, '0', Promise.resolve(0)])
    return type === 'echo' ? 0 : random.below(partitions)
  }

  /** Options of a command. */
  command() {
    const random = this.#random
    const options = {}
    const maybe = (chance, more) => {
      if (random.percent(chance)) Object.assign(options, more())
    }
    const retryable = () => {
      this.#act()
      return random.percent(50)
    }
    const more = () => (random.percent(30) ? { retryable } : {})
    if (this.isKeyed) maybe(50, () => ({ key: random.oneOf(KEYS) }))
    maybe(30, () => ({ group: random.oneOf(GROUPS) }))
    maybe(15, () => ({ timeoutMs: random.oneOf([1, 20, 80]) }))
    maybe(15, () => ({ retry: { retries: random.below(3), delayMs: random.below(10), ...more() } }))
    maybe(25, () => ({ signal: this.#signal(), kill: !this.isGentle && random.percent(20) }))
    maybe(10, () => ({ delayMs: random.oneOf([1, 20]) }))
    maybe(10, () => ({
      deadlineMs: random.oneOf([1, 30]),
      onDeadline: random.oneOf(['boost', 'reject']),
    }))
    maybe(10, () => ({ startWithinMs: random.oneOf([1, 30]) }))
    maybe(10, () => ({ priority: random.oneOf([0, 127, 128, 129, 255]) }))
    maybe(10, () => ({ onProgress: this.#act }))
    maybe(5, () => ({ id: random.oneOf(['name-1', 'name-2']) }))
    return options
  }

  #signal() {
    const random = this.#random
    const shared = this.#shared
    if (shared.length > 0 && random.percent(60)) return random.oneOf(shared)
    const ms = random.oneOf([-1, 0, 1, 10, 60, 300])
    if (ms === 300) return AbortSignal.timeout(ms)
    const controller = new AbortController()
    const { signal } = controller
    shared[random.below(4) % (shared.length + 1)] = signal
    if (ms === 0) queueMicrotask(() => controller.abort())
    else if (ms > 0) setTimeout(() => controller.abort(new Error('mix: enough')), ms)
    return signal
  }

  /** Signals that many commands had, and may have still. */
  get sharedSignals() {
    return this.#shared
  }

  #nestedType() {
    const random = this.#random
    // Seldom: a thread that is started anew takes as long as many commands.
    if (!this.isGentle && random.percent(2)) return 'exit'
    return random.oneOf(['echo', 'nap', 'fail', 'block'])
  }

  /** A nested command. */
  #nested(depth) {
    const random = this.#random
    const maybe = (chance, more) => (random.percent(chance) ? more : {})
    return {
      lane: random.oneOf(LANES),
      ...(depth > 0 && random.percent(30)
        ? { type: 'call', payload: this.#nested(depth - 1) }
        : { type: this.#nestedType(), payload: 3 }),
      options: {
        ...maybe(this.isKeyed ? 30 : 0, { key: random.oneOf(KEYS) }),
        ...maybe(20, { group: random.oneOf(GROUPS) }),
        ...maybe(20, { timeoutMs: 20 }),
        ...maybe(10, { delayMs: 5 }),
        ...maybe(10, { startWithinMs: random.oneOf([1, 40]) }),
        ...maybe(10, { deadlineMs: 10, onDeadline: random.oneOf(['boost', 'reject']) }),
        ...maybe(10, { priority: random.oneOf([0, 255]) }),
      },
      follows: random.percent(50),
    }
  }

  /** Type, payload and, where it is known, whether a result is right. */
  work() {
    const random = this.#random
    const act = this.#act
    const getter = {
      get text() {
        if (random.percent(10)) throw new Error('mix: getter')
        act()
        return 'read'
      },
    }
    const number = random.below(1_000_000)
    const is = (value) => value === number
    const ms = random.oneOf([0, 2, 15])
    const long = random.oneOf([10_000, 300_000, 2_000_000])
    return random.oneOf([
      ['echo', { number, text: 'abc' }, (value) => is(value.number)],
      ['echo', number, is],
      ['echo', 'x'.repeat(long), ({ length }) => length === long],
      ['echo', new Uint8Array(long), ({ length }) => length === long],
      ['echo', getter, ({ text }) => text === 'read'],
      ['busy', ms, (value) => value === ms],
      ['block', ms, (value) => value === ms],
      ['nap', random.oneOf([1, 10, 40])],
      ['politeNap', 30, (value) => value === 30],
      ['fail', 1, () => false],
      ['failLater', 1, () => false],
      ['failOddly', random.below(4), () => false],
      ['report', 20, (value) => value === 20],
      ['linger', random.oneOf(LANES), (value) => value === undefined],
      ['call', this.#nested(2)],
      ['call', this.#nested(2)],
      ['callAll', [this.#nested(1), this.#nested(1), this.#nested(0)], (value) => value === 3],
      ['leave', this.#nested(0), (value) => value === 'left'],
      ['bytes', long, ({ length }) => length === long],
      ['text', 90_000, ({ length }) => length === 90_000],
      ['uncloneable', 1, () => false],
      ['circular', number, (value) => is(value.payload) && value.self === value],
      ['gained', number, is],
    ])
  }
}
