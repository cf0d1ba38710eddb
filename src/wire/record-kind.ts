// Record kind: what the Int32 in a record's header says.
//
// ```
//  bits 0-5  kind of the payload
//  bit  6    the payload's decoder starts afresh before it
//  bits 7-9  what became of the command (result records), or how it runs (command records)
//  bit  10   the thread has printed something before it wrote the record
// ```

/** How a payload is encoded: one of `PayloadKind`. */
export type PayloadKindValue = number

const PAYLOAD_MASK = 0x3f
const RESETS_BIT = 0x40
const STATUS_SHIFT = 7
const STATUS_MASK = 0x7

/** Set in a result record's kind if the thread has printed something since the record before. */
export const PRINTED_BIT = 0x400

/** Result records by their meaning. */
export const ResultStatus = Object.freeze({
  /** The handler gave a result. */
  DONE: 0,
  /** The handler threw, rejected, or gave something that cannot cross threads. */
  FAILED: 1,
  /** It was taken back before it started; the partition has no trace of it any more. */
  REVOKED: 2,
  /** Its handler is about to be entered; sent only while somebody listens. */
  STARTED: 3,
  /** One value of its stream; more follows. */
  CHUNK: 4,
  /** What its handler reported; more follows. */
  PROGRESS: 5,
  /** It came too late to be started; the partition has no trace of it any more. */
  LATE: 6,
})

/** How a command runs. */
export const RunMode = Object.freeze({
  /** Its handler gives one result. */
  PLAIN: 0,
  /** Its handler gives values to be sent one by one. */
  STREAM: 1,
  /** No command, and no body: the partition drops all commands that were revoked. */
  SWEEP: 2,
})

/** One of {@link RunMode}. */
export type RunModeValue = (typeof RunMode)[keyof typeof RunMode]

/** One of {@link ResultStatus}. */
export type ResultStatusValue = (typeof ResultStatus)[keyof typeof ResultStatus]

/**
 * Packs a record's kind.
 *
 * @param status - The meaning of the result, or in command records how it runs.
 * @param payloadKind - How the payload is encoded.
 * @param resets - Whether the payload's decoder must start afresh before it.
 */
export function packKind(
  status: ResultStatusValue | RunModeValue,
  payloadKind: PayloadKindValue,
  resets: boolean,
): number {
  return (status << STATUS_SHIFT) | payloadKind | (resets ? RESETS_BIT : 0)
}

/** How the payload of a record is encoded. */
export function payloadKindOf(kind: number): PayloadKindValue {
  return kind & PAYLOAD_MASK
}

/** Whether the decoder must start afresh before this record's payload. */
export function resetsOf(kind: number): boolean {
  return (kind & RESETS_BIT) !== 0
}

/** The meaning of a result record. */
export function statusOf(kind: number): ResultStatusValue {
  return ((kind >> STATUS_SHIFT) & STATUS_MASK) as ResultStatusValue
}

/** How the command of a command record runs. */
export function runModeOf(kind: number): RunModeValue {
  return (kind >> STATUS_SHIFT) as RunModeValue
}
