// Cores: how many threads this process may run at a time.
// `os.cpus()` ignores containers, and Node 20's `availableParallelism()` ignores CPU quotas.

import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'

/** Name of the environment variable that overrides the number of cores. */
export const CORES_VARIABLE = 'CORELANE_CORES'

/** Reads a small file; undefined if there is none. */
export type ReadText = (path: string) => string | undefined

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // No such file: this machine has no such control group.
    return undefined
  }
}

/**
 * Cores that a control group's CPU quota allows.
 *
 * @param read - Reads the kernel's files.
 * @returns A number that may have a fraction; Infinity without a quota.
 */
export function quotaCores(read: ReadText): number {
  let cores = Number.POSITIVE_INFINITY
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (controllers === undefined || path === undefined) continue
    const isVersion2 = controllers === ''
    if (!isVersion2 && !controllers.split(',').includes('cpu')) continue
    const root = isVersion2 ? '/sys/fs/cgroup' : '/sys/fs/cgroup/cpu'
    // Every ancestor's quota binds too. In a container the group's own path may not be visible.
    for (let group = path; ; group = join(group, '..')) {
      const folder = join(root, group)
      cores = Math.min(
        cores,
        isVersion2 ? quotaOfVersion2(read, folder) : quotaOfVersion1(read, folder),
      )
      if (group === '/' || group === '.' || group === '') break
    }
  }
  return cores
}

function quotaOfVersion2(read: ReadText, folder: string): number {
  const [quota, period] = (read(join(folder, 'cpu.max')) ?? 'max').trim().split(/\s+/)
  const cores = Number(quota) / Number(period ?? 100_000)
  return cores > 0 ? cores : Number.POSITIVE_INFINITY
}

function quotaOfVersion1(read: ReadText, folder: string): number {
  const quota = Number(read(join(folder, 'cpu.cfs_quota_us')) ?? -1)
  const period = Number(read(join(folder, 'cpu.cfs_period_us')) ?? 100_000)
  return quota > 0 ? quota / period : Number.POSITIVE_INFINITY
}

/** Read once: it takes up to a millisecond, and a manager asks for itself and for each thread. */
let quota: number | undefined

/**
 * Number of partitions that keep every core this process may use busy: what the operating system
 * offers, bounded by the control group's CPU quota rounded down, at least 1. The environment
 * variable `CORELANE_CORES` overrides it.
 */
export function usableCores(): number {
  const override = Number(process.env[CORES_VARIABLE])
  if (Number.isInteger(override) && override > 0) return override
  quota ??= quotaCores(readText)
  return Math.max(1, Math.floor(Math.min(availableParallelism(), quota)))
}
