// Mix rounds: plays the rounds of a campaign of random use, and says how they went.

import { parseArgs } from 'node:util'
import { Watchdog } from './threads.js'

/**
 * Reads `--seed`, `--rounds` and `--round`.
 *
 * @param rounds - How many there are by default.
 * @param more - Further options, as `parseArgs` takes them.
 */
export function readOptions(rounds, more = {}) {
  const number = { type: 'string', default: '0' }
  const round = { type: 'string', default: '-1' }
  const { values } = parseArgs({ options: { seed: number, rounds: number, round, ...more } })
  for (const name of ['seed', 'rounds', 'round']) {
    if (Number.isInteger(Number(values[name]))) continue
    throw new Error(`--${name} is ${values[name]}; allowed: an integer`)
  }
  return {
    ...values,
    seed: Number(values.seed) || (Date.now() % 1_000_000) + 1,
    rounds: Number(values.rounds) || rounds,
    only: Number(values.round),
  }
}

/**
 * Plays the rounds, with a seed each. What is thrown outside of a promise breaks a law, too.
 *
 * @param options - From {@link readOptions}.
 * @param plan - `name` and `unit` for messages; `endMs`: so long the main thread may hang; `play`:
 * plays a round by its seed and number, and gives the laws that it broke and how many units it had.
 * @returns What prints the verdict and sets the exit code.
 */
export async function playRounds({ seed, rounds, only }, { name, unit, endMs, play }) {
  const watchdog = new Watchdog(endMs)
  let broken = 0
  let units = 0
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
    const played = await play(Math.imul(seed, 0x9e3779b1) ^ round, round)
    for (const law of played.broken) violate(law)
    units += played.units
  }
  await watchdog.end()
  return () => {
    const verdict = broken === 0 ? 'PASS' : `FAIL: ${broken} broken`
    console.log(`${name} campaign, seed ${seed}: ${round} rounds, ${units} ${unit}: ${verdict}`)
    process.exitCode = broken === 0 ? 0 : 1
  }
}
