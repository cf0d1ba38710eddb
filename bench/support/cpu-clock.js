// CPU clock: processor time of the whole process and of its main thread.
// Thread: main.   Owns: nothing.
// @ts-check

import { readFileSync } from 'node:fs'

/** @typedef {{ processUs: number, mainUs: number }} CpuTime */

/** Node's own reading of one thread; newer than Node 20. */
const threadCpuUsage = /** @type {{ threadCpuUsage?: () => NodeJS.CpuUsage }} */ (process)
  .threadCpuUsage

const readMainUs = chooseMainClock()

/**
 * Processor time used so far, in microseconds.
 *
 * @returns {CpuTime} `mainUs` is NaN where the system does not tell.
 */
export function readCpu() {
  const { user, system } = process.cpuUsage()
  return { processUs: user + system, mainUs: readMainUs() }
}

/**
 * What was used since.
 *
 * @param {CpuTime} since - An earlier {@link readCpu}.
 * @returns {CpuTime}
 */
export function cpuSince(since) {
  const now = readCpu()
  return { processUs: now.processUs - since.processUs, mainUs: now.mainUs - since.mainUs }
}

function chooseMainClock() {
  if (threadCpuUsage !== undefined) {
    return () => {
      const { user, system } = threadCpuUsage.call(process)
      return user + system
    }
  }
  try {
    readSchedule()
    return readSchedule
  } catch {
    // Not Linux, or a kernel without the file: the event loop's busy time is the nearest thing.
    return () => performance.eventLoopUtilization().active * 1000
  }
}

/** The kernel's account of the first thread, the main one; nanoseconds on a core come first. */
function readSchedule() {
  return Number.parseInt(readFileSync('/proc/self/schedstat', 'latin1'), 10) / 1000
}
