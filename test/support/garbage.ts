// Garbage: collects it when a test wants to see what is still held.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')

/** Collects garbage, all of it unless told otherwise. */
export const collectGarbage = runInNewContext('gc') as (options?: { type: 'minor' }) => void
