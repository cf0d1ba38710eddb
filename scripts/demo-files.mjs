// Demo files: real files to compress, the same ones on every run of the same clone.
// @ts-check

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { stableHash } from 'corelane'

const FOLDERS = ['src', 'docs', 'test', 'node_modules']
const TEXT = /\.(?:[cm]?[jt]s|json|md|map|css|html)$/
// Smaller files would measure the file system, and a larger one could be the whole end of a run.
const FILE_BYTES_MIN = 8 * 1024
const FILE_BYTES_MAX = 256 * 1024

/**
 * @typedef {{ path: string, bytes: number }} DemoFile
 */

/**
 * Finds text files of the clone and its node_modules.
 *
 * @param {string} root - The clone.
 * @returns {DemoFile[]} In an order that depends on their paths alone, yet mixes all folders.
 */
export function findFiles(root) {
  /** @type {(DemoFile & { order: number })[]} */
  const files = []
  for (const folder of FOLDERS) {
    for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !TEXT.test(entry.name)) continue
      const path = join(entry.parentPath, entry.name)
      const { size } = statSync(path)
      if (size < FILE_BYTES_MIN || size > FILE_BYTES_MAX) continue
      files.push({ path, bytes: size, order: stableHash(path.slice(root.length)) })
    }
  }
  files.sort((a, b) => a.order - b.order || (a.path < b.path ? -1 : 1))
  return files.map(({ path, bytes }) => ({ path, bytes }))
}

/**
 * Takes files from the front until they reach a number of bytes.
 *
 * @param {readonly DemoFile[]} files
 * @param {number} bytesMax
 * @returns {DemoFile[]} The largest first: the small ones then even out the end of a run.
 */
export function pickFiles(files, bytesMax) {
  const picked = []
  let bytes = 0
  for (const file of files) {
    if (bytes >= bytesMax) break
    picked.push(file)
    bytes += file.bytes
  }
  return picked.sort((a, b) => b.bytes - a.bytes)
}
