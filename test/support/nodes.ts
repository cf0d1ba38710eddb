// Nodes: other versions of Node, for what only they show. Where one is missing, what needs it is
// left out with a line that says so; it fails where CI=true.

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, test } from 'vitest'

const ROOT = join(import.meta.dirname, '../..')

/** Runs a file of `test/fixtures` and gives what it prints. */
export type RunFixture = (file: string, timeoutMs: number) => Promise<string>

/**
 * A block of tests for each version of Node that `scripts/nodes` installs.
 *
 * @param body - Defines the tests, as with vitest's `describe`.
 */
export function describeOnNodes(body: (run: RunFixture) => void): void {
  for (const major of [24, 26]) {
    const name = `on Node ${major}`
    const folder = join(ROOT, `.cache/nodes/${major}/node_modules`)
    const node = join(folder, `node-${process.platform}-${process.arch}/bin/node`)
    const run: RunFixture = async (file, timeout) => {
      const args = [join(ROOT, 'test/fixtures', file)]
      const options = { cwd: ROOT, timeout, killSignal: 'SIGKILL' as const }
      const { stdout } = await promisify(execFile)(node, args, options)
      return stdout
    }
    if (existsSync(node)) {
      describe(name, () => body(run))
      continue
    }
    const missing = `there is no ${node}; scripts/nodes installs it`
    if (process.env.CI === 'true') {
      test(name, () => {
        throw new Error(missing)
      })
      continue
    }
    console.warn(`left out: ${name}: ${missing}`)
    describe.skipIf(true)(name, () => body(run))
  }
}
