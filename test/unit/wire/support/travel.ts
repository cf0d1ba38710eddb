// Travel: takes a value from an encoder to a decoder as the rooms around the codec do.

import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { PayloadDecoder, PayloadEncoder, SPILL } from '../../../../src/wire/ring-payload.ts'
import { fromSideValue, type SideValue, toParcel } from '../../../../src/wire/side-payload.ts'
import { ringMemory } from './ring-memory.ts'

const ring = ringMemory(1 << 17)

/**
 * Sends a value through the ring, or through a real port if it does not fit or is to be moved.
 *
 * @param value - Anything.
 * @param transferList - What to move.
 * @returns What arrives.
 */
export function travel(value: unknown, transferList: readonly object[] = []): unknown {
  const encoder = new PayloadEncoder('payload', 60_000)
  const length = transferList.length > 0 ? SPILL : encoder.prepare(value)
  if (length === SPILL) return travelAside(value, transferList)
  encoder.write(ring, 64)
  const { kind, resets } = encoder
  const arrived = new PayloadDecoder().decode(kind, resets, ring, 64, length)
  ring.bytes.fill(0x55)
  return arrived
}

/**
 * Sends a value through a real port.
 *
 * @param value - Anything.
 * @param transferList - What to move.
 */
export function travelAside(value: unknown, transferList: readonly object[] = []): unknown {
  const { port1, port2 } = new MessageChannel()
  try {
    const parcel = toParcel(value, 'payload', transferList)
    port1.postMessage(parcel.side, parcel.transferList as MessagePort[])
    return fromSideValue(receiveMessageOnPort(port2)!.message as SideValue)
  } finally {
    port1.close()
  }
}
