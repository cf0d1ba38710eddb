// Locked packages: other people's tools for tests, as lock files name them, and the package beside
// them as its users get it. Where there is no registry to install them from, tests that need them
// are left out with a line that says so; they fail where CI=true.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'vitest'

const ROOT = join(import.meta.dirname, '../..')

/** What npm says if it reaches no registry. */
const UNREACHABLE =
  /E(?:NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|NETUNREACH|HOSTUNREACH|NOTCACHED)/

function isInstalled(lock: string, mark: string): boolean {
  return existsSync(mark) && readFileSync(mark, 'utf8') === readFileSync(lock, 'utf8')
}

/** Runs a program to its end, which must be a good one. */
function run(program: string, words: readonly string[], cwd: string, more = {}): string {
  const shell = process.platform === 'win32'
  const env = { ...process.env, ...more }
  const { status, stdout, stderr, error } = spawnSync(program, words, {
    cwd,
    encoding: 'utf8',
    shell,
    env,
  })
  if (status === 0) return stdout
  throw new Error(`${program} ${words[0]} failed in ${cwd}: ${error?.message ?? stderr}`)
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Runs work that no other test file does in the same folder at that time. */
function exclusively(folder: string, work: () => void): void {
  const path = join(folder, '.installing')
  for (;;) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' })
      break
    } catch {
      // The process that holds it may have been killed, or has just given it back.
      const holder = existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0
      if (holder > 0 && !isAlive(holder)) rmSync(path, { force: true })
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
    }
  }
  try {
    work()
  } finally {
    rmSync(path, { force: true })
  }
}

/** What `npm pack` made. */
export interface Packed {
  readonly tarball: string
  /** Of all that goes into it. */
  readonly digest: string
  readonly size: number
  readonly files: readonly { readonly path: string }[]
}

/** Packs the package as it is built, for all test files together. */
export function packOnce(): Packed {
  const hash = createHash('sha256')
  const built = readdirSync(join(ROOT, 'dist'), { recursive: true, withFileTypes: true })
  const files = built
    .filter((file) => file.isFile())
    .map((file) => join(file.parentPath, file.name))
  const beside = ['package.json', 'README.md', 'LICENSE'].map((name) => join(ROOT, name))
  for (const path of [...beside, ...files.sort()]) hash.update(path).update(readFileSync(path))
  // npm takes some files of the root by their names.
  const digest = hash.update(readdirSync(ROOT).join()).digest('hex')
  const folder = join(ROOT, '.cache/packed')
  const record = join(folder, `${digest}.json`)
  mkdirSync(folder, { recursive: true })
  exclusively(folder, () => {
    if (existsSync(record)) return
    // Scripts stay off: the package is built already, and other tests run from dist meanwhile.
    const words = ['pack', ROOT, '--json', '--ignore-scripts', '--pack-destination', folder]
    const [made] = JSON.parse(run('npm', words, folder))
    const tarball = join(folder, `${digest}.tgz`)
    renameSync(join(folder, made.filename), tarball)
    writeFileSync(record, JSON.stringify({ ...made, tarball, digest }))
  })
  return JSON.parse(readFileSync(record, 'utf8'))
}

/** Installs what the lock file names, unless that is there, and the package from its tarball. */
function install(folder: string): void {
  const modules = join(folder, 'node_modules')
  const lock = join(folder, 'package-lock.json')
  // A copy of the lock file is there only if an install of exactly that one ran to its end.
  const mark = join(modules, '.corelane-installed')
  if (!isInstalled(lock, mark)) {
    const words = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
    // One thread writes thousands of small files with less processor time than four.
    const ci = (...more: string[]) =>
      run('npm', [...words, ...more], folder, { UV_THREADPOOL_SIZE: '1' })
    // A third of the processor time goes into asking the registry again for lists of versions that
    // npm has, which is needed only where they are older than the lock file.
    try {
      ci('--prefer-offline')
    } catch {
      ci()
    }
    copyFileSync(lock, mark)
  }
  const { tarball, digest } = packOnce()
  const place = join(modules, 'corelane')
  const packed = join(modules, '.corelane-packed')
  const bin = join(modules, '.bin/corelane')
  if (!lstatSync(bin, { throwIfNoEntry: false })) {
    mkdirSync(join(modules, '.bin'), { recursive: true })
    symlinkSync('../corelane/dist/cli/main.js', bin)
  }
  // Tests of another file may run with it.
  if (existsSync(packed) && readFileSync(packed, 'utf8') === digest) return
  rmSync(place, { recursive: true, force: true })
  mkdirSync(place)
  run('tar', ['-xzf', tarball, '-C', 'corelane', '--strip-components=1'], modules)
  writeFileSync(packed, digest)
}

/**
 * Whether a page of docs names the version that is tested.
 *
 * @param folder - Has the lock file.
 * @param name - Of the package.
 * @param said - The leading numbers of its version.
 */
export function isLockedVersion(folder: string, name: string, said: string): boolean {
  const { packages } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8'))
  return `${packages[`node_modules/${name}`].version}.`.startsWith(`${said}.`)
}

/**
 * Tests that need tools.
 *
 * @param folder - Has the lock file, and gets `node_modules`.
 * @param body - Defines the tests, as with vitest's `describe`.
 */
export function describeWithTools(folder: string, body: () => void): void {
  const name = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).description
  try {
    exclusively(folder, () => install(folder))
  } catch (error) {
    const isOffline = error instanceof Error && UNREACHABLE.test(error.message)
    if (isOffline && process.env.CI !== 'true') {
      console.warn(`left out: ${name}: no registry to install them from`)
      describe.skipIf(true)(name, body)
      return
    }
    test(name, () => {
      throw error
    })
    return
  }
  describe(name, body)
}
