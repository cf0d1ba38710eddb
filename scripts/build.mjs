// Build: compiles src to build, bundles that to dist, takes away what no longer has a source.
// Both are updated in place and never emptied: a process that runs from dist keeps its files.
// @ts-check

import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundle } from './bundle.mjs'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))
const startedAt = new Date()

const compiler = spawnSync(
  'node',
  ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'],
  {
    stdio: 'inherit',
  },
)
if (compiler.status !== 0) process.exit(compiler.status ?? 1)

/** @param {string} folder */
function filesOf(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .map((file) => join(file.parentPath, file.name).replaceAll('\\', '/'))
}

for (const path of filesOf('build')) {
  const source = path.replace(/^build/, 'src').replace(/(\.d)?\.(ts|js)(\.map)?$/, '.ts')
  if (!existsSync(source)) rmSync(path)
}

// Each file is replaced whole, and after what it loads.
const bundled = await bundle()
for (const { path, text } of bundled) {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(`${path}.new`, text, { mode: path === 'dist/cli/main.js' ? 0o755 : 0o644 })
  renameSync(`${path}.new`, path)
}
const kept = new Set(bundled.map(({ path }) => path))
for (const path of filesOf('dist')) if (!kept.has(path)) rmSync(path)

// The stamp carries the time of the start: a source saved while tsc ran counts as newer than the build.
mkdirSync('.cache', { recursive: true })
writeFileSync('.cache/built', '')
utimesSync('.cache/built', startedAt, startedAt)
