// Clients: copies of other people's tools that find our packages instead of their dependencies.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)

const PACKAGES = join(import.meta.dirname, '../../packages')
const KEPT = join(import.meta.dirname, '../../.cache/clients')
const SPECS = join(import.meta.dirname, '../environments/specs')

/** How long one client may take. */
export const CLIENT_MS = 120_000

/** A folder in which clients work. */
export class ClientFolder {
  readonly path: string
  readonly #modules: string
  readonly #digest: string

  /**
   * Empties it.
   *
   * @param tools - Has the `node_modules` of the clients, and the lock file that names them.
   * @param test - The file of the tests.
   */
  constructor(tools: string, test: string) {
    this.path = join(tools, '.work')
    this.#modules = join(tools, 'node_modules')
    const hash = createHash('sha256').update(`${this.path} ${process.version} ${process.arch}`)
    const specs = readdirSync(SPECS).sort()
    const inputs = [test, join(tools, 'package-lock.json'), ...specs.map((at) => join(SPECS, at))]
    for (const path of inputs) hash.update(readFileSync(path))
    this.#digest = hash.digest('hex')
    this.remove()
    mkdirSync(this.path)
  }

  /** A path in it. */
  at(name: string): string {
    return join(this.path, name)
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true })
  }

  /**
   * Copies a client, so that it finds one of our packages instead of its dependency.
   *
   * @returns Where the copy is.
   */
  overridden(client: string, dependency: string): string {
    const copy = this.at(`node_modules/${client}`)
    cpSync(join(this.#modules, client), copy, { recursive: true })
    const place = join(copy, 'node_modules', dependency)
    rmSync(place, { recursive: true, force: true })
    cpSync(join(PACKAGES, dependency), place, { recursive: true })
    return copy
  }

  /** A program's copy, where it finds the tools. */
  spec(name: string): string {
    const copy = this.at(name)
    cpSync(join(SPECS, name), copy)
    return copy
  }

  /** Writes files, by their paths in it. */
  write(files: Readonly<Record<string, string>>): void {
    for (const [name, text] of Object.entries(files)) {
      const path = this.at(name)
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text)
    }
  }

  /** Runs a program that must end by itself. */
  async run(program: string, ...words: string[]): Promise<string> {
    const options = { cwd: this.path, timeout: CLIENT_MS }
    try {
      return (await execute(process.execPath, [program, ...words], options)).stdout
    } catch (error) {
      const { stdout, stderr } = error as { stdout: string; stderr: string }
      throw new Error(`${program} failed:\n${stdout}\n${stderr}`, { cause: error })
    }
  }

  /**
   * What a client makes with its own dependency. Nothing of ours is in that: it is made once for
   * this Node, the lock file, the programs of clients and the file of the tests.
   *
   * @param name - Of the work, in that file.
   */
  async theirs<T>(name: string, make: () => Promise<T>): Promise<T> {
    const path = join(KEPT, `${this.#digest}-${name}.json`)
    if (!existsSync(path)) {
      const text = JSON.stringify(await make())
      mkdirSync(KEPT, { recursive: true })
      writeFileSync(`${path}.part`, text)
      renameSync(`${path}.part`, path)
    }
    return JSON.parse(readFileSync(path, 'utf8'))
  }

  /** What is in a folder of it, by path. */
  contents(name: string): Record<string, string> {
    const folder = this.at(name)
    const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    return Object.fromEntries(
      files
        .filter((file) => file.isFile())
        .map((file) => join(file.parentPath, file.name))
        .sort()
        .map((path) => [path.slice(folder.length), readFileSync(path, 'latin1')]),
    )
  }
}
