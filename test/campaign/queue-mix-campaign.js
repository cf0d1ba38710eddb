// Queue-mix campaign: uses everything that submitters, worker pools and their queues offer at once
// and at random, on the queue of one process and on Redis, and holds what comes of it against laws.
//
//   npm run test:fault -- queue-mix               100 rounds of two seconds, a seed from the clock
//   npm run test:fault -- queue-mix --seed 7 --rounds 20
//   npm run test:fault -- queue-mix --seed 7 --round 12    that round alone, as it was
//   npm run test:fault -- queue-mix --local                without Redis
//
// A round opens a queue, and managers, pools and submitters with options of chance. For a second it
// submits, cancels, pauses, limits, redrives and drops; pools and submitters come and go. Then all
// must end: every promise settles, the queue is empty, close ends in time, nothing is thrown
// outside of a promise, no error comes that no document names, no command ends twice. Where no
// thread is made to die, limits over all workers hold, and two commands of a key never run at once;
// and those of a key start in order in any case. Exits with 1 if a law was broken, and prints the
// seed and the round.

import { setTimeout as sleep } from 'node:timers/promises'
import { LocalDistributedQueue, QueueManager, Submitter, stableHash, WorkerPool } from 'corelane'
import { RedisDistributedQueue } from 'corelane/redis'
import { findRedis, RedisProcess } from '../support/redis-process.js'
import { Generator } from './generator.js'
import { playRounds } from './mix-rounds.js'
import { readOptions } from './options.js'
import { keysLeft, Witness } from './queue-mix-laws.js'
import { openAdmin } from './queue-parts.js'
import { comesTrue, within } from './threads.js'

const ROUNDS = 100
/** Reached only by what hangs, on busy machines, too. */
const END_MS = 150_000
const HANDLERS = new URL('./queue-mix-handlers.js', import.meta.url)
const LANES = ['plain', 'narrow', 'paced', 'timed']
const KEYS = ['k1', 'k2', 'k3']
const GROUPS = ['g1', 'g2']
const NAMES = ['n1', 'n2', 'n3', 'n4']
const TYPES = ['echo', 'nap', 'politeNap', 'busy', 'flaky', 'report', 'call']
const RARE_TYPES = ['fail', 'uncloneable', 'nobody']

/** One queue from its opening to its end. */
class QueueMixRound {
  witness = new Witness()
  #random
  #redis
  #name
  /** No thread is made to die, and no lease may expire. */
  #isGentle
  #settings
  /** Commands of the narrow lane that may run at once, where the queue says nothing else. */
  #slots
  #queue
  /** Each with its manager, and the pool and the queue that it has now. */
  #workers = []
  #submitters = []
  #open = new Map()
  #calls = 0
  #ids = []

  /** @param redis - Its `url`, and a client; undefined: there is none. */
  constructor(seed, name, redis) {
    const random = new Generator(seed)
    this.#random = random
    this.#redis = random.percent(50) ? redis : undefined
    this.#name = name
    this.#isGentle = random.percent(60)
    const strategy = random.oneOf(['hash', 'hash', 'single', 'balanced', 'roundRobin'])
    this.#settings = {
      partitions: { strategy, count: strategy === 'single' ? 1 : random.between(1, 4) },
      leaseMs: this.#isGentle ? 30_000 : random.oneOf([3_000, 6_000]),
      maxDeliveries: random.oneOf([1, 2, 3, 9]),
      resultTtlMs: random.oneOf([3_000, 3_600_000]),
      maxDead: random.oneOf([5, 10_000]),
    }
    this.#slots = random.between(1, 3)
    this.witness.narrowest = this.#slots
    this.witness.perGroup = random.between(1, 2)
    this.witness.fastest = random.between(5, 40)
  }

  async run() {
    const random = this.#random
    await this.#start()
    const acts = this.#acts()
    // By commands and not by time, for machines that are busy.
    const count = random.between(60, 300)
    while (this.witness.commands < count) {
      for (let left = random.between(1, 6); left > 0; left--) random.oneOf(acts)()
      await sleep(random.oneOf([0, 0, 1, 5, 20]))
    }
    if (random.percent(75)) await this.#finish()
    await this.#close()
    this.witness.judge(this.#isGentle, this.#redis === undefined)
  }

  async #start() {
    const random = this.#random
    this.#queue = await this.#openQueue('main')
    const lanes = this.#lanes()
    for (let i = random.between(1, 2); i > 0; i--) {
      const manager = new QueueManager({ ...this.#managerOptions(), lanes })
      this.#workers.push({ manager, pool: undefined, queue: undefined, turn: undefined })
    }
    for (let i = random.between(1, 3); i > 0; i--) await this.#addSubmitter()
    // Some commands are there before any worker.
    for (const worker of this.#workers) {
      if (random.percent(60)) await this.#ends('join', this.#join(worker))
    }
  }

  async #openQueue(workerId) {
    const settings = { ...this.#settings, workerId }
    if (this.#redis !== undefined) {
      const { url } = this.#redis
      const rest = { url, durability: 'ignore', laneTtlMs: 100, pollMaxMs: 500 }
      return RedisDistributedQueue.open({ ...settings, queue: this.#name, ...rest })
    }
    if (this.#queue !== undefined) return this.#queue.asWorker(workerId)
    const { partitions, ...options } = settings
    const maxPending = this.#random.oneOf([undefined, undefined, 40])
    return new LocalDistributedQueue(partitions, { ...options, maxPending })
  }

  #maybe(chance, more) {
    return this.#random.percent(chance) ? more : {}
  }

  #lanes() {
    const random = this.#random
    const { perGroup, fastest, windowMs } = this.witness
    const retry = { retries: random.below(3), delayMs: random.below(20) }
    const boost = { deadlineMs: 100, steps: [{ afterMs: 10, by: 2 }] }
    const onDeadline = random.oneOf(['boost', 'reject'])
    const weights = this.#maybe(30, { groupWeights: { g1: 3 } })
    const rateLimit = { limit: fastest, windowMs }
    return {
      plain: {
        priority: 0,
        ...this.#maybe(30, { retry }),
        ...this.#maybe(20, { maxConcurrency: random.between(1, 2) }),
        ...this.#maybe(20, { minConcurrency: 1 }),
      },
      narrow: {
        priority: 1,
        groupConcurrency: perGroup,
        ...weights,
        ...this.#maybe(30, { retry }),
      },
      paced: {
        priority: 2,
        rateLimit,
        ...this.#maybe(30, { groupRateLimit: { ...rateLimit, limit: 9 } }),
      },
      timed: {
        priority: 2,
        timeoutMs: 60,
        retry: { ...retry, retryTimeouts: random.percent(50) },
        ...this.#maybe(40, { priorityBoost: boost, onDeadline }),
        ...this.#maybe(30, { maxPending: 5, overflow: random.oneOf(['wait', 'reject']) }),
      },
    }
  }

  #managerOptions() {
    const random = this.#random
    const count = random.between(1, 2)
    return {
      handlers: HANDLERS,
      workerData: this.witness.workerData,
      partitions: random.oneOf([
        { strategy: 'single' },
        { strategy: 'hash', count },
        { strategy: 'roundRobin', count },
        { strategy: 'balanced', count },
        { strategy: 'balanced', min: 0, max: 2, idleTimeoutMs: random.oneOf([0, 20]) },
      ]),
      ringBytes: random.oneOf([16_384, 1_048_576]),
      ...this.#maybe(20, { maxCommandsPerThread: random.between(20, 100) }),
      concurrencyPerPartition: random.between(1, 4),
      timeoutGraceMs: this.#isGentle ? END_MS : random.oneOf([0, 100]),
      closeTimeoutMs: this.#isGentle ? 20_000 : 800,
    }
  }

  /** @param isLast - It is to take all lanes, so that nothing is left waiting. */
  #join(worker, isLast = false) {
    const random = this.#random
    // Where a partition has one worker, that must take all lanes.
    const isChoosy = !isLast && !this.#queue.capabilities.ownership
    const options = {
      globalConcurrency: { narrow: this.#slots },
      unknownHandlerMs: random.oneOf([0, 300]),
      onIncident: this.witness.onIncident,
      ...this.#maybe(30, { prefetchMs: random.oneOf([0, 200]) }),
      ...this.#maybe(30, { prefetchMax: random.between(1, 20) }),
      ...this.#maybe(30, { gatherMs: random.oneOf([0, 50]) }),
      ...(isChoosy ? this.#maybe(30, { lanes: ['plain', 'narrow'] }) : {}),
    }
    const workerId = `w${++this.#calls}`
    return this.#inTurn(worker, async () => {
      if (worker.pool !== undefined && !isLast) return
      await this.#retire(worker, true)
      worker.queue = await this.#openQueue(workerId)
      worker.pool = new WorkerPool(worker.queue, worker.manager, options)
      await worker.pool.start()
    })
  }

  #leave(worker) {
    const isInOrder = this.#isGentle || this.#random.percent(50)
    return this.#inTurn(worker, () => this.#retire(worker, isInOrder))
  }

  async #retire(worker, isInOrder) {
    const { pool, queue } = worker
    if (pool === undefined) return
    worker.pool = undefined
    if (isInOrder) await this.#ends('drain of a pool', pool.drain(END_MS))
    await this.#ends('close of a pool', pool.close())
    const { held, submitted, chained, unsettled } = pool.stats()
    if (isInOrder && held + submitted + chained + unsettled > 0) {
      this.witness.broken.push(`a drained pool has ${JSON.stringify(pool.stats())}`)
    }
    await this.#ends('close of a worker', queue.close())
  }

  #inTurn(worker, act) {
    const done = (worker.turn ?? Promise.resolve()).then(act)
    worker.turn = done.catch(() => {})
    return done
  }

  async #addSubmitter() {
    const random = this.#random
    const submitter = new Submitter(this.#queue, {
      allowDegraded: true,
      keepResults: random.oneOf(['all', 'named', 'none']),
      maxPending: random.oneOf([3, 100_000]),
      sweepMs: random.oneOf([10, 100, 1_000]),
      timeoutMs: random.oneOf([undefined, undefined, 5_000]),
      unknown: random.oneOf(['reject', 'wait']),
      onIncident: this.witness.onIncident,
    })
    this.#submitters.push(submitter)
    await this.#queue.announce(submitter.name, ({ commandId }) => this.witness.ended(commandId))
  }

  #given(type) {
    const random = this.#random
    if (type === 'nap' || type === 'politeNap') return random.oneOf([1, 10, 40])
    if (type === 'busy') return random.oneOf([0, 2, 15])
    if (type === 'call') return random.oneOf(LANES)
    return type === 'echo' ? random.oneOf([1, 'x'.repeat(50_000)]) : random.between(1, 3)
  }

  /** A command and its options. */
  #command(submitter) {
    const random = this.#random
    const index = this.witness.next()
    const lane = random.oneOf(LANES)
    const deadly = this.#isGentle ? [] : ['exit', 'loop']
    const type = random.oneOf([...TYPES, ...TYPES, ...RARE_TYPES, ...deadly])
    const isKeyed = ['hash', 'single'].includes(this.#settings.partitions.strategy)
    const options = {
      ...this.#maybe(50, { id: `u${index}` }),
      ...this.#maybe(isKeyed ? 50 : 0, { key: random.oneOf(KEYS) }),
      ...this.#maybe(25, { group: random.oneOf(GROUPS) }),
      ...this.#maybe(10, { priority: random.below(9) }),
      ...this.#maybe(10, { deadlineMs: random.oneOf([1, 30, 5_000]) }),
      ...this.#maybe(10, { delayMs: random.oneOf([1, 60]) }),
      ...this.#maybe(type === 'loop' ? 100 : 10, { timeoutMs: random.oneOf([20, 200]) }),
      ...this.#maybe(15, { retry: { retries: random.below(3), delayMs: random.below(9) } }),
      ...this.#maybe(10, { keepResult: random.percent(50) }),
    }
    const { id, key, group, delayMs } = options
    if (id !== undefined) this.#ids.push(id)
    if (key !== undefined && delayMs === undefined && type !== 'nobody') {
      // Redis keeps the order of a key in each lane.
      this.witness.inLine([submitter.name, key, group, this.#redis && lane].join(), index)
    }
    const numbers = [KEYS.indexOf(key), GROUPS.indexOf(group)]
    const counters = this.witness.countersOf(lane === 'narrow', ...numbers)
    const payload = { index, counters, isPaced: lane === 'paced', given: this.#given(type) }
    return { lane, type, payload, options }
  }

  /** A command that counts for no limit. */
  #plain(given) {
    return { index: this.witness.next(), counters: [], isPaced: false, given }
  }

  #signal() {
    const controller = new AbortController()
    this.witness.hasCancelled = true
    const ms = this.#random.oneOf([0, 1, 10, 60])
    if (ms === 0) queueMicrotask(() => controller.abort())
    else setTimeout(() => controller.abort(new Error('queue-mix: enough')), ms)
    return controller.signal
  }

  #acts() {
    const random = this.#random
    const queue = this.#queue
    const { commands, lanes } = queue
    const lane = () => random.oneOf(LANES)
    const worker = () => random.oneOf(this.#workers)
    const submitter = () => random.oneOf(this.#submitters)
    const anyId = () => random.oneOf([...NAMES, ...this.#ids])
    const sometimes = (chance, what, act) => () => {
      if (random.percent(chance)) this.#track(what, act())
    }
    const submit = () => {
      const one = submitter()
      const { lane, type, payload, options } = this.#command(one)
      const call = random.oneOf(['submit', 'submit', 'execute', 'enqueue'])
      if (random.percent(20)) options.signal = this.#signal()
      if (call !== 'enqueue' && random.percent(20)) options.onProgress = () => {}
      this.#track(`${call} ${type} ${options.id}`, one[call](lane, type, payload, options))
    }
    return [
      ...Array.from({ length: 12 }, () => submit),
      sometimes(100, 'enqueueMany', () => {
        const one = submitter()
        const some = Array.from({ length: random.between(1, 9) }, () => this.#command(one))
        return one.enqueueMany(some.map(({ options, ...rest }) => ({ ...rest, ...options })))
      }),
      sometimes(100, 'one of a name', () => {
        // One id is one command, whoever submits it; once its result is forgotten it is new.
        const id = random.oneOf(NAMES)
        this.witness.mayEndAgain(id)
        const more = random.percent(20) ? { signal: this.#signal() } : {}
        return submitter().submit('plain', 'nap', this.#plain(5), { id, ...more })
      }),
      sometimes(100, 'one by hand', () => queue.enqueueMany([this.#byHand()])),
      sometimes(100, 'cancel', () => {
        this.witness.hasCancelled = true
        return random.percent(50)
          ? submitter().cancel(anyId())
          : commands.cancel([anyId(), anyId()])
      }),
      sometimes(30, 'pause', () => {
        const one = lane()
        setTimeout(() => this.#track('resume', lanes.resume(one)), random.oneOf([1, 20, 100]))
        return lanes.pause(one)
      }),
      sometimes(30, 'setConcurrency', () => {
        const most = random.oneOf([undefined, random.between(1, 3)])
        this.witness.narrowest = Math.max(this.witness.narrowest, most ?? 0)
        return lanes.setConcurrency('narrow', most)
      }),
      sometimes(30, 'setRateLimit', () => {
        const limit = random.between(5, 60)
        this.witness.fastest = Math.max(this.witness.fastest, limit)
        const rate = random.oneOf([undefined, { limit, windowMs: this.witness.windowMs }])
        return lanes.setRateLimit('paced', rate)
      }),
      sometimes(50, 'the dead', () => this.#pickDead()),
      sometimes(20, 'counts', () => queue.counts()),
      sometimes(20, 'peek', () => commands.peek(random.oneOf([undefined, lane()]))),
      sometimes(20, 'find', () => commands.find(anyId())),
      sometimes(10, 'workers', () => queue.workers.list()),
      sometimes(20, 'join', () => this.#join(worker())),
      sometimes(10, 'leave', () => this.#leave(worker())),
      sometimes(5, 'reload', () => worker().manager.reload()),
      sometimes(10, 'another submitter', () => this.#addSubmitter()),
      sometimes(5, 'a submitter less', async () => {
        if (this.#submitters.length > 1) await this.#submitters.pop().close()
      }),
    ]
  }

  /** An envelope of a machine whose clock is an hour off. */
  #byHand() {
    const random = this.#random
    const payload = this.#plain(1)
    const id = `h${payload.index}`
    const createdAt = Date.now() + random.oneOf([-3_600_000, 0, 3_600_000])
    const deadline = random.oneOf([undefined, createdAt + 1, createdAt + 5_000])
    const partitionId = stableHash(id) % this.#settings.partitions.count
    return { id, commandType: 'echo', laneId: 'timed', partitionId, payload, createdAt, deadline }
  }

  /** Lets a dead command live again, or removes it. */
  async #pickDead() {
    const { dead } = this.#queue
    const all = await dead.list(20)
    if (all.length === 0) return
    const { id, partitionId } = this.#random.oneOf(all).envelope
    const one = this.#random.oneOf([id, { commandId: id, partitionId }])
    this.witness.mayEndAgain(id)
    await (this.#random.percent(70) ? dead.redrive([one]) : dead.drop([one]))
  }

  /** All that was begun ends by itself. */
  async #finish() {
    const queue = this.#queue
    const { broken } = this.witness
    // Some lanes are still to be resumed.
    await sleep(120)
    await Promise.all(LANES.map((lane) => queue.lanes.resume(lane)))
    this.#track('the last worker', this.#join(this.#workers[0], true))
    if (!(await comesTrue(() => this.#open.size === 0, END_MS))) {
      const some = [...this.#open.values()].slice(0, 8).join(', ')
      broken.push(`${this.#open.size} do not settle: ${some}; ${await this.#standing()}`)
      return
    }
    const isOver = async (what, search) => {
      for (const endMs = performance.now() + END_MS; ; await sleep(20)) {
        const left = await search()
        if (left.length === 0) return
        if (performance.now() < endMs) continue
        broken.push(`${what}: ${left.slice(0, 8).join(', ')}; ${await this.#standing()}`)
        return
      }
    }
    await isOver('not empty', async () => {
      const { waiting, delayed, leased, partitions } = await queue.counts()
      return [waiting, delayed, leased, ...partitions].filter((count) => count !== 0)
    })
    await isOver('dead', async () => {
      const ids = (await queue.dead.list(1_000)).map(({ envelope }) => envelope.id)
      if (ids.length > 0) await queue.dead.drop(ids)
      return (await queue.counts()).dead === 0 ? [] : ids
    })
    if (this.#redis === undefined) return
    await isOver('keys', () => keysLeft(this.#redis.admin, this.#name))
  }

  async #standing() {
    const counts = await this.#queue.counts()
    const waiting = (await this.#queue.commands.peek()).map(({ commandId }) => commandId)
    const pools = this.#workers.map(({ pool }) => pool?.stats())
    const submitters = this.#submitters.map((submitter) => submitter.stats())
    const managers = this.#workers.map(({ manager }) => manager.stats())
    return JSON.stringify({ counts, pools, managers, submitters, waiting: waiting.slice(0, 4) })
  }

  async #close() {
    const { broken } = this.witness
    for (const submitter of this.#submitters) {
      await this.#ends('close of a submitter', submitter.close())
      const { pending, unaccepted, waiting } = submitter.stats()
      if (pending + unaccepted + waiting === 0) continue
      broken.push(`a closed submitter has ${JSON.stringify(submitter.stats())}`)
    }
    await Promise.all(this.#workers.map((worker) => this.#leave(worker)))
    await Promise.all(this.#workers.map(({ manager }) => this.#ends('close', manager.close())))
    if (!(await comesTrue(() => this.#open.size === 0, END_MS / 4))) {
      broken.push(`unsettled: ${[...this.#open.values()].join(', ')}`)
    }
    await this.#ends('close of the queue', this.#queue.close())
  }

  async #ends(what, ending) {
    try {
      await within(ending, 'it', END_MS)
    } catch (error) {
      this.witness.broken.push(`${what}: ${error?.stack}`)
    }
  }

  #track(what, promise) {
    const number = ++this.#calls
    this.#open.set(number, what)
    promise
      .catch((error) => this.witness.rejected(what, error))
      .finally(() => this.#open.delete(number))
  }
}

const options = readOptions({ rounds: ROUNDS }, { local: { type: 'boolean', default: false } })
const { missing } = findRedis()
if (!options.local && missing !== undefined) console.log(`without Redis: ${missing}`)
const server = options.local || missing !== undefined ? undefined : await RedisProcess.start()
const redis = server && { url: server.url, admin: await openAdmin(server) }
const say = await playRounds(options, {
  name: 'queue-mix',
  unit: 'commands',
  endMs: END_MS,
  play: async (seed, round) => {
    const one = new QueueMixRound(seed, `mix-${round}`, redis)
    await one.run()
    return { broken: one.witness.broken, units: one.witness.commands }
  },
})
redis?.admin.destroy()
await server?.stop()
say()
