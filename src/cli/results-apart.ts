// Results apart: runs the bin once more with stderr as its stdout, so that whatever handlers and
// their child processes write to descriptor 1 cannot land among the results.
// Owns: the other process, and the signals that it passes on.
//
// Node has no dup2: only a new process gets its descriptors chosen. The first process waits, passes
// signals on and ends as the second one does. A terminal sends a signal to both of them; so the
// second counts the signals that it gets itself and those that are passed on, and takes the larger
// count.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, fstatSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { isatty, WriteStream } from 'node:tty'
import { endBySignal } from '../base/ending.ts'

/** Signals that a run finishes its work for. */
export const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/** One of {@link SIGNALS}. */
export type EndSignal = (typeof SIGNALS)[number]

/** Says that this process is the other one. */
const MARK = 'CORELANE_RESULTS_APART'
/** Where it finds the results' stream. */
const RESULTS = 3

/** Whether this process is the other one. */
export const isApart: boolean = process.env[MARK] !== undefined
// Processes that handlers start are not.
delete process.env[MARK]

/** Where results go. */
export function openResults(): Writable & { readonly isTTY?: boolean } {
  // Without handlers in this process nothing else goes there.
  if (!isApart) return process.stdout
  if (isatty(RESULTS)) return new WriteStream(RESULTS)
  const stat = fstatSync(RESULTS)
  const isPipe = stat.isFIFO() || stat.isSocket()
  // Its waits must not keep the process alive, as with process.stdout.
  if (isPipe) return new Socket({ fd: RESULTS, readable: false, writable: true }).unref()
  return createWriteStream('', { fd: RESULTS, autoClose: false })
}

/**
 * Runs this command line in the other process.
 *
 * @returns Its exit code. If a signal ended it, the same signal ends this process.
 */
export async function runApart(): Promise<number> {
  const args = [...process.execArgv, ...process.argv.slice(1)]
  const child = spawn(process.execPath, args, {
    env: { ...process.env, [MARK]: '1' },
    // Its stdout is our stderr, and descriptor 3 our stdout.
    stdio: ['inherit', 2, 2, 1, 'ipc'],
  })
  const pass = (name: EndSignal) => child.send(name, () => {})
  for (const name of SIGNALS) process.on(name, pass)
  const [code, signal] = (await once(child, 'exit')) as [number | null, EndSignal | null]
  for (const name of SIGNALS) process.off(name, pass)
  if (signal !== null) endBySignal(signal)
  return code ?? 1
}

/**
 * Hears signals, once for each, until it is stopped.
 *
 * @param hear - Called with the name of one.
 * @returns Stops: a signal then does what it does to every process.
 */
export function onSignals(hear: (name: EndSignal) => void): () => void {
  const own = { SIGINT: 0, SIGTERM: 0 }
  const passed = { SIGINT: 0, SIGTERM: 0 }
  const count = (counts: typeof own, others: typeof own) => (name: EndSignal) => {
    if (++counts[name] > others[name]) hear(name)
  }
  const onOwn = count(own, passed)
  const onPassed = count(passed, own)
  // The signal that ended the process in front was meant for the whole command.
  const onAlone = () => process.kill(process.pid, 'SIGKILL')
  for (const name of SIGNALS) process.on(name, onOwn)
  if (isApart) process.on('message', onPassed).on('disconnect', onAlone)
  return () => {
    for (const name of SIGNALS) process.off(name, onOwn)
    if (!isApart) return
    process.off('message', onPassed).off('disconnect', onAlone)
    if (process.connected) process.disconnect()
  }
}
