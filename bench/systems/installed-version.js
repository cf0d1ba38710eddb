// Installed version: of a package that the benchmark compares with.
// Thread: main.   Owns: nothing.
// @ts-check

import { existsSync, readFileSync } from 'node:fs'

/** Where peers may be installed: their own folder, then the project's. */
const FOLDERS = ['../peers/node_modules/', '../../node_modules/']

/**
 * The version of a package.
 *
 * @param {string} name
 * @returns {string | undefined} Undefined if it is not installed.
 */
export function installedVersion(name) {
  for (const folder of FOLDERS) {
    const manifest = new URL(`${folder}${name}/package.json`, import.meta.url)
    if (existsSync(manifest)) return JSON.parse(readFileSync(manifest, 'utf8')).version
  }
  return undefined
}

/**
 * Why a peer cannot run here.
 *
 * @param {string} name
 * @returns {string | undefined} Undefined if it can.
 */
export function missingPeer(name) {
  return installedVersion(name) === undefined ? 'not installed (npm ci in bench/peers)' : undefined
}
