// Load peer: imports a package that is installed beside this file.
// Thread: any.   Owns: nothing.
// @ts-check

/**
 * Imports a peer.
 *
 * @param {string} name - Of a package in this folder's package.json.
 * @returns {Promise<any>} Its module. Not typed: where nobody benchmarks it is not installed.
 */
export function loadPeer(name) {
  return import(name)
}
