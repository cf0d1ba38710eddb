// Side port: the road for payloads that do not fit a ring record or must be moved.
// Thread: each end belongs to one thread.   Owns: what arrived before its record was read.
// A payload is posted before its record is published, so it is there when the record is read.

import type { MessagePort } from 'node:worker_threads'
import { receiveMessageOnPort } from 'node:worker_threads'
import { invariant } from '../base/errors.ts'
import { fromSideValue, type SideParcel, type SideValue, sideRefused } from './side-value.ts'

/** An array costs a port less than an object with names. */
type SideMessage = readonly [id: number, record: SideValue['record'], ...beside: unknown[]]

/** One end of the side port. */
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
   * @param parcel - The payload.
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

  /** Closes the channel. */
  close(): void {
    this.#port.close()
  }
}
