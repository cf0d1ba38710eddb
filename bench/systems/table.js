// Table of systems: everything that the benchmark compares.
// Thread: main.   Owns: nothing.
// @ts-check

import { openBarePost } from '../support/bare-post.js'
import { BARE_RING_PAYLOAD_BYTES_MAX, openBareRing } from '../support/bare-ring.js'
import { openIdeal } from '../support/ideal.js'
import { corelane } from './corelane.js'
import { piscina, piscinaDoor } from './piscina.js'
import { poolifier } from './poolifier.js'
import { tinypool } from './tinypool.js'
import { workerpool } from './workerpool.js'

/** By rank in tables. @type {readonly import('../support/contract.js').System[]} */
export const SYSTEMS = [
  corelane,
  piscina,
  piscinaDoor,
  tinypool,
  workerpool,
  poolifier,
  {
    name: 'post-message',
    title: 'bare postMessage',
    modes: [{ name: 'round-robin', open: openBarePost }],
  },
  {
    name: 'bare-ring',
    title: 'bare ring',
    modes: [{ name: 'round-robin', open: openBareRing }],
    payloadBytesMax: BARE_RING_PAYLOAD_BYTES_MAX,
  },
  { name: 'ideal', title: 'ideal split', modes: [{ name: 'bare threads', open: openIdeal }] },
]

/** What a smoke needs: no package beyond the project's own. */
export const SMOKE_SYSTEMS = ['corelane', 'piscina', 'post-message', 'bare-ring', 'ideal']

/**
 * Finds a system.
 *
 * @param {string} name
 */
export function systemNamed(name) {
  const found = SYSTEMS.find((system) => system.name === name)
  if (found === undefined) {
    throw new RangeError(
      `no system "${name}"; there are ${SYSTEMS.map((system) => system.name).join(', ')}`,
    )
  }
  return found
}
