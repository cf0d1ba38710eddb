// Build: compiles src to dist, bundles what users load, takes away what no longer has a source.
// dist is updated in place and never emptied: a process that runs from it keeps its files.
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

// tsc has just put single modules where the bundles belong. They work too, so a process that starts
// now runs; each is replaced whole, and after what it imports.
const bundled = await bundle()
for (const { path, text } of bundled) {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(`${path}.new`, text, { mode: path === 'dist/cli/main.js' ? 0o755 : 0o644 })
  renameSync(`${path}.new`, path)
}

const bundles = new Set(bundled.map(({ path }) => path))
for (const file of readdirSync('dist', { recursive: true, withFileTypes: true })) {
  if (!file.isFile()) continue
  const path = join(file.parentPath, file.name).replaceAll('\\', '/')
  const source = path.replace(/^dist/, 'src').replace(/(\.d)?\.(ts|js)(\.map)?$/, '.ts')
  const isBundle = bundles.has(path)
  // A door that only names what chunks export has no map, and tsc's belongs to what it replaced.
  const isReplaced = bundles.has(path.replace(/\.map$/, ''))
  if (!isBundle && (isReplaced || !existsSync(source))) rmSync(path)
}

// The stamp carries the time of the start: a source saved while tsc ran counts as newer than the build.
mkdirSync('.cache', { recursive: true })
writeFileSync('.cache/built', '')
utimesSync('.cache/built', startedAt, startedAt)
