// Programs: scripts in processes of their own, for what only a whole process can show.

import { spawn } from 'node:child_process'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

/** How a program ended. */
export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/**
 * Runs the body of an asynchronous function in the project's folder, with `QueueManager` at hand.
 * It is killed once its time is over; the signal then tells. `flags` are for node.
 */
export function runProgram(
  body: string,
  timeoutMs = 20_000,
  flags: readonly string[] = [],
): Promise<Ending> {
  const script = `import('corelane').then(async ({ QueueManager }) => {${body}\n})`
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...flags, '--eval', script], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text
    })
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
}
