// Life: what a system costs apart from commands: its start, its idle threads, their memory. Each
// sample has two fresh processes, with 2 and with 4 threads.
// @ts-check

import { liveOnce } from '../support/live-once.js'

const THREADS = 2
const MORE_THREADS = 4

/** @type {readonly import('../support/contract.js').LoneRow[]} */
export const rows = [
  {
    id: 'life',
    title: 'a fresh process: import, first result; then nothing to do',
    threads: THREADS,
    columns: [
      { metric: 'firstResultMs', title: 'first result ms', better: 'less', digits: 1 },
      { metric: 'firstResultCpuMs', title: 'CPU ms until it', better: 'less', digits: 1 },
      { metric: 'idlePercent', title: 'idle % of a core', better: 'less', digits: 2 },
      { metric: 'threadMiB', title: 'MiB per thread', better: 'less', digits: 1 },
      { metric: 'residentMiB', title: 'MiB in all', better: 'less', digits: 1 },
    ],
    async measureAlone(system, mode, ms) {
      const few = await liveOnce(system.name, mode.name, THREADS, ms)
      const more = await liveOnce(system.name, mode.name, MORE_THREADS, 0)
      return {
        firstResultMs: few.firstResultMs,
        firstResultCpuMs: few.firstResultCpuMs,
        idlePercent: few.idlePercent,
        threadMiB: (more.residentMiB - few.residentMiB) / (MORE_THREADS - THREADS),
        residentMiB: few.residentMiB,
      }
    },
  },
]
