// Import module: loads the handler module by its URL, TypeScript by Node.js or by tsx.
// Owns: the hook that finds TypeScript where JavaScript is named.
//
// Node.js 22.18 and newer strip types. Modules that Node.js cannot load, because it is older or
// because of syntax that is more than types, tsx loads, if the project of the module has it.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, URL as NodeUrl, pathToFileURL } from 'node:url'
import { timers } from '../base/clock.ts'
import { isErrorValue } from '../wire/families.ts'

type Namespace = Record<string, unknown>

type Resolve = (specifier: string, context: { readonly parentURL?: string }) => unknown

/** Node.js 22.15 and newer have `registerHooks`. */
export interface NodeModule {
  readonly createRequire: (url: string | NodeUrl) => NodeJS.Require
  readonly registerHooks?: (hooks: {
    resolve(...given: [...Parameters<Resolve>, next: Resolve]): unknown
  }) => void
}

/** Node.js loads it when it is first asked for, which most threads do not. */
export function nodeModule(): NodeModule {
  return process.getBuiltinModule('node:module')
}

const TYPESCRIPT = /\.[cm]?tsx?$/

/** Why Node.js does not load TypeScript, without having run any of it. */
const REFUSALS: ReadonlySet<unknown> = new Set([
  'ERR_NO_TYPESCRIPT',
  'ERR_UNKNOWN_FILE_EXTENSION',
  'ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING',
  'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX',
])

/**
 * Loads a module.
 *
 * @param url - Its URL.
 * @throws What it throws while it loads, or why it cannot be loaded and what to do about it.
 */
export async function importModule(url: string): Promise<Namespace> {
  try {
    return await importAny(url)
  } catch (error) {
    // Members of an error of the user's may be getters that throw.
    await tellPlace(error, url).catch(() => {})
    throw error
  }
}

/** V8 tells a debugger where a module cannot be parsed, if it is there before the module. */
const FINDER = `
const { Session } = process.getBuiltinModule('node:inspector')
const { parentPort, workerData } = process.getBuiltinModule('node:worker_threads')
const session = new Session()
session.connect()
const urls = new Map()
session.on('Debugger.scriptFailedToParse', ({ params }) => urls.set(params.scriptId, params.url))
session.post('Debugger.enable')
const nowhere = () => parentPort.postMessage(undefined)
import(workerData).then(nowhere, (error) => {
  globalThis.thrown = error
  session.post('Runtime.evaluate', { expression: 'thrown' }, (_, { result }) => {
    session.post('Runtime.getExceptionDetails', { errorObjectId: result.objectId }, (_, found) => {
      const { scriptId, lineNumber } = found.exceptionDetails
      const url = urls.get(scriptId)
      parentPort.postMessage(url && url + ':' + (lineNumber + 1))
    })
  })
})`

/** How long it may look for that. */
const FIND_MS = 5000

/** By URL and message, since a command that names its module loads it again and again. */
const places = new Map<string, Promise<string | undefined>>()

/**
 * Puts the place of a syntax error before its stack, as Node.js does by itself for CommonJS and
 * TypeScript. For an ES module another thread loads it once more, under a debugger.
 */
async function tellPlace(error: unknown, url: string): Promise<void> {
  if (!isErrorValue(error) || error.name !== 'SyntaxError') return
  // An error that code of the module has thrown has its place in the stack.
  const { stack = '', message } = error
  if (!/^SyntaxError[^\n]*\n +at [^\n]*node:internal/.test(stack)) return
  const name = `${url} ${message}`
  if (!places.has(name)) places.set(name, findPlace(url))
  const place = await places.get(name)
  if (place !== undefined) error.stack = `${place}\n${stack}`
}

async function findPlace(url: string): Promise<string | undefined> {
  const { Worker } = process.getBuiltinModule('node:worker_threads')
  const options = { eval: true, workerData: url, stdout: true, stderr: true }
  let finder: InstanceType<typeof Worker>
  try {
    finder = new Worker(FINDER, options)
  } catch {
    // The permission model may allow no thread in a thread.
    return undefined
  }
  return new Promise((resolve) => {
    const timer = timers.setTimeout(() => void finder.terminate(), FIND_MS)
    finder.once('message', (place: string | undefined) => {
      resolve(place)
      void finder.terminate()
    })
    // Without a debugger there is no place.
    finder.once('error', () => {})
    finder.once('exit', () => {
      timers.clearTimeout(timer)
      resolve(undefined)
    })
  })
}

async function importAny(url: string): Promise<Namespace> {
  if (!isTypeScript(url)) return import(url)
  findTypeScript()
  try {
    return await import(url)
  } catch (error) {
    if (!REFUSALS.has(codeOf(error))) throw error
    return (await importByTsx(url)) ?? requireByHook(url) ?? refuse(error)
  }
}

function isTypeScript(url: string | undefined): boolean {
  return url?.startsWith('file:') === true && TYPESCRIPT.test(new NodeUrl(url).pathname)
}

function codeOf(error: unknown): unknown {
  return (error as { readonly code?: unknown } | null | undefined)?.code
}

/** The TypeScript file for an import of TypeScript that finds nothing: `./a.js` or `./a`. */
function sourceBeside(specifier: string, parent: string | undefined): string | undefined {
  if (!/^\.{0,2}\/|^file:/.test(specifier) || !isTypeScript(parent)) return undefined
  const isNamed = /\.[cm]?js$/.test(specifier)
  const source = isNamed ? specifier.replace(/js$/, 'ts') : `${specifier}.ts`
  return existsSync(new NodeUrl(source, parent)) ? source : undefined
}

let isFinding = false

/**
 * Lets imports in TypeScript name the JavaScript file that the imported module is compiled to, as
 * TypeScript and its bundlers do. Only where Node.js strips types: tsx does the same by itself.
 */
function findTypeScript(): void {
  const { registerHooks } = nodeModule()
  if (isFinding || registerHooks === undefined) return
  isFinding = true
  registerHooks({
    resolve(specifier, context, next) {
      try {
        return next(specifier, context)
      } catch (error) {
        const source = sourceBeside(specifier, context.parentURL)
        if (source === undefined) throw error
        return next(source, context)
      }
    },
  })
}

async function importByTsx(url: string): Promise<Namespace | undefined> {
  let folder: string
  try {
    folder = nodeModule().createRequire(url).resolve('tsx/package.json')
  } catch {
    return undefined
  }
  // Its CommonJS entry does not find its own files on Node.js 20.
  const api = pathToFileURL(join(folder, '..', 'dist/esm/api/index.mjs')).href
  const { tsImport } = (await import(api)) as {
    tsImport(url: string, parentUrl: string): Promise<Namespace>
  }
  return tsImport(url, url)
}

/** Loads it by `require`, if something has taught that TypeScript: ts-node, swc and others. */
function requireByHook(url: string): Namespace | undefined {
  const require = nodeModule().createRequire(url)
  // Node.js that strips types has an entry of its own there, and has refused.
  const isTaught = !('typescript' in process.features && process.features.typescript)
  if (!isTaught || require.extensions['.ts'] === undefined) return undefined
  return require(fileURLToPath(url)) as Namespace
}

function refuse(error: unknown): never {
  const needsMore = codeOf(error) === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX'
  const newer = needsMore ? '' : 'run it with Node.js 22.18 or newer, '
  const advice = `${newer}install tsx (npm install --save-dev tsx), or give the compiled JavaScript`
  const message = `Node.js ${process.version} cannot load it: ${(error as Error).message}`
  throw new Error(`${message}; ${advice}`, { cause: error })
}
