// Clients: copies of other people's tools that find our packages instead of their dependencies.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)

const PACKAGES = join(import.meta.dirname, '../../packages')
const SPECS = join(import.meta.dirname, '../environments/specs')

/** How long one client may take. */
export const CLIENT_MS = 120_000

function digestOf(...texts: readonly (string | Buffer)[]): string {
  const hash = createHash('sha256')
  for (const text of texts) hash.update(text)
  return hash.digest('hex').slice(0, 32)
}

/** A value as JSON, with digests of its long texts. */
function briefly(value: unknown): string {
  const isLong = (member: unknown) => typeof member === 'string' && member.length > 500
  return JSON.stringify(value, (_, member) => (isLong(member) ? digestOf(member) : member))
}

/** A folder in which clients work. */
export class ClientFolder {
  readonly path: string
  readonly #modules: string
  readonly #kept: string
  readonly #inputs: string

  /**
   * Empties it.
   *
   * @param tools - Has the `node_modules` of the clients, and the lock file that names them.
   * @param test - The file of the tests.
   */
  constructor(tools: string, test: string) {
    this.path = join(tools, '.work')
    this.#modules = join(tools, 'node_modules')
    this.#kept = join(tools, 'made.json')
    const specs = readdirSync(SPECS).filter((name) => name.startsWith('clients-'))
    const inputs = [test, join(tools, 'package-lock.json'), ...specs.map((at) => join(SPECS, at))]
    this.#inputs = digestOf(...inputs.sort().map((path) => readFileSync(path)))
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

  /** What clients made with their own dependencies, if that was with the same inputs. */
  #made(): Record<string, string> {
    const made = existsSync(this.#kept) ? JSON.parse(readFileSync(this.#kept, 'utf8')) : {}
    return made.inputs === this.#inputs ? made : { inputs: this.#inputs }
  }

  /**
   * What a client makes with its own dependency. Nothing of ours is in that, so `made.json` keeps
   * it for the lock file, the programs of clients and the file of the tests. A client makes it
   * again where that is of other inputs, or where ours made something else.
   *
   * @param name - Of the work, in that file.
   * @param ours - What it made with ours, if that has to be the same.
   */
  async theirs<T>(name: string, make: () => Promise<T>, ours?: T): Promise<T> {
    const keeps = process.env.KEEP_MADE === 'true'
    const kept = keeps ? undefined : this.#made()[name]
    if (kept !== undefined && ours === undefined) return JSON.parse(kept)
    if (kept !== undefined && briefly(ours) === kept) return ours!
    const made = await make()
    if (keeps) {
      const all = { ...this.#made(), [name]: briefly(made) }
      writeFileSync(this.#kept, `${JSON.stringify(all, undefined, 2)}\n`)
    } else console.warn(`${name}: made again; KEEP_MADE=true keeps it, see CONTRIBUTING.md`)
    return made
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
