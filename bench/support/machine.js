// Machine: where a run takes place, for its header.
// Thread: main.   Owns: nothing.
// @ts-check

import { execFileSync } from 'node:child_process'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import osUtils from 'os-utils'
import { usableCores } from '../../build/coordinator/cores.js'
import { SYSTEMS } from '../systems/table.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Describes the machine; takes a second, for the load of its cores.
 *
 * @returns {Promise<import('./contract.js').Machine>}
 */
export async function describeMachine() {
  /** @type {number} */
  const cpuUsageBefore = await new Promise((resolve) => osUtils.cpuUsage(resolve))
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: osUtils.cpuCount(),
    usableCores: usableCores(),
    memoryGiB: totalmem() / 2 ** 30,
    platform: `${platform()} ${release()} ${arch()}`,
    node: process.version,
    v8: process.versions.v8,
    commit: describeCommit(),
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
    loadBefore: loadAverage(),
    cpuUsageBefore,
    versions: Object.fromEntries(
      SYSTEMS.flatMap(({ name, version }) => {
        const found = version?.()
        return found === undefined ? [] : [[name, found]]
      }),
    ),
  }
}

/** Runnable processes over the last minute, by os-utils. */
export function loadAverage() {
  return osUtils.loadavg(1)
}

function describeCommit() {
  try {
    const words = ['describe', '--always', '--dirty', '--tags']
    return execFileSync('git', words, { cwd: ROOT, encoding: 'utf8', stdio: 'pipe' }).trim()
  } catch {
    // An unpacked archive has no history, and a machine may have no git.
    return 'unknown'
  }
}

/**
 * The header as lines.
 *
 * @param {import('./contract.js').Machine} machine
 */
export function headerLines(machine) {
  const { cpu, cores, usableCores: usable, memoryGiB, node, v8, commit, date } = machine
  const after = machine.loadAfter === undefined ? '' : `, ${machine.loadAfter.toFixed(2)} after`
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`)
  return [
    `${cpu}, ${cores} cores (${usable} usable), ${memoryGiB.toFixed(0)} GiB, ${machine.platform}`,
    `Node ${node} (V8 ${v8}), corelane ${commit}, ${date} UTC`,
    `host load ${machine.loadBefore.toFixed(2)} before${after}; cores ${(machine.cpuUsageBefore * 100).toFixed(0)} % in use before`,
    versions.join(', '),
  ]
}
