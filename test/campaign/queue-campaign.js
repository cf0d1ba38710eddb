// Queue campaign: what the queue on Redis promises, held against processes that are killed and
// frozen, connections that break in every way, and a Redis that comes and goes, all under load.
//
//   npm run test:fault -- queue                    10 rounds, all the faults of queue-plan.js
//   npm run test:fault -- queue --seed 7           the same faults again; only chance differs
//   npm run test:fault -- queue --seed 7 --round 3     that round alone
//   npm run test:fault -- queue --quick            one short round
//   npm run test:fault -- queue --rounds 1 --faults cut,cut,kill    these, in this order
//   npm run test:fault -- queue --rounds 0         only the limit of 100 starts a second
//
// Three worker processes and a submitter on a real Redis (append-only file, written before every
// answer). Every run of a handler, every delivery and every completion is written into a ledger,
// and queue-judge.js holds it against its laws. Exits with 1 if one was broken, and prints the
// seed.

import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { styleText } from 'node:util'
import { findRedis, RedisProcess } from '../support/redis-process.js'
import { Generator } from './generator.js'
import { readOptions } from './options.js'
import { judge } from './queue-judge.js'
import { openAdmin } from './queue-parts.js'
import { FAULTS, planFaults, SETTINGS } from './queue-plan.js'
import { measureRate } from './queue-rate.js'
import { QueueRound } from './queue-round.js'
import { Watchdog } from './threads.js'

const ROUNDS = 10
const LEASE_MS = 800
const RATE_SECONDS = 20
/** A main thread that hangs for so long is stuck. */
const HANG_MS = 120_000
const SHOWN_MAX = 20
/** Commands that are unsettled at a time. */
const OPEN_MAX = 150
const QUICK_OPEN_MAX = 50

const QUICK_FAULTS = {
  kill: 1,
  freeze: 1,
  redis: 1,
  cut: 1,
  'cut all': 1,
  poison: 1,
  undecodable: 1,
  'no handler': 1,
}

/** A whole campaign. */
class Campaign {
  violations = 0
  sums = {}
  faults = {}
  #options
  #redis
  #admin
  #folder
  #startMs = performance.now()

  constructor(options, redis, admin, folder) {
    this.#options = options
    this.#redis = redis
    this.#admin = admin
    this.#folder = folder
  }

  get seconds() {
    return (performance.now() - this.#startMs) / 1000
  }

  /** @param {number} number */
  async round(number) {
    const { seed, quick, faults } = this.#options
    const random = new Generator(Math.imul(seed, 0x9e3779b1) ^ number)
    const setting = SETTINGS[number % SETTINGS.length]
    const plan = {
      random,
      setting,
      leaseMs: LEASE_MS,
      openMax: quick ? QUICK_OPEN_MAX : OPEN_MAX,
      faults:
        faults?.split(',') ??
        (quick
          ? planFaults(random, QUICK_FAULTS, 0, 1)
          : planFaults(random, FAULTS, number % ROUNDS, ROUNDS)),
    }
    const round = new QueueRound(plan, this.#redis, this.#admin, this.#folder)
    const stop = () => round.workers.kill()
    process.once('exit', stop)
    await round.run()
    process.off('exit', stop)
    const { violations, sums } = judge(round)
    this.#complain(`round ${number}`, violations)
    for (const [name, sum] of Object.entries(sums)) this.sums[name] = (this.sums[name] ?? 0) + sum
    for (const kind of plan.faults) this.faults[kind] = (this.faults[kind] ?? 0) + 1
    const { strategy, partitions } = setting
    const state =
      violations.length === 0
        ? styleText('green', 'ok')
        : styleText('red', `${violations.length} wrong`)
    console.log(
      `${this.seconds.toFixed(0).padStart(5)} s  round ${number}  ${strategy} ${partitions}` +
        `  ${plan.faults.length} faults, ${sums.commands} commands, ${sums.executions} runs` +
        ` (${sums.again} again), ${sums.stale} stale completions  ${state}`,
    )
  }

  /** Whether a limit over three processes holds and is used. */
  async rate() {
    const place = { port: this.#redis.port, name: 'rate', strategy: 'roundRobin', partitions: 4 }
    const path = join(this.#folder, 'rate')
    const measured = await measureRate({ ...place, leaseMs: 5_000 }, path, RATE_SECONDS)
    this.#complain('rate', measured.violations)
    const share = `${(measured.share * 100).toFixed(1)} % of the limit used`
    console.log(
      `${this.seconds.toFixed(0).padStart(5)} s  rate: ${measured.starts} starts by 3 processes, ${share}`,
    )
  }

  #complain(where, violations) {
    for (const { law, index, what } of violations) {
      if (++this.violations > SHOWN_MAX) continue
      const command = index === undefined ? '' : ` command ${index}:`
      console.log(`VIOLATION seed ${this.#options.seed} ${where}: ${law}:${command} ${what}`)
    }
  }

  print() {
    for (const [name, count] of Object.entries({ ...this.faults, ...this.sums })) {
      console.log(`${name.padEnd(14)}${String(count).padStart(6)}`)
    }
  }
}

const options = readOptions(
  { rounds: ROUNDS },
  { quick: { type: 'boolean', default: false }, faults: { type: 'string' } },
)
const rounds = options.quick ? 1 : options.rounds
const { missing, version } = findRedis()
if (missing !== undefined) throw new Error(missing)
console.log(
  `queue campaign: seed ${options.seed}, ${rounds} rounds, leases of ${LEASE_MS} ms; ` +
    `Redis ${version}, Node ${process.version}, ${availableParallelism()} cores, ` +
    new Date().toISOString(),
)
const watchdog = new Watchdog(HANG_MS)
const folder = mkdtempSync(join(tmpdir(), 'corelane-queue-'))
const redis = await RedisProcess.start({ persistence: 'always' })
const admin = await openAdmin(redis)
const campaign = new Campaign(options, redis, admin, folder)
try {
  for (let number = 0; number < rounds; number++) {
    if ((options.round ?? number) !== number) continue
    watchdog.round = number
    await campaign.round(number)
  }
  if (!options.quick && options.round === undefined) await campaign.rate()
} finally {
  await watchdog.end()
  admin.destroy()
  await redis.stop()
  if (campaign.violations === 0) rmSync(folder, { recursive: true, force: true })
  else console.log(`the ledgers are in ${folder}`)
}
campaign.print()
const wrong = campaign.violations
console.log(
  wrong === 0
    ? `PASS: no law was broken (seed ${options.seed})`
    : `FAIL: ${wrong} violations with --seed ${options.seed}`,
)
process.exitCode = wrong === 0 ? 0 : 1
