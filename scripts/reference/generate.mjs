// Generate: writes the reference of the public types, as Markdown, to docs/api or to the folder that
// is named. It brings its generator, which needs a TypeScript of its own, at the first call.
// @ts-check

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'

const here = import.meta.dirname
const out = resolve(process.argv[2] ?? join(here, '../../docs/api'))

/**
 * @param {string} program
 * @param {readonly string[]} words
 */
function run(program, words) {
  const { status } = spawnSync(program, words, { cwd: here, stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}

if (!existsSync(join(here, 'node_modules/typedoc'))) {
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'])
}
run(process.execPath, ['node_modules/typedoc/bin/typedoc', '--out', out, '--logLevel', 'Warn'])
