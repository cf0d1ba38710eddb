// File handlers: the modules that commands name, loaded when one of their handlers first runs.
// Owns: which of them are loaded.

import { fileURLToPath } from 'node:url'
import { whenSettled } from '../base/clock.ts'
import { laneError, show } from '../base/errors.ts'
import type { CommandContext } from '../model/command.ts'
import { type FileCall, type FileHandler, move } from '../model/handler-module.ts'
import { movedBy, transferableSymbol, valueSymbol } from '../model/transferable.ts'
import type { Definition } from '../wire/control.ts'
import { callUser } from './handlers.ts'
import { importModule, nodeModule } from './import-module.ts'

type Run = (...args: never[]) => unknown

/** Where `messageParent` finds the context of the call that runs. */
const JEST_CALL = Symbol.for('corelane.jestCall')

/** A payload of handlers that take arguments. */
interface JestCall {
  readonly args: readonly unknown[]
  readonly setupArgs: readonly unknown[]
}

/** Runs handlers of modules that commands name. */
export class FileHandlers {
  readonly #files = new Map<number, FileHandler>()
  readonly #loaded = new Map<number, Run>()
  /** By id: commands that came before their handler was defined. */
  readonly #awaited = new Map<number, ((file: FileHandler) => void)[]>()
  readonly #takes: FileCall
  /** By URL: the modules that were set up. */
  readonly #setUps = new Map<string, Promise<unknown>>()

  /**
   * @param files - Those that are known.
   * @param takes - How handlers are called.
   */
  constructor(files: readonly FileHandler[], takes: FileCall) {
    for (const file of files) this.#files.set(file.id, file)
    this.#takes = takes
  }

  /** Takes a message that may make a handler known. */
  readonly learn = ({ define: file }: Partial<Definition>): void => {
    if (file === undefined) return
    this.#files.set(file.id, file)
    for (const resolve of this.#awaited.get(file.id) ?? []) resolve(file)
    this.#awaited.delete(file.id)
  }

  /**
   * Runs a handler.
   *
   * @param id - Index of its type.
   * @param context - Its context.
   */
  readonly run = (id: number, payload: unknown, context: CommandContext): unknown => {
    const run = this.#loaded.get(id)
    if (run === undefined) {
      return this.#load(id, payload, context).then((loaded) =>
        this.#call(id, loaded, payload, context),
      )
    }
    return this.#call(id, run, payload, context)
  }

  #call(id: number, run: Run, payload: unknown, context: CommandContext): unknown {
    if (this.#takes === 'arguments') {
      Object.assign(globalThis, { [JEST_CALL]: context })
      return callUser(run, undefined, ...(payload as JestCall).args)
    }
    if (this.#takes === 'context') {
      Object.assign(context, { type: this.#files.get(id)!.name })
      return callUser(run, undefined, payload, context)
    }
    const result = callUser(run, undefined, payload)
    if (typeof result !== 'object' || result === null) return result
    const { then } = result as Partial<Promise<unknown>>
    return typeof then === 'function' ? whenSettled(result, unwrapped) : unwrapped(result)
  }

  /** Runs `teardown` of the modules that were set up. */
  async teardown(): Promise<void> {
    for (const url of this.#setUps.keys()) {
      const run = handlerOf(await load(url), 'teardown')
      if (typeof run === 'function') await callUser(run as Run, undefined)
    }
  }

  async #setUp(url: string, module: unknown, setupArgs: readonly unknown[]): Promise<void> {
    let setUp = this.#setUps.get(url)
    if (setUp === undefined) {
      const run = handlerOf(module, 'setup')
      setUp =
        typeof run === 'function'
          ? setUpBy(() => callUser(run as Run, module, ...setupArgs))
          : Promise.resolve()
      this.#setUps.set(url, setUp)
    }
    await setUp
  }

  async #load(id: number, payload: unknown, { partition }: CommandContext): Promise<Run> {
    const { url, name } = this.#files.get(id) ?? (await this.#defined(id))
    const hasSetUp = this.#takes === 'arguments'
    if (hasSetUp) process.env.JEST_WORKER_ID = String(partition + 1)
    const module = await load(url)
    if (hasSetUp) await this.#setUp(url, module, (payload as JestCall).setupArgs)
    const run = await handlerOf(module, name)
    if (typeof run !== 'function') {
      if (this.#takes === 'payload')
        throw new Error(`No handler function exported from ${pathOf(url)}`)
      throw laneError('CORELANE_UNKNOWN_TYPE', {
        received: show(name),
        allowed: `an export of ${url}`,
      })
    }
    const loaded = hasSetUp ? run.bind(module) : run
    this.#loaded.set(id, loaded as Run)
    return loaded as Run
  }

  #defined(id: number): Promise<FileHandler> {
    return new Promise((resolve) => {
      const waiting = this.#awaited.get(id)
      if (waiting === undefined) this.#awaited.set(id, [resolve])
      else waiting.push(resolve)
    })
  }
}

function unwrapped(result: unknown): unknown {
  const moved = movedBy(result)
  return moved === undefined ? result : move(moved[valueSymbol], [moved[transferableSymbol]].flat())
}

/** The export of a name; a module that is a function is its default export. */
function handlerOf(module: unknown, name: string): unknown {
  if (typeof module === 'function' && name === 'default') return module
  const exported = module as Record<string, unknown>
  const inner = exported.default as Record<string, unknown> | undefined
  // CommonJS that was an ES module before, imported: its default export is all that it exports.
  return inner?.__esModule ? inner[name] : (exported[name] ?? inner?.[name])
}

/** Runs a module's `setup`; its error says so, as Jest's does. */
async function setUpBy(run: () => unknown): Promise<void> {
  try {
    await run()
  } catch (cause) {
    const given = cause as Partial<Error> | null | undefined
    const error = new Error(`Error when calling setup: ${given?.message ?? cause}`, { cause })
    throw Object.assign(error, { type: given?.constructor?.name })
  }
}

function pathOf(url: string): string {
  return url.startsWith('file:') ? fileURLToPath(url) : url
}

/** `require` gives what CommonJS exports, and the namespace of an ES module, where it can. */
async function load(url: string): Promise<unknown> {
  if (!url.startsWith('file:') || /\.(?:mjs|[cm]?tsx?)(?:$|[?#])|[?#]/.test(url)) {
    return importModule(url)
  }
  try {
    return nodeModule().createRequire(url)(fileURLToPath(url))
  } catch (error) {
    const code = String((error as { readonly code?: unknown } | null)?.code)
    if (!code.startsWith('ERR_REQUIRE_')) throw error
    return importModule(url)
  }
}
