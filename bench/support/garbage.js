// Garbage: collects it, so that what is left of the heap is what is held.
// Thread: main.   Owns: nothing.
// @ts-check

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const gc = /** @type {() => void} */ (runInNewContext('gc'))

/**
 * Collects twice: what the first finds unreachable may hold more.
 *
 * @returns Bytes of the heap in use after that.
 */
export function collectGarbage() {
  gc()
  gc()
  return process.memoryUsage().heapUsed
}
