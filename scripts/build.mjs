// Build: compiles src to dist and takes away what no longer has a source.
// dist is updated in place, never emptied, so a process that runs from it meanwhile keeps its files.
// @ts-check

import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

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

for (const file of readdirSync('dist', { recursive: true, withFileTypes: true })) {
  if (!file.isFile()) continue
  const path = join(file.parentPath, file.name)
  const source = path.replace(/^dist/, 'src').replace(/(\.d)?\.(ts|js)(\.map)?$/, '.ts')
  if (!existsSync(source)) rmSync(path)
}

if (existsSync('dist/cli/main.js')) chmodSync('dist/cli/main.js', 0o755)

// The stamp carries the time of the start: a source saved while tsc ran counts as newer than the build.
mkdirSync('.cache', { recursive: true })
writeFileSync('.cache/built', '')
utimesSync('.cache/built', startedAt, startedAt)
