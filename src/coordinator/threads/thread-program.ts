// Thread program: finds the program that a thread runs, wherever a bundler has put this module.

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** What `new Worker` runs. */
export interface ThreadProgram {
  /** Absolute path of a file, or the program itself. */
  readonly source: string
  /** Whether `source` is the program itself. */
  readonly isText: boolean
}

/** Why no thread starts under the permission model of Node.js. */
export const FORBIDDEN = Object.freeze({
  option: 'node --permission',
  received: 'given without --allow-worker',
  allowed: '--allow-worker, and --allow-fs-read for corelane and the handlers',
})

/**
 * Finds the program of threads: the file that the option `entry` names; else the file of this
 * package; else, in an application that is bundled without that file, its text.
 *
 * @param entry - Absolute path; undefined if the option was not given.
 */
export async function findThreadProgram(entry: string | undefined): Promise<ThreadProgram> {
  const file = fileProgram(entry)
  if (file !== undefined) return file
  const bundled = await import('./corelane-entry.cjs')
  const { ENTRY_TEXT } = bundled.default ?? bundled
  // It may run as an ES module, depending on Node's flags.
  const source = `((require) => {${ENTRY_TEXT}\n})(process.getBuiltinModule)`
  return { source, isText: true }
}

/**
 * The program of threads, unless only its text is there.
 *
 * @param entry - Absolute path; undefined if the option was not given.
 */
export function fileProgram(entry: string | undefined): ThreadProgram | undefined {
  const source = entry ?? fileBeside()
  return source === undefined ? undefined : { source, isText: false }
}

/** The package's own file. It lies beside this module in dist, and only there. */
function fileBeside(): string | undefined {
  try {
    // Tools that copy files recognise these very words. A path, since the global URL may not be
    // Node's in a test runner.
    const file = fileURLToPath(new URL('./corelane-entry.cjs', import.meta.url).href)
    return existsSync(file) ? file : undefined
  } catch {
    // A bundler has put something else in place of this module's URL.
    return undefined
  }
}
