// Packed: what `npm pack` makes is what users get, so it is installed and used as they would.

import { execFileSync, spawnSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Packed, packOnce } from '../support/locked-packages.ts'

const root = join(import.meta.dirname, '../..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const INSTALL_MS = 120_000
const PACKED_BYTES_MAX = 300 * 1024
const PACKED_FILES_MAX = 60
/** Of the package and what it depends on, installed. */
const INSTALLED_BYTES_MAX = 1_500_000

/** The doors as a user writes them: `corelane`, `corelane/handler`, … */
const doors = Object.keys(manifest.exports).map((door) => manifest.name + door.slice(1))
const modules = doors.filter((door) => !/\.json$|\/entry$/.test(door))

/** Engines that users install beside the package if they use their door. */
const peers = Object.entries<string>(manifest.peerDependencies)

let folder = ''
let namesWithoutPeers: Record<string, string[]>
let bytesWithoutPeers: number
let withoutPeers: Record<string, { hasInstallScript?: boolean }>
let packed: Packed

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { cwd: folder, encoding: 'utf8', stdio: 'pipe' })
}

/** What doors export, in a process of their own. */
function namesOf(...doors: string[]): Record<string, string[]> {
  const script = `const all = {}
    for (const door of ${JSON.stringify(doors)}) all[door] = Object.keys(await import(door))
    console.log(JSON.stringify(all))`
  return JSON.parse(run('node', '--input-type=module', '--eval', script))
}

function bytesIn(place: string): number {
  return readdirSync(place, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .reduce((bytes, { parentPath, name }) => bytes + statSync(join(parentPath, name)).size, 0)
}

beforeAll(() => {
  packed = packOnce()
  folder = mkdtempSync(join(tmpdir(), 'corelane-packed-'))
  const app = join(folder, 'app')
  mkdirSync(app)
  writeFileSync(join(app, 'package.json'), '{ "private": true }')
  const install = ['install', '--no-audit', '--no-fund', '--prefer-offline']
  folder = app
  run('npm', ...install, packed.tarball)
  namesWithoutPeers = namesOf('corelane')
  bytesWithoutPeers = bytesIn(join(app, 'node_modules'))
  withoutPeers = JSON.parse(readFileSync(join(app, 'package-lock.json'), 'utf8')).packages
  run('npm', ...install, ...peers.map(([name, range]) => `${name}@${range}`))
}, INSTALL_MS)

afterAll(() => {
  if (folder) rmSync(join(folder, '..'), { recursive: true, force: true })
})

test('the package is small and holds dist and what npm adds', () => {
  expect(packed.size).toBeLessThan(PACKED_BYTES_MAX)
  expect(packed.files.length).toBeLessThanOrEqual(PACKED_FILES_MAX)
  const paths = packed.files.map(({ path }) => path)
  expect(paths.filter((path) => !path.startsWith('dist/')).sort()).toEqual([
    'LICENSE',
    'README.md',
    'package.json',
  ])
})

test('it brings comlink and os-utils alone, little in all, and nothing that runs at install', () => {
  const { '': _app, ...packages } = withoutPeers
  const names = Object.keys(packages).map((path) => path.replace('node_modules/', ''))
  expect(names.sort()).toEqual(['comlink', manifest.name, 'os-utils'])
  expect(Object.values(packages).filter(({ hasInstallScript }) => hasInstallScript)).toEqual([])
  expect(bytesWithoutPeers).toBeLessThan(INSTALLED_BYTES_MAX)
})

test('types show nothing of the machinery', () => {
  const types = packed.files.map(({ path }) => path).filter((path) => path.endsWith('.d.cts'))
  expect(types.length).toBeGreaterThan(4)
  for (const path of types) {
    const text = readFileSync(join(folder, 'node_modules', manifest.name, path), 'utf8')
    const inner = /^declare class (?:Command|Dispatcher|Incarnation|InFlightWindow|Runtime) /m
    expect(text, path).not.toMatch(inner)
  }
})

test('a source map comes with its sources, or not at all', () => {
  const paths = packed.files.map(({ path }) => path)
  const hasMaps = paths.some((path) => path.endsWith('.map'))
  const hasSources = paths.some((path) => path.startsWith('src/'))
  expect(hasMaps).toBe(hasSources)
})

test('peers are optional: without them the front door opens all the same', () => {
  expect(Object.keys(manifest.peerDependenciesMeta)).toEqual(peers.map(([name]) => name))
  expect(namesWithoutPeers).toEqual(namesOf('corelane'))
})

test('require of every door works from CommonJS and prints nothing', () => {
  const script = `console.log(${doors.map((door) => `typeof require('${door}')`).join()})`
  const { stdout, stderr } = spawnSync('node', ['--input-type=commonjs', '--eval', script], {
    cwd: folder,
    encoding: 'utf8',
  })
  expect([stdout.trim(), stderr]).toEqual([doors.map(() => 'object').join(' '), ''])
})

test('every door, and nothing else, gives the same named exports as an ES module and as CommonJS', () => {
  const pairs = modules.map((door) => {
    const { require: common } = manifest.exports[door.replace(manifest.name, '.')]
    return [door, join(folder, 'node_modules', manifest.name, common.default)]
  })
  const script = `
    const nameOf = ([name, value]) => name + ' ' + (value?.name ?? typeof value)
    const namesOf = (door) => Object.entries(door).map(nameOf).sort()
    Promise.all(${JSON.stringify(pairs)}.map(async ([door, path]) =>
      [door, namesOf(await import(door)), namesOf(require(path))],
    ).concat(import('${manifest.name}/dist/base/errors.js').catch(({ code }) => code)))
      .then((all) => console.log(JSON.stringify(all)))`
  const printed = JSON.parse(run('node', '--input-type=commonjs', '--eval', script))
  const code = printed.pop()
  const all: [string, string[], string[]][] = printed
  expect(all.map(([door, , common]) => [door, common])).toEqual(
    all.map(([door, modern]) => [door, modern]),
  )
  expect(all.map(([door]) => door)).toEqual(modules)
  for (const [door, names] of all) {
    expect(names!.length, door).toBeGreaterThan(0)
    expect(names, door).not.toContainEqual(expect.stringMatching(/^default /))
  }
  expect(code).toBe('ERR_PACKAGE_PATH_NOT_EXPORTED')
})

test.each(Object.keys(manifest.bin))('%s --version prints the version', (bin) => {
  expect(run(join(folder, 'node_modules/.bin', bin), '--version')).toContain(manifest.version)
})

test.each([
  ['npm 10', {}],
  ['npm 11', { type: 'commonjs' }],
  ['an ES module project', { type: 'module' }],
])('the first blocks of the readme run beside a package.json of %s', (name, members) => {
  const start = join(folder, 'start', name.replaceAll(' ', '-'))
  mkdirSync(start, { recursive: true })
  const manifestOf = { name: 'start', version: '1.0.0', main: 'index.js', ...members }
  writeFileSync(join(start, 'package.json'), JSON.stringify(manifestOf))
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const files = [...readme.matchAll(/^```js (\S+)\n([\s\S]*?)^```$/gm)]
  expect(files.map(([, file]) => file)).toEqual(['handlers.mjs', 'main.mjs', 'main.cjs'])
  for (const [, file, code] of files) writeFileSync(join(start, file!), code!)
  const options = { cwd: start, encoding: 'utf8' } as const
  expect(execFileSync('node', ['main.mjs'], options)).toBe('[ 148933, 168 ]\n')
  expect(execFileSync('node', ['main.cjs'], options)).toBe('168\n')
})
