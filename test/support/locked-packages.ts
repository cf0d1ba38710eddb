// Locked packages: installs what a folder's lock file names, once, and the package itself beside it
// as its users get it.

import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

function isInstalled(lock: string, mark: string): boolean {
  return existsSync(mark) && readFileSync(mark, 'utf8') === readFileSync(lock, 'utf8')
}

/**
 * Installs them unless they are, and copies the package there.
 *
 * @param folder - Has the lock file, and gets `node_modules`.
 * @param root - Of the package, which is built.
 * @throws Error if npm fails.
 */
export function installLocked(folder: string, root: string): void {
  const lock = join(folder, 'package-lock.json')
  // A copy of the lock file is there only if an install of exactly that one ran to its end.
  const mark = join(folder, 'node_modules/.corelane-installed')
  if (!isInstalled(lock, mark)) {
    const words = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
    const { status, stderr, error } = spawnSync('npm', words, {
      cwd: folder,
      encoding: 'utf8',
      shell: process.platform === 'win32',
    })
    if (status !== 0) throw new Error(`npm ci failed in ${folder}: ${error?.message ?? stderr}`)
    copyFileSync(lock, mark)
  }
  const place = join(folder, 'node_modules/corelane')
  rmSync(place, { recursive: true, force: true })
  mkdirSync(place, { recursive: true })
  cpSync(join(root, 'dist'), join(place, 'dist'), { recursive: true })
  copyFileSync(join(root, 'package.json'), join(place, 'package.json'))
}
