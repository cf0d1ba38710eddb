// Mix rounds: plays the rounds of a campaign of random use, and says how they went.

import { Watchdog } from './threads.js'

/**
 * Plays the rounds, with a seed each. What is thrown outside of a promise breaks a law, too.
 *
 * @param options - From `readOptions`.
 * @param plan - `name` and `unit` for messages; `endMs`: so long the main thread may hang; `play`:
 * plays a round by its seed and number, and gives the laws that it broke and how many units it had.
 * @returns What prints the verdict and sets the exit code.
 */
export async function playRounds({ seed, rounds, round: only }, { name, unit, endMs, play }) {
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
    if ((only ?? round) !== round) continue
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
