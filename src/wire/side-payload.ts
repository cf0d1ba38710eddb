// Side payload: the road beside the ring, for payloads that do not fit a ring record or must be
// moved: a record, and beside it the values that only a port carries.
// Thread: each end belongs to one thread.
// Owns: what arrived before its record was read.
// A payload is posted before its record is published, so it is there when the record is read. Long
// memory is copied here and moved by the port: one copy, where a port that copies makes two.

import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { invariant, laneError } from '../base/errors.ts'
import { classOf, extentOf } from './brands.ts'
import { describe } from './describe.ts'
import { isErrorValue } from './families.ts'
import { readText, TWO_BYTE, writeText } from './record-bytes.ts'
import { decodeAlone, viewAlone } from './value-decoder.ts'
import { encodeFor } from './value-encoder.ts'
import { type Beside, BINARY_CLASSES, MOVED_BYTES_MIN } from './value-tags.ts'

/** Stands for the record of a string that the port copies. */
const TEXT = -1
/** The same of one whose code units are moved, in memory of one or two bytes for each. */
const TEXT_ONE_BYTE = -2
const TEXT_TWO_BYTE = -3

/**
 * From so many code units on Node reads a string out of memory into memory beside V8's heap, which
 * is used again. V8 takes that of another long string from the system, and gives it back.
 */
const TEXT_MOVED_MIN = 0xfbee9

/** A value in the form in which it goes through a MessagePort. */
export interface SideValue {
  /** For binary data, or a string, that is all there is: the number of its class. */
  readonly record: Uint8Array<ArrayBuffer> | number
  readonly beside: readonly unknown[]
}

/** Such a value before it goes. */
export interface SideParcel {
  readonly side: SideValue
  /** What is moved instead of copied. */
  readonly transferList: readonly object[]
}

/**
 * Makes the form of a value for the side port. Runs getters of the value.
 *
 * @param role - What the value is, for the path in an error.
 * @param transferList - What is to be moved.
 * @throws SerializationError `CORELANE_UNSERIALIZABLE` if something in it can cross by no road.
 */
export function toParcel(
  value: unknown,
  role: string,
  transferList: readonly object[] = [],
): SideParcel {
  const alone = transferList.length === 0 ? parcelAlone(value) : undefined
  if (alone !== undefined) return alone
  const beside: Beside = { values: [], copies: [], transferred: new Set(transferList) }
  const record = encodeFor(role, value, beside)
  if (record.length >= MOVED_BYTES_MIN) beside.copies.push(record.buffer)
  const transferred = [...transferList, ...beside.copies]
  return { side: { record, beside: beside.values }, transferList: transferred }
}

/** The form of binary data or a string; undefined for any other value. */
function parcelAlone(value: unknown): SideParcel | undefined {
  if (typeof value === 'string') return parcelText(value)
  if (!types.isTypedArray(value)) return undefined
  const known = BINARY_CLASSES.indexOf(classOf(value).name as (typeof BINARY_CLASSES)[number])
  const { buffer, byteOffset, byteLength } = extentOf(value)
  // An empty view may be a detached one.
  if (known < 0 || byteLength === 0 || types.isSharedArrayBuffer(buffer)) return undefined
  const { buffer: memory } = new Uint8Array(new Uint8Array(buffer, byteOffset, byteLength))
  return { side: { record: known, beside: [memory] }, transferList: [memory] }
}

function parcelText(text: string): SideParcel {
  if (text.length < TEXT_MOVED_MIN) {
    return { side: { record: TEXT, beside: [text] }, transferList: [] }
  }
  const isTwoByte = TWO_BYTE.test(text)
  const bytes = Buffer.allocUnsafeSlow(isTwoByte ? 2 * text.length : text.length)
  writeText(bytes, 0, text, isTwoByte)
  const { buffer } = bytes
  const record = isTwoByte ? TEXT_TWO_BYTE : TEXT_ONE_BYTE
  return { side: { record, beside: [buffer] }, transferList: [buffer] }
}

/**
 * Makes the form of a value for a control call, whose port would refuse it without a reason.
 *
 * @param role - What the value is, for the path in an error.
 * @returns A member of the message, with nothing to transfer.
 * @throws SerializationError `CORELANE_UNSERIALIZABLE` if it cannot cross.
 */
export function toCallValue(value: unknown, role: string): SideValue {
  const { side } = toParcel(value, role)
  if (side.beside.some(isHost)) {
    // Only the engine can tell whether a port carries it.
    const refusal = portRefusal(side.beside)
    if (refusal !== undefined) throw sideRefused(role, refusal)
  }
  return side
}

/**
 * The error of a port that does not take a value.
 *
 * @param transferList - What is moved if the port takes it. Default: nothing.
 * @returns Undefined if the port takes it.
 */
export function portRefusal(value: unknown, transferList: readonly object[] = []): unknown {
  const { port1 } = new MessageChannel()
  try {
    port1.postMessage(value, transferList as ArrayBuffer[])
    return undefined
  } catch (thrown) {
    return thrown
  } finally {
    port1.close()
  }
}

function isHost(value: unknown): boolean {
  return typeof value === 'object' && !types.isArrayBuffer(value)
}

/**
 * Turns what arrived on a port into the value.
 *
 * @param side - From {@link toParcel}, after structured clone.
 */
export function fromSideValue({ record, beside }: SideValue): unknown {
  if (record === TEXT) return beside[0]
  if (record === TEXT_ONE_BYTE || record === TEXT_TWO_BYTE) {
    const bytes = Buffer.from(beside[0] as ArrayBuffer)
    return readText(bytes, 0, bytes.length, record === TEXT_TWO_BYTE)
  }
  return typeof record === 'number' ? viewAlone(record, beside[0]) : decodeAlone(record, beside)
}

/**
 * The error for a value that a MessagePort refused.
 *
 * @param role - What the value is.
 * @param thrown - What `postMessage` threw.
 */
export function sideRefused(role: string, thrown: unknown): Error {
  const received = isErrorValue(thrown) ? `refused: ${thrown.message}` : describe(thrown)
  return laneError('CORELANE_UNSERIALIZABLE', { role, path: role, received }, thrown)
}

/** An array costs a port less than an object with names. */
type SideMessage = readonly [id: number, record: SideValue['record'], ...beside: unknown[]]

export class SidePort {
  readonly #port: MessagePort
  /** Payloads that were sent. */
  posts = 0
  readonly #arrived = new Map<number, SideValue>()

  /**
   * @param port - One end of a channel; it is never started, so it serves no events.
   */
  constructor(port: MessagePort) {
    this.#port = port
  }

  /**
   * Sends the payload of a command or a result. Runs no code of the user's: `toParcel` did, so that
   * it ran before anything was claimed for the record.
   *
   * @param id - The command's id.
   * @param role - What it is, for messages.
   * @throws SerializationError if it cannot be sent; then nothing was.
   */
  post(id: number, role: string, { side, transferList }: SideParcel): void {
    const message: SideMessage = [id, side.record, ...side.beside]
    try {
      this.#port.postMessage(message, transferList as ArrayBuffer[])
      this.posts++
    } catch (thrown) {
      throw sideRefused(role, thrown)
    }
  }

  /**
   * Takes the payload whose record was just read.
   *
   * @param id - The command's id.
   */
  take(id: number): unknown {
    while (!this.#arrived.has(id)) {
      const received = receiveMessageOnPort(this.#port)
      invariant(received !== undefined, `the side port holds no payload for command ${id}`)
      const [arrived, record, ...beside] = received.message as SideMessage
      this.#arrived.set(arrived, { record, beside })
    }
    const side = this.#arrived.get(id)!
    this.#arrived.delete(id)
    return fromSideValue(side)
  }

  close(): void {
    this.#port.close()
  }
}
