// Handlers of the queue campaign: they write every run down, and some end their process.

import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { workerData } from 'node:worker_threads'
import { QueueLedger } from './queue-ledger.js'

const ledger = new QueueLedger(workerData.ledger)

/** Runs for so many microseconds. */
export function work({ index, us }) {
  ledger.write('start', index)
  for (const end = performance.now() + us / 1000; performance.now() < end; );
  ledger.write('end', index)
  return { index }
}

/** The same, waiting. */
export async function later({ index, us }) {
  ledger.write('start', index)
  await sleep(us / 1000)
  ledger.write('end', index)
  return { index }
}

/** Fails the first time. */
export function flaky({ index }) {
  ledger.write('start', index)
  if (isFirst(index)) {
    ledger.write('fail', index)
    throw new RangeError(`command ${index} fails`)
  }
  ledger.write('end', index)
  return { index }
}

/** Fails each time. */
export function broken({ index }) {
  ledger.write('start', index)
  ledger.write('fail', index)
  throw new RangeError(`command ${index} fails`)
}

/** Takes its process with it. */
export function poison({ index }) {
  ledger.write('start', index)
  ledger.write('fault', 'poison', process.pid)
  process.kill(process.pid, 'SIGKILL')
}

/** Tells when it was started, in milliseconds since 1970. */
export const stamp = (_payload, { startedAt }) => performance.timeOrigin + startedAt

/** A file per command is memory that outlives every process. */
function isFirst(index) {
  try {
    writeFileSync(`${workerData.ledger}.${index}`, '', { flag: 'wx' })
    return true
  } catch {
    return false
  }
}
