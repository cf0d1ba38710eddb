// Outbox: puts outcomes into the result ring, and keeps those that find it full.
// Thread: partition.   Owns: the result ring's encoder and what is kept.
// Bounded: while something is kept the duty cycle starts nothing new.

import type { PartitionEnd } from '../memory/region.ts'
import { NO_ROOM } from '../memory/ring.ts'
import { isMoved } from '../model/handler-module.ts'
import { thrownValue } from '../wire/error-codec.ts'
import { PayloadEncoder, PayloadKind, SPILL } from '../wire/payload-codec.ts'
import { packKind, ResultStatus, type ResultStatusValue } from '../wire/record-kind.ts'
import { RESULT_HEAD_BYTES, writeResultHead } from '../wire/result-record.ts'
import type { SidePort } from '../wire/side-port.ts'

interface Outcome {
  readonly id: number
  status: ResultStatusValue
  value: unknown
  readonly startedAtMs: number
  readonly durationMs: number
}

const NOTHING_TO_MOVE: readonly object[] = Object.freeze([])

/**
 * Sends outcomes, each visible to the coordinator before the call returns unless the ring is full.
 */
export class Outbox {
  readonly #end: PartitionEnd
  readonly #sidePort: SidePort
  readonly #encoder: PayloadEncoder
  readonly #kept: Outcome[] = []

  /**
   * @param end - The partition's end of its region.
   * @param sidePort - For results that do not fit a record.
   * @param inlineBytesMax - Longest payload that may lie in a record.
   */
  constructor(end: PartitionEnd, sidePort: SidePort, inlineBytesMax: number) {
    this.#end = end
    this.#sidePort = sidePort
    this.#encoder = new PayloadEncoder('result', inlineBytesMax)
  }

  /**
   * Sends the outcome of a command.
   *
   * @param id - Its id.
   * @param status - What became of it.
   * @param value - The result, or what was thrown.
   * @param startedAtMs - When its handler was entered; 0 if it never was.
   * @param durationMs - How long it ran.
   */
  send(
    id: number,
    status: ResultStatusValue,
    value: unknown,
    startedAtMs: number,
    durationMs: number,
  ): void {
    if (this.#kept.length === 0 && this.#write(id, status, value, startedAtMs, durationMs)) return
    this.#kept.push({ id, status, value, startedAtMs, durationMs })
  }

  /**
   * Tries again to send what is kept.
   *
   * @returns Whether nothing is kept any more.
   */
  flush(): boolean {
    while (this.#kept.length > 0) {
      const { id, status, value, startedAtMs, durationMs } = this.#kept[0]!
      if (!this.#write(id, status, value, startedAtMs, durationMs)) return false
      this.#kept.shift()
    }
    return true
  }

  /** Writes one outcome; false if the ring is full. */
  #write(
    id: number,
    status: ResultStatusValue,
    value: unknown,
    startedAtMs: number,
    durationMs: number,
  ): boolean {
    const { results, views } = this.#end
    let carried = value
    let transferList = NOTHING_TO_MOVE
    if (isMoved(value)) {
      carried = value.value
      transferList = value.transferList
    }
    let length: number
    try {
      length = transferList.length > 0 ? SPILL : this.#encoder.prepare(carried)
    } catch (error) {
      return this.#write(id, ResultStatus.FAILED, thrownValue(error), startedAtMs, durationMs)
    }
    const isSide = length === SPILL
    const offset = results.tryClaim(RESULT_HEAD_BYTES + (isSide ? 0 : length))
    if (offset === NO_ROOM) {
      if (!isSide) this.#encoder.discard()
      return false
    }
    writeResultHead(views, offset, id, startedAtMs, durationMs)
    if (isSide) {
      try {
        this.#sidePort.post(id, 'result', carried, transferList)
      } catch (error) {
        results.abort()
        return this.#write(id, ResultStatus.FAILED, thrownValue(error), startedAtMs, durationMs)
      }
      results.commit(offset, packKind(status, PayloadKind.SIDE, false))
    } else {
      // The encoder knows whether it resets only until the prepared value is written.
      const kind = packKind(status, this.#encoder.kind, this.#encoder.resets)
      this.#encoder.write(views, offset + RESULT_HEAD_BYTES)
      results.commit(offset, kind)
    }
    results.publish()
    // For every record: the next handler may run for long.
    this.#end.coordinatorBell.ring(false)
    return true
  }
}
