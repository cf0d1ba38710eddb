// Install peers: gets the packages to compare with, once; quiet when they are there.
// Thread: main.   Owns: bench/peers/node_modules.
// @ts-check

import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const FOLDER = new URL('../peers/', import.meta.url)
const LOCK = new URL('package-lock.json', FOLDER)
/** A copy of the lock file: there only if an install of exactly that one ran to its end. */
const MARK = new URL('node_modules/.corelane-installed', FOLDER)

/**
 * Installs them unless they are.
 *
 * @param {(line: string) => void} say - Told what takes long or goes wrong.
 */
export function installPeers(say) {
  if (existsSync(MARK) && readFileSync(MARK, 'utf8') === readFileSync(LOCK, 'utf8')) return
  say('installing the peers (npm ci in bench/peers)')
  const words = ['ci', '--no-audit', '--no-fund', '--loglevel=error']
  const { status, error } = spawnSync('npm', words, {
    cwd: fileURLToPath(FOLDER),
    stdio: ['ignore', 'ignore', 'inherit'],
    shell: process.platform === 'win32',
  })
  if (status === 0) copyFileSync(LOCK, MARK)
  else say(`they could not be installed (${error?.message ?? `exit code ${status}`})`)
}
