// TypeScript: the package's types are compiled by the oldest version that is named and by each one
// since, strictly, with and without the DOM's types, under every way to resolve modules. The newest
// checks every file there is, as `tsc` does; the others what uses the package and the package.

import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { describeWithTools } from '../support/locked-packages.ts'
import { ONE_SHOT } from '../support/one-shot.ts'

const root = join(import.meta.dirname, '../..')
const tools = join(import.meta.dirname, 'tools/typescript')
const work = join(tools, '.work')

const OPTIONS = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: false,
  noEmit: true,
  target: 'es2022',
  types: ['node'],
}
const WAYS = {
  node16: { module: 'node16', lib: ['es2022'] },
  nodenext: { module: 'nodenext', lib: ['es2022', 'dom'] },
  bundler: { module: 'esnext', moduleResolution: 'bundler', lib: ['es2022'] },
}

const { dependencies } = JSON.parse(readFileSync(join(tools, 'package.json'), 'utf8'))
const versions = Object.keys(dependencies).filter((name) => name.startsWith('typescript-'))

/** Runs a program of the tools on all folders; gives what it printed. */
function run(...words: string[]): string {
  const env = { ...process.env, ...ONE_SHOT }
  const options = { cwd: work, env, encoding: 'utf8' } as const
  const { stdout, stderr } = spawnSync(process.execPath, words, options)
  return stdout + stderr
}

describeWithTools(tools, () => {
  beforeAll(() => {
    rmSync(work, { recursive: true, force: true })
    for (const [way, options] of Object.entries(WAYS)) {
      const place = join(work, way)
      mkdirSync(place, { recursive: true })
      const config = { compilerOptions: { ...OPTIONS, ...options }, include: ['*'] }
      writeFileSync(join(place, 'tsconfig.json'), JSON.stringify(config))
      for (const suffix of ['mts', 'cts']) {
        copyFileSync(join(import.meta.dirname, 'uses.mts'), join(place, `uses.${suffix}`))
      }
    }
    copyFileSync(join(import.meta.dirname, 'uses-redis.mts'), join(work, 'nodenext/redis.mts'))
    copyFileSync(join(import.meta.dirname, 'specs/typescript.cjs'), join(work, 'compile.cjs'))
  })

  test.each(versions)('%s compiles uses of the package, however it resolves modules', (version) => {
    const place = join(tools, 'node_modules', version)
    // The oldest resolves alike for `node16` and `nodenext`. Between it and the last two nothing
    // has changed in how modules are resolved.
    const ways = Object.keys(WAYS).slice([1, 2, 2, 2][versions.indexOf(version)])
    const folders = ways.map((way) => join(work, way))
    // The compiler in Go has no such interface. With one thread it does each work once.
    const printed = existsSync(join(place, 'lib/typescript.js'))
      ? run('compile.cjs', version, ...folders)
      : folders.map((to) => run(join(place, 'bin/tsc'), '-p', to, '--singleThreaded')).join('')
    expect(printed).toBe('')
  })
})

test('the uses are of every door', () => {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const doors = Object.keys(exports).filter((door) => !/\.json$|\/entry$/.test(door))
  const uses = ['uses.mts', 'uses-redis.mts'].map((name) =>
    readFileSync(join(import.meta.dirname, name), 'utf8'),
  )
  const used = [...uses.join().matchAll(/ from 'corelane(.*)'/g)].map(([, door]) => `.${door}`)
  expect([...new Set(used)].sort()).toEqual(doors.sort())
})

test('types name no package but Node and, for its door, redis', () => {
  const foreign = (door: string) => {
    const text = readFileSync(join(root, 'dist', `${door}.d.cts`), 'utf8')
    const names = [...text.matchAll(/(?:from|import\()\s*["']([^"'.][^"']*)["']/g)]
    return [...new Set(names.map(([, name]) => name))]
  }
  // Examples in comments name the package itself.
  const ours = (names: unknown[]) => names.filter((name) => !/^corelane\b/.test(String(name)))
  // The types of a manager are shared since `corelane/testing` has them too.
  expect(ours(foreign('shared'))).toEqual(['node:perf_hooks', 'node:worker_threads'])
  expect(ours(foreign('redis'))).toEqual(['redis'])
  for (const door of ['index', 'handler', 'testing', 'jest-worker', 'opentelemetry']) {
    expect(ours(foreign(door)).filter((name) => !/^node:/.test(String(name)))).toEqual([])
  }
})
