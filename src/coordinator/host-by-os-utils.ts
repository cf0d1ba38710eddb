// Host by os-utils: the machine's figures. A chunk of its own, loaded by the first call of `stats`.

import osUtils from 'os-utils'

/** The machine, by os-utils. */
export interface HostStats {
  /** Cores of the machine, not of the container. */
  readonly cores: number
  /** Runnable processes over the last minute. */
  readonly loadAverage: number
  /** Free memory, in MiB. */
  readonly freeMemoryMb: number
  /** All memory, in MiB. */
  readonly totalMemoryMb: number
  /** Seconds since the machine started. */
  readonly uptimeSeconds: number
}

/** Counted once: the system lists all that it knows of each core, which takes 2 ms and more. */
let cores: number | undefined

/** The machine at this moment. */
export function hostByOsUtils(): HostStats {
  cores ??= osUtils.cpuCount()
  return {
    cores,
    loadAverage: osUtils.loadavg(1),
    freeMemoryMb: osUtils.freemem(),
    totalMemoryMb: osUtils.totalmem(),
    uptimeSeconds: osUtils.sysUptime(),
  }
}
