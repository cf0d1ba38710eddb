// Host by os-utils: the machine's figures. A chunk of its own, loaded by the first call of `stats`.

import osUtils from 'os-utils'

/** The machine, by os-utils. */
export interface HostStats {
  readonly cores: number
  /** Runnable processes over the last minute. */
  readonly loadAverage: number
  readonly freeMemoryMb: number
  readonly totalMemoryMb: number
  readonly uptimeSeconds: number
}

/** The machine at this moment. */
export function hostByOsUtils(): HostStats {
  return {
    cores: osUtils.cpuCount(),
    loadAverage: osUtils.loadavg(1),
    freeMemoryMb: osUtils.freemem(),
    totalMemoryMb: osUtils.totalmem(),
    uptimeSeconds: osUtils.sysUptime(),
  }
}
