// Options: the numbers of a campaign's command line.

import { parseArgs } from 'node:util'

/**
 * Reads `--seed`, which comes from the clock by default, `--round` and other numbers.
 *
 * @param defaults - Of those, by their names.
 * @param more - Options that are no numbers, as `parseArgs` takes them.
 * @throws Error for what is no integer from 0.
 */
export function readOptions(defaults, more = {}) {
  const all = { seed: (Date.now() % 1_000_000) + 1, round: undefined, ...defaults }
  const numbers = Object.fromEntries(Object.keys(all).map((name) => [name, { type: 'string' }]))
  const { values } = parseArgs({ options: { ...numbers, ...more } })
  for (const name of Object.keys(all)) {
    const text = values[name]
    if (text === undefined) continue
    if (!/^\d+$/.test(text)) throw new Error(`--${name} is ${text}; allowed: an integer from 0`)
    values[name] = Number(text)
  }
  return { ...all, ...values }
}
