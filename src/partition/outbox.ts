// Outbox: puts outcomes into the result ring, and keeps those that find it full.
// Owns: the result ring's encoder and what is kept.
// Bounded: while something is kept the duty cycle starts nothing new, and asks for room.

import { Deque } from '../base/deque.ts'
import type { PartitionEnd } from '../memory/region.ts'
import { NO_ROOM } from '../memory/ring.ts'
import { isMoved } from '../model/handler-module.ts'
import type { BootMessage } from '../wire/control.ts'
import { thrownValue } from '../wire/error-codec.ts'
import type { OutputWriter } from '../wire/output.ts'
import { PRINTED_BIT, packKind, ResultStatus, type ResultStatusValue } from '../wire/record-kind.ts'
import { RESULT_HEAD_BYTES, unitsOf, writeResultHead } from '../wire/result-record.ts'
import { PayloadEncoder, PayloadKind, SPILL } from '../wire/ring-payload.ts'
import { type SideParcel, type SidePort, toParcel } from '../wire/side-payload.ts'
import { withoutFunctions } from '../wire/survey.ts'

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
  readonly #output: OutputWriter | undefined
  #isLossy: boolean
  readonly #kept = new Deque<Outcome>()
  /** By command: the latest report of its handler while the ring was full. */
  readonly #reports = new Map<number, unknown>()
  /** Bytes of a stream's value that found the ring full and will be sent again; 0 if none did. */
  #bytesAwaited = 0
  /** Bytes of the last record that found no room. */
  #bytesRefused = 0
  /** What is kept is being sent: a getter of a result may report meanwhile. */
  #isFlushing = false

  /**
   * @param end - The partition's end of its region.
   * @param sidePort - For results that do not fit a record.
   * @param plan - The longest payload that may lie in a record; with calls of jest-worker, a value
   *   that cannot be sent goes without the members that cannot.
   * @param output - What the thread prints; a record says whether there was something before it.
   */
  constructor(
    end: PartitionEnd,
    sidePort: SidePort,
    { inlineBytesMax, fileCall }: Pick<BootMessage, 'inlineBytesMax' | 'fileCall'>,
    output?: OutputWriter,
  ) {
    this.#end = end
    this.#sidePort = sidePort
    this.#encoder = new PayloadEncoder('result', inlineBytesMax)
    this.#output = output
    this.#isLossy = fileCall === 'arguments'
  }

  /**
   * Sends the outcome of a command.
   *
   * @param status - The meaning of the record.
   * @param value - The result, or what was thrown.
   * @param startedAtMs - When its handler was entered; 0 if it never was.
   * @param durationMs - How long it ran.
   * @returns Whether it was sent; if not, it is kept until the ring has room.
   */
  send(
    id: number,
    status: ResultStatusValue,
    value: unknown,
    startedAtMs: number,
    durationMs: number,
  ): boolean {
    if (this.isClear && this.#write(id, status, value, startedAtMs, durationMs) > 0) return true
    this.#kept.push({ id, status, value, startedAtMs, durationMs })
    return false
  }

  /**
   * Sends a value of a stream.
   *
   * @param id - The command's id.
   * @returns Units of the stream's credit that it takes; 0 if the ring is full and it was not sent:
   * send it again once {@link Outbox.flush} finds room.
   * @throws SerializationError if it cannot be sent.
   */
  sendChunk(id: number, value: unknown): number {
    return this.isClear ? this.#write(id, ResultStatus.CHUNK, value, 0, 0) : 0
  }

  /**
   * Sends what a handler reports; while the ring is full only the latest is kept.
   *
   * @param id - The command's id.
   * @throws SerializationError if it cannot be sent.
   */
  sendProgress(id: number, value: unknown): void {
    if (this.isClear && this.#write(id, ResultStatus.PROGRESS, value, 0, 0) > 0) return
    this.#reports.set(id, value)
    // A handler that runs for long may never let the duty cycle look for room.
    if (this.#end.results.hasRoomFor(this.#bytesRefused)) this.flush()
  }

  /** Whether nothing is kept, and no stream's value waits for room. */
  get isClear(): boolean {
    return this.#kept.length === 0 && this.#reports.size === 0 && this.#bytesAwaited === 0
  }

  /**
   * Tries again to send what is kept.
   *
   * @returns Whether nothing is kept any more, and a stream's value that found no room has some.
   */
  flush(): boolean {
    if (this.isClear) return true
    if (this.#isFlushing) return false
    this.#isFlushing = true
    try {
      return this.#sendKept()
    } finally {
      this.#isFlushing = false
    }
  }

  #sendKept(): boolean {
    // Before the outcomes: none of them may come after its own command's.
    for (const [id, value] of this.#reports) {
      if (!this.#writeReport(id, value)) return false
      const latest = this.#reports.get(id)
      this.#reports.delete(id)
      // A getter of the report has made a newer one, which this loop comes to.
      if (latest !== value) this.#reports.set(id, latest)
    }
    while (this.#kept.length > 0) {
      const { id, status, value, startedAtMs, durationMs } = this.#kept.first!
      if (this.#write(id, status, value, startedAtMs, durationMs) === 0) return false
      this.#kept.shift()
    }
    if (this.#bytesAwaited === 0) return true
    if (!this.#end.results.hasRoomFor(this.#bytesAwaited)) return false
    this.#bytesAwaited = 0
    return true
  }

  /** Writes a report; one that was changed since and cannot be sent any more is dropped. */
  #writeReport(id: number, value: unknown): boolean {
    try {
      return this.#write(id, ResultStatus.PROGRESS, value, 0, 0) > 0
    } catch {
      return true
    }
  }

  /** Writes one record; answers the units of credit that it takes, 0 if the ring is full. */
  #write(
    id: number,
    status: ResultStatusValue,
    value: unknown,
    startedAtMs: number,
    durationMs: number,
  ): number {
    const { results, views } = this.#end
    if (this.#output?.hasPrinted === true) this.#output.postAll()
    let carried = value
    let transferList = NOTHING_TO_MOVE
    let length: number
    let parcel: SideParcel | undefined
    try {
      if (isMoved(value)) {
        carried = value.value
        transferList = value.transferList
      }
      length = transferList.length > 0 ? SPILL : this.#encoder.prepare(carried)
      // Runs getters of the user's, which may report: nothing is claimed yet.
      if (length === SPILL && results.hasRoomFor(RESULT_HEAD_BYTES)) {
        parcel = toParcel(carried, 'result', transferList)
      }
    } catch (error) {
      return this.#refused(id, status, value, error, startedAtMs, durationMs)
    }
    const isSide = length === SPILL
    const bytes = RESULT_HEAD_BYTES + (isSide ? 0 : length)
    const offset = isSide && parcel === undefined ? NO_ROOM : results.tryClaim(bytes)
    if (offset === NO_ROOM) {
      if (!isSide) this.#encoder.discard()
      if (status === ResultStatus.CHUNK) this.#bytesAwaited = bytes
      this.#bytesRefused = bytes
      return 0
    }
    const isMeasured = transferList.length === 0
    const bytesKnown = isMeasured ? this.#encoder.spilledBytes : Number.POSITIVE_INFINITY
    const units = unitsOf(isSide ? bytesKnown : length)
    writeResultHead(views, offset, id, startedAtMs, durationMs, units)
    if (parcel !== undefined) {
      try {
        this.#sidePort.post(id, 'result', parcel)
      } catch (error) {
        results.abort()
        return this.#refused(id, status, value, error, startedAtMs, durationMs)
      }
      results.commit(offset, packKind(status, PayloadKind.SIDE, false) | this.#printedBit())
    } else {
      // The encoder knows whether it resets only until the prepared value is written.
      const kind = packKind(status, this.#encoder.kind, this.#encoder.resets) | this.#printedBit()
      this.#encoder.write(views, offset + RESULT_HEAD_BYTES)
      results.commit(offset, kind)
    }
    results.publish()
    // For every record: the next handler may run for long.
    this.#end.coordinatorBell.ring(false)
    return units
  }

  #printedBit(): number {
    return this.#output?.takePrinted() === true ? PRINTED_BIT : 0
  }

  /** A value that cannot be sent fails its command; a handler that runs gets the error. */
  #refused(
    id: number,
    status: ResultStatusValue,
    value: unknown,
    error: unknown,
    startedAtMs: number,
    durationMs: number,
  ): number {
    if (this.#isLossy && status !== ResultStatus.FAILED) {
      this.#isLossy = false
      try {
        return this.#write(id, status, withoutFunctions(value), startedAtMs, durationMs)
      } catch {
        // The first error names the place.
      } finally {
        this.#isLossy = true
      }
    }
    if (status === ResultStatus.CHUNK || status === ResultStatus.PROGRESS) throw error
    // A failure stays the handler's, whatever it threw; the value may change while it is read.
    let thrown = status === ResultStatus.FAILED ? thrownValue(value) : error
    if (thrown === value) thrown = error
    return this.#write(id, ResultStatus.FAILED, thrown, startedAtMs, durationMs)
  }
}
