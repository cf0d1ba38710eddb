// Mix campaign: uses everything that a manager offers at once and at random, and holds what comes
// of it against laws.
//
//   npm run test:fault -- mix                 200 rounds of two seconds, a seed from the clock
//   npm run test:fault -- mix --seed 7 --rounds 20
//   npm run test:fault -- mix --seed 7 --round 12      that round alone, as it was
//
// A round makes a manager with lanes, limits, bounds, threads and a partitioner of chance; for a
// second it submits commands of all kinds with options of all kinds, in batches, streams and maps,
// broadcasts, reloads, pauses lanes and changes their limits, from callbacks, too; then it drains
// or shuts down, and closes, or closes at once. One round in twelve is a pool of Piscina's kind.
//
// The laws: drain, close and a rest in between come in time; every promise settles, with the right
// result or an error that was asked for; statistics come back to zero, events and metrics agree
// with them; signals keep no listener, and no thread is left; nothing is thrown outside of a
// promise; no run is twice; limits of lanes and groups hold by the stamps of runs. Where no thread
// is made to die, no two commands of a key run at once, and those of a lane and key run in their
// order. Exits with 1 if a law was broken, and prints the seed and the round.

import { parseArgs } from 'node:util'
import { Generator } from './generator.js'
import { PoolRound } from './mix-pool.js'
import { MixRound } from './mix-round.js'
import { comesTrue, ThreadCount, Watchdog } from './threads.js'

const ROUNDS = 200
/** Reached only by what hangs, on busy machines, too. */
const END_MS = 60_000

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

const { seed, rounds, only } = readOptions()
const threads = new ThreadCount()
const watchdog = new Watchdog(END_MS)
let broken = 0
let calls = 0
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
  const random = new Generator(Math.imul(seed, 0x9e3779b1) ^ round)
  const one = random.below(12) === 0 ? new PoolRound(random) : new MixRound(random)
  await one.run()
  for (const law of one.broken) violate(law)
  // The watchdog's stays.
  if (!(await comesTrue(() => threads.living <= 1, END_MS))) violate('a thread is left')
  calls += one.calls
}
await watchdog.end()
const verdict = broken === 0 ? 'PASS' : `FAIL: ${broken} broken`
console.log(`mix campaign, seed ${seed}: ${round} rounds, ${calls} calls: ${verdict}`)
process.exitCode = broken === 0 ? 0 : 1
