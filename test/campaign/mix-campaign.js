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

import { Generator } from './generator.js'
import { PoolRound } from './mix-pool.js'
import { MixRound } from './mix-round.js'
import { playRounds } from './mix-rounds.js'
import { readOptions } from './options.js'
import { comesTrue, ThreadCount } from './threads.js'

const ROUNDS = 200
/** Reached only by what hangs, on busy machines, too. */
const END_MS = 60_000

const threads = new ThreadCount()
const say = await playRounds(readOptions({ rounds: ROUNDS }), {
  name: 'mix',
  unit: 'calls',
  endMs: END_MS,
  play: async (seed) => {
    const random = new Generator(seed)
    const one = random.below(12) === 0 ? new PoolRound(random) : new MixRound(random)
    await one.run()
    // The watchdog's stays.
    const isLeft = !(await comesTrue(() => threads.living <= 1, END_MS))
    return { broken: [...one.broken, ...(isLeft ? ['a thread is left'] : [])], units: one.calls }
  },
})
say()
