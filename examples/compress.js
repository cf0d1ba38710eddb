// Compress: a handler module. Every export is a handler: a function of a payload, run in a thread of
// its own. It takes a path rather than bytes, so that the thread reads the file by itself.
// @ts-check

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { brotliCompressSync, constants } from 'node:zlib'

/**
 * Compresses a file with brotli.
 *
 * @param {{ path: string, quality?: number }} payload - Quality is 0 to 11; the default, 11, is slow.
 * @returns How many bytes it has, how many are left, and the SHA-256 of those.
 */
export function compress({ path, quality = constants.BROTLI_MAX_QUALITY }) {
  const bytes = readFileSync(path)
  const compressed = brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: quality,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  })
  const sha256 = createHash('sha256').update(compressed).digest('hex')
  return { path, bytes: bytes.length, compressedBytes: compressed.length, sha256 }
}
