// Command line: what `npm run bench` is told.
// Thread: main.   Owns: nothing.
// @ts-check

import { parseArgs } from 'node:util'

/** What is printed for `--help`. */
export const USAGE = `npm run bench -- [options]

  --only <pattern>    rows whose id has this in it (a regular expression; "micro" for the parts)
  --systems <names>   compare only these, divided by commas
  --samples <n>       samples of each system in each row, 5 by default
  --sample-ms <n>     how long a sample launches commands, 1000 by default
  --quick             a smoke of every row in seconds; its figures mean nothing
  --json <file>       write the results there; a full run writes into bench/results by itself
  --html <file>       write a page with charts; a full run writes it beside its results by itself
  --markdown          put the results into bench/README.md, and the headline into README.md
  --from <file>       measure nothing, take the results of an earlier run
  --list              print the ids of the rows and the names of the systems`

/** Nothing that a bound allows is held back. */
const NO_BOUND = 1e9

/** @type {import('./contract.js').Settings} */
const FULL = {
  samples: 5,
  sampleMs: 1_000,
  warmUpMs: 250,
  warmUpMaxMs: 6_000,
  inFlightMax: NO_BOUND,
  queuedMax: NO_BOUND,
  isThorough: true,
}

/** @type {import('./contract.js').Settings} */
const QUICK = {
  samples: 1,
  sampleMs: 3,
  warmUpMs: 1,
  warmUpMaxMs: 0,
  inFlightMax: 8,
  queuedMax: 8,
  isThorough: false,
}

/**
 * Reads the arguments.
 *
 * @param {string[]} words - Without node and the program.
 */
export function readCommandLine(words) {
  const { values } = parseArgs({
    args: words,
    options: {
      only: { type: 'string', default: '' },
      systems: { type: 'string', default: '' },
      samples: { type: 'string' },
      'sample-ms': { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      html: { type: 'string' },
      markdown: { type: 'boolean', default: false },
      from: { type: 'string' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const settings = { ...(values.quick ? QUICK : FULL) }
  if (values.samples !== undefined) settings.samples = positive('samples', values.samples)
  if (values['sample-ms'] !== undefined) {
    settings.sampleMs = positive('sample-ms', values['sample-ms'])
  }
  return {
    only: new RegExp(values.only),
    isPartial: values.only !== '' || values.systems !== '',
    systems: values.systems.split(',').filter((name) => name !== ''),
    settings,
    isQuick: values.quick,
    json: values.json,
    html: values.html,
    isMarkdown: values.markdown,
    from: values.from,
    isList: values.list,
    isHelp: values.help,
  }
}

/** @param {string} name @param {string} text */
function positive(name, text) {
  const value = Number(text)
  if (Number.isInteger(value) && value > 0) return value
  throw new RangeError(`--${name} is "${text}"; allowed: an integer from 1`)
}
