// Crash campaign: ends threads in every way there is, two thousand times under two hundred thousand
// commands, and holds what comes of it against the laws in crash-judge.js.
//
//   npm run test:fault -- crash              2,000 deaths, 200,000 commands, a seed from the clock
//   npm run test:fault -- crash --seed 7        the same deaths again; chance is the machine's only
//   npm run test:fault -- crash --deaths 100 --commands 5000 --seconds 60
//   npm run test:fault -- crash --seed 7 --round 12      that round alone, as it was
//
// `--seconds` starts no further round after that time. What is run: rounds of about 28 deaths and
// 2,800 commands, each with a manager of its own, in every combination of strategy (hash with keys,
// balanced, roundRobin), concurrency (1, 8) and recovery (none, retry, retryLost, both), with three
// seeds, or half of them where few are to die; then more rounds until as many threads have died as
// asked. It takes 8 minutes on two free cores, 20 on busy ones.
// Exits with 1 if a law was broken, and prints the seed, the round and the commands.

import { pbkdf2Sync } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { styleText } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { brotliCompressSync } from 'node:zlib'
import { judge, tally } from './crash-judge.js'
import { KINDS } from './crash-kinds.js'
import { planRound, SETTINGS } from './crash-plan.js'
import { CrashRound } from './crash-round.js'
import { printTable } from './crash-table.js'
import { Generator } from './generator.js'
import { readOptions } from './options.js'
import { ThreadCount, Watchdog } from './threads.js'

const DEFAULTS = { deaths: 2_000, commands: 200_000, seconds: Number.POSITIVE_INFINITY }
const SEEDS = 3
/** Native code runs about so long into its time-out. */
const NATIVE_MS = 300
/** A main thread that hangs for so long is stuck. */
const HANG_MS = 120_000
/** Rounds that are added at most when fewer threads died than asked. */
const MORE_ROUNDS_MAX = 100
/** What the main thread may keep more after the last round than after the first eighth of them. */
const HEAP_GROWTH_MB = 24
const BUFFER_GROWTH_MB = 24
const RSS_GROWTH_MB = 300
const MIB = 2 ** 20
/** Violations that are printed. */
const SHOWN_MAX = 20

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')

/** How much work native code must be given here to take its time. */
function measureNative() {
  const bytes = 2 ** 16
  const brotliStart = performance.now()
  brotliCompressSync(Buffer.from(Array.from({ length: bytes }, (_, i) => 97 + ((i * i) % 26))))
  const pbkdf2Start = performance.now()
  pbkdf2Sync('word', 'salt', 20_000, 64, 'sha512')
  const endMs = performance.now()
  return {
    ms: NATIVE_MS,
    brotliBytes: Math.ceil((bytes * NATIVE_MS) / (pbkdf2Start - brotliStart)),
    pbkdf2Rounds: Math.ceil((20_000 * NATIVE_MS) / (endMs - pbkdf2Start)),
  }
}

function memoryMb() {
  for (let times = 0; times < 3; times++) collect()
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage()
  return { heap: heapUsed / MIB, buffers: arrayBuffers / MIB, rss: rss / MIB }
}

/** Deals the kinds like cards, so that each comes as often as any other. */
function dealer(random) {
  let deck = []
  return () => {
    if (deck.length === 0) deck = random.shuffled(KINDS.map(({ index }) => index))
    return deck.pop()
  }
}

/** A whole campaign. */
class Campaign {
  violations = []
  rows = KINDS.map(() => ({ commands: 0, deaths: 0, lost: 0, replacedMs: [] }))
  totals = { rounds: 0, commands: 0, completed: 0, failed: 0, retried: 0, timedOut: 0 }
  deadLetters = 0
  deaths = 0
  memory = []
  #options
  #threads = new ThreadCount()
  #watchdog
  #native = measureNative()
  #startMs = performance.now()

  constructor(options, watchdog) {
    this.#options = options
    this.#watchdog = watchdog
  }

  get seconds() {
    return (performance.now() - this.#startMs) / 1000
  }

  get isLate() {
    return this.seconds >= this.#options.seconds
  }

  async run() {
    const { seed, deaths, commands } = this.#options
    const passes = [SEEDS, 1].find((times) => deaths >= SETTINGS.length * times * 4) ?? 0.5
    const rounds = SETTINGS.length * passes
    const deal = dealer(new Generator(seed))
    const perRound = Math.ceil(commands / rounds)
    for (let number = 0; number < rounds && !this.isLate; number++) {
      await this.#round(number, perRound, Math.ceil(deaths / rounds), deal)
    }
    const isWhole = this.#options.round === undefined
    const isShort = () => this.deaths < deaths && !this.isLate && isWhole
    for (let more = 0; isShort() && more < MORE_ROUNDS_MAX; more++) {
      await this.#round(rounds + more, perRound, Math.ceil(deaths / rounds), deal)
    }
    this.#judgeMemory()
    if (isShort()) {
      this.#violate(0, { law: 'as many threads die as asked', what: `${this.deaths} died` })
    }
  }

  async #round(number, commands, deaths, deal) {
    // By such steps half of them has every strategy, concurrency and recovery.
    const setting = SETTINGS[(number * 7) % SETTINGS.length]
    // Each pass over the settings is a seed of its own.
    const seed = Math.imul(this.#options.seed + Math.floor(number / SETTINGS.length), 0x9e3779b1)
    const plan = planRound(seed ^ number, setting, commands, deaths, deal)
    // The plans before it deal the kinds, so they are made all the same.
    if ((this.#options.round ?? number) !== number) return
    this.#watchdog.round = number
    const made = this.#threads.made
    const round = new CrashRound(plan)
    await round.run(this.#native)
    const violations = judge(round, plan)
    const living = this.#threads.living
    if (living > 0) violations.push({ law: 'no thread is left', what: `${living} live on` })
    const counted = round.stats.partitions.reduce((sum, one) => sum + one.incarnations, 0)
    const threads = this.#threads.made - made
    if (threads !== counted) {
      violations.push({ law: 'threads are counted', what: `${threads} made, ${counted} counted` })
    }
    for (const violation of violations) this.#violate(number, violation, setting)
    this.#add(round, plan)
    this.#progress(number, setting, round, violations.length)
  }

  #violate(number, violation, setting = {}) {
    const place = `round ${number} ${Object.values(setting).join(' ')}`
    this.violations.push({ place, ...violation })
    if (this.violations.length > SHOWN_MAX) return
    const { law, index, id, kind, what } = violation
    const command = index === undefined ? '' : ` command ${index} (id ${id}, ${kind ?? 'ordinary'})`
    console.log(`VIOLATION seed ${this.#options.seed} ${place}: ${law}:${command} ${what}`)
  }

  #add(round, plan) {
    const { stats } = round
    const { completed, failed, retried, timedOut } = stats
    const sums = { rounds: 1, commands: plan.commands.length, completed, failed, retried, timedOut }
    for (const [name, value] of Object.entries(sums)) this.totals[name] += value
    this.deadLetters += round.letters.length
    this.deaths += round.deaths.length
    for (const [index, row] of tally(round, plan).entries()) {
      const sum = this.rows[index]
      sum.commands += row.commands
      sum.deaths += row.deaths
      sum.lost += row.lost
      sum.replacedMs.push(...row.replacedMs)
    }
    this.memory.push(memoryMb())
  }

  #progress(number, { strategy, concurrency, recovery }, round, wrong) {
    const { heap, buffers, rss } = this.memory.at(-1)
    const state = wrong === 0 ? styleText('green', 'ok') : styleText('red', `${wrong} wrong`)
    console.log(
      `${this.seconds.toFixed(0).padStart(5)} s  round ${String(number).padStart(3)}` +
        `  ${`${strategy} x${concurrency} ${recovery}`.padEnd(20)}` +
        `  ${String(round.deaths.length).padStart(3)} deaths (${this.deaths} in all),` +
        ` ${this.totals.commands} commands, heap ${heap.toFixed(0)} buffers` +
        ` ${buffers.toFixed(0)} rss ${rss.toFixed(0)} MiB  ${state}`,
    )
  }

  #judgeMemory() {
    const { memory } = this
    const warm = memory.slice(0, Math.ceil(memory.length / 8))
    const last = memory.at(-1)
    const limits = { heap: HEAP_GROWTH_MB, buffers: BUFFER_GROWTH_MB, rss: RSS_GROWTH_MB }
    for (const [name, limitMb] of Object.entries(limits)) {
      const grown = last[name] - Math.max(...warm.map((sample) => sample[name]))
      if (grown <= limitMb) continue
      this.#violate(memory.length - 1, {
        law: 'memory is bounded',
        what: `${name} grew by ${grown.toFixed(0)} MiB, allowed are ${limitMb}`,
      })
    }
  }
}

const options = readOptions(DEFAULTS)
const watchdog = new Watchdog(HANG_MS)
const { seed, deaths, commands } = options
console.log(
  `crash campaign: seed ${seed}, ${deaths} deaths, ${commands} commands; ` +
    `Node ${process.version}, ${availableParallelism()} cores, ${new Date().toISOString()}`,
)
// A thread is announced in the tick after; the watchdog's is not counted.
await new Promise(setImmediate)
const campaign = new Campaign(options, watchdog)
await campaign.run()
await watchdog.end()
printTable(campaign)
const wrong = campaign.violations.length
console.log(
  wrong === 0
    ? `PASS: no law was broken (seed ${seed})`
    : `FAIL: ${wrong} violations with --seed ${seed}`,
)
// A handle that keeps the process alive is a leak, and the watchdog of the caller's shell ends it.
process.exitCode = wrong === 0 ? 0 : 1
