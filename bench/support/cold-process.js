// Cold, the process: opens one system, gets a first result, and measures the time after it.
// Usage: node cold-process.js <system> <mode> <threads> <microseconds of work> <ms> <in flight>
// @ts-check

import { systemNamed } from '../systems/table.js'
import { closedLoop } from './closed-loop.js'
import { spin } from './handlers.js'
import { metered } from './metered.js'
import { iterationsFor } from './spin-rate.js'

const [name = '', modeName = '', threads, work, ms, inFlight] = process.argv.slice(2)
const mode = systemNamed(name).modes.find((one) => one.name === modeName)
if (mode === undefined) throw new RangeError(`${name} has no mode "${modeName}"`)
const us = Number(work)
const iterations = us === 0 ? 1 : iterationsFor(us)
const pool = await mode.open(Number(threads))
await pool.start?.()
await pool.run('echo', 1)
const result = spin(iterations)
const sample = await metered(() =>
  closedLoop(pool, {
    type: us === 0 ? 'echo' : 'spin',
    values: [iterations],
    digest: (value) => value,
    expected: us === 0 ? (payload) => payload : () => result,
    inFlight: Number(inFlight),
    ms: Number(ms),
  }),
)
await pool.close()
console.log(JSON.stringify(sample))
