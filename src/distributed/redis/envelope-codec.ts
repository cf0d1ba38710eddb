// Envelope codec: envelopes and results as the bytes that lie in Redis.
// Must not: trust what it decodes. Sizes are checked first, names and numbers by checkEnvelope.
//
// An envelope: `<id>:<retries>:<spent>:<since>:`, which the scripts read, then version, flags,
// creation, type, and as the flags say priority, deadline, submitter, key, options and group as
// JSON; then tag and body of the payload. Lane and partition are those of the stream that it lies
// in.

import { laneError } from '../../base/errors.ts'
import { isPortableName } from '../../base/portable-name.ts'
import { decodeCopied } from '../../wire/value-decoder.ts'
import {
  type CommandEnvelope,
  type CommandResult,
  checkMembers,
  ENVELOPE_VERSION,
} from '../contract/envelope.ts'
import { failedResult } from '../contract/poison.ts'
import { checkPortableError } from '../contract/portable-error.ts'
import { decodeValue, encodeValue } from './value-codec.ts'

const VERSION = 1

const Flag = Object.freeze({ PRIORITY: 1, DEADLINE: 2, SUBMITTER: 4, KEY: 8, OPTIONS: 16 })

/** What an entry takes besides its payload, at most: names, numbers, and a key and a group. */
const HEADER_MAX = 16_384
const COLON = 0x3a
const DIGIT_0 = 0x30

/** What an envelope takes at most besides prefix, type, key, options and payload. */
const FIXED_MAX = 160

/** An envelope as it came out of Redis. */
export interface DecodedEntry {
  readonly envelope: CommandEnvelope
  /** Deliveries before the entry was made. */
  readonly spent: number
  /** When Redis accepted the command, by its clock, milliseconds since 1970; 0: with the entry. */
  readonly sinceMs: number
}

function checkSize(role: string, id: string, bytes: number, maxBytes: number): void {
  if (bytes > maxBytes) {
    throw laneError('CORELANE_ENVELOPE_TOO_LARGE', { role, id, bytes, maxBytes })
  }
}

/**
 * Encodes an envelope that was checked.
 *
 * @throws SerializationError `CORELANE_ENVELOPE_TOO_LARGE`, `CORELANE_UNSERIALIZABLE`.
 */
export function encodeEnvelope(envelope: CommandEnvelope, maxBytes: number): Buffer {
  const { id, retryCount, commandType, priority, deadline, submitter, key } = envelope
  const { tag, body } = encodeValue(envelope.payload, 'payload')
  checkSize('payload', id, body.length, maxBytes)
  const prefix = `${id}:${retryCount}:0:0:`
  const options = optionsOf(envelope)
  const textBytes = (key === undefined ? 0 : Buffer.byteLength(key)) + Buffer.byteLength(options)
  const texts = prefix.length + commandType.length + textBytes
  const bytes = Buffer.allocUnsafe(texts + FIXED_MAX + body.length)
  let at = bytes.write(prefix, 0, 'latin1')
  bytes[at++] = VERSION
  bytes[at++] =
    (priority === undefined ? 0 : Flag.PRIORITY) |
    (deadline === undefined ? 0 : Flag.DEADLINE) |
    (submitter === undefined ? 0 : Flag.SUBMITTER) |
    (key === undefined ? 0 : Flag.KEY) |
    (options === '' ? 0 : Flag.OPTIONS)
  at = bytes.writeDoubleLE(envelope.createdAt, at)
  at = writeName(bytes, commandType, at)
  if (priority !== undefined) bytes[at++] = priority
  if (deadline !== undefined) at = bytes.writeDoubleLE(deadline, at)
  if (submitter !== undefined) at = writeName(bytes, submitter, at)
  if (key !== undefined) at = writeText(bytes, key, at)
  if (options !== '') at = writeText(bytes, options, at)
  bytes[at++] = tag
  bytes.set(body, at)
  return bytes.subarray(0, at + body.length)
}

/** Versions that know no groups read past one. */
function optionsOf({ options, group }: CommandEnvelope): string {
  if (group !== undefined) return JSON.stringify({ ...options, group })
  return options === undefined ? '' : JSON.stringify(options)
}

function writeName(bytes: Buffer, name: string, at: number): number {
  bytes[at] = name.length
  return at + 1 + bytes.write(name, at + 1, 'latin1')
}

function writeText(bytes: Buffer, text: string, at: number): number {
  const length = bytes.write(text, at + 2, 'utf8')
  return bytes.writeUInt16LE(length, at) + length
}

/** Reads on and on; past the end it throws a RangeError. */
class Reader {
  readonly #bytes: Buffer
  /** Where it reads next. */
  at: number

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes
    this.at = at
  }

  byte(): number {
    return this.#bytes.readUInt8(this.at++)
  }

  /** Up to 15 digits and a colon. */
  count(): number {
    let count = 0
    for (let digits = 0; ; digits++) {
      const code = this.byte()
      if (code === COLON && digits > 0) return count
      if (code < DIGIT_0 || code >= DIGIT_0 + 10 || digits === 15) {
        throw new RangeError('an entry without its head')
      }
      count = count * 10 + code - DIGIT_0
    }
  }

  double(): number {
    this.at += 8
    return this.#bytes.readDoubleLE(this.at - 8)
  }

  name(): string {
    return this.#take(this.byte(), 'latin1')
  }

  text(): string {
    this.at += 2
    return this.#take(this.#bytes.readUInt16LE(this.at - 2), 'utf8')
  }

  #take(length: number, encoding: 'latin1' | 'utf8'): string {
    const end = this.at + length
    if (end > this.#bytes.length) throw new RangeError('the bytes end too soon')
    const taken = this.#bytes.toString(encoding, this.at, end)
    this.at = end
    return taken
  }
}

/**
 * Reads the id of an entry, even if nothing else of it makes sense.
 *
 * @returns The text before the first colon, if it is short; not checked otherwise.
 */
export function idOf(bytes: Buffer): string | undefined {
  const end = bytes.indexOf(COLON)
  return end > 0 && end <= 128 ? bytes.toString('latin1', 0, end) : undefined
}

/**
 * Decodes an entry.
 *
 * @throws Error of any kind if they are no envelope.
 */
export function decodeEnvelope(
  bytes: Buffer,
  laneId: string,
  partitionId: number,
  maxBytes: number,
): DecodedEntry {
  if (bytes.length > maxBytes + HEADER_MAX) {
    throw new RangeError(`${bytes.length} bytes are more than ${maxBytes}`)
  }
  const idEnd = bytes.indexOf(COLON)
  const reader = new Reader(bytes, idEnd + 1)
  const retryCount = reader.count()
  const spent = reader.count()
  const sinceMs = reader.count()
  const version = reader.byte()
  if (version !== VERSION) throw new RangeError(`an entry of version ${version}`)
  const flags = reader.byte()
  const createdAt = reader.double()
  const commandType = reader.name()
  const priority = flags & Flag.PRIORITY ? reader.byte() : undefined
  const deadline = flags & Flag.DEADLINE ? reader.double() : undefined
  const submitter = flags & Flag.SUBMITTER ? reader.name() : undefined
  const key = flags & Flag.KEY ? reader.text() : undefined
  const options: unknown = flags & Flag.OPTIONS ? JSON.parse(reader.text()) : undefined
  const envelope = checkMembers(
    {
      id: bytes.toString('latin1', 0, idEnd),
      retryCount,
      commandType,
      laneId,
      partitionId,
      createdAt,
      priority,
      deadline,
      submitter,
      key,
      group: (options as { readonly group?: unknown } | undefined)?.group,
      options,
      payload: decodeValue(bytes, reader.at),
      version: ENVELOPE_VERSION,
    },
    partitionId + 1,
  )
  return { envelope, spent, sinceMs }
}

/**
 * Encodes a result.
 *
 * @param isKept - Whether anybody will want its value.
 * @throws SerializationError `CORELANE_ENVELOPE_TOO_LARGE`, `CORELANE_UNSERIALIZABLE`.
 */
export function encodeResult(result: CommandResult, isKept: boolean, maxBytes: number): Buffer {
  const { commandId, partitionId, workerId, success, retryCount, durationMs, completedAt } = result
  const times = [retryCount, durationMs, completedAt]
  const members = [partitionId, workerId, success, ...times, commandId, result.error]
  // Encoding the value takes its memory.
  const head = Buffer.from(encodeValue(members, 'result').body)
  const { tag, body } = encodeValue(isKept ? result.value : undefined, 'result')
  checkSize('result', commandId, Math.max(head.length, body.length), maxBytes)
  const bytes = Buffer.allocUnsafe(6 + head.length + body.length)
  bytes[0] = VERSION
  bytes.writeUInt32LE(head.length, 1)
  bytes.set(head, 5)
  bytes[5 + head.length] = tag
  bytes.set(body, 6 + head.length)
  return bytes
}

/**
 * Decodes a result.
 *
 * @param bytes - As they lie under the key of the command, or were announced. Not kept.
 * @throws Error of any kind if they are no result.
 */
export function decodeResult(bytes: Buffer, maxBytes: number): CommandResult {
  if (bytes.length > 2 * maxBytes + HEADER_MAX) throw new RangeError('a result that is too large')
  if (bytes.readUInt8(0) !== VERSION) throw new RangeError(`a result of version ${bytes[0]}`)
  const headEnd = 5 + bytes.readUInt32LE(1)
  if (headEnd >= bytes.length) throw new RangeError('the bytes end too soon')
  const head = decodeCopied(bytes, 5, headEnd)
  if (!Array.isArray(head)) throw new RangeError('a result without its head')
  const [partitionId, workerId, success, retryCount, durationMs, completedAt, commandId, error] =
    head as unknown[]
  const isWhole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0
  if (
    !isWhole(partitionId) ||
    !isWhole(retryCount) ||
    typeof workerId !== 'string' ||
    typeof commandId !== 'string' ||
    typeof success !== 'boolean' ||
    typeof durationMs !== 'number' ||
    typeof completedAt !== 'number'
  ) {
    throw new RangeError('a result whose head makes no sense')
  }
  const result: { -readonly [Member in keyof CommandResult]: CommandResult[Member] } = {
    commandId,
    partitionId: partitionId as number,
    workerId,
    success,
    retryCount: retryCount as number,
    durationMs,
    completedAt,
  }
  const value = decodeValue(bytes, headEnd)
  if (value !== undefined) result.value = value
  if (error !== undefined && error !== null) result.error = checkPortableError(error)
  return result
}

/**
 * Encodes how far a command has come.
 *
 * @returns Nothing if that cannot travel.
 */
export function encodeProgress(
  commandId: string,
  value: unknown,
  maxBytes: number,
): Buffer | undefined {
  try {
    const { tag, body } = encodeValue(value, 'progress')
    if (body.length > maxBytes) return undefined
    const head = Buffer.from(`${commandId}:\0`, 'latin1')
    head[head.length - 1] = tag
    return Buffer.concat([head, body])
  } catch {
    // Reports can be lost: the command goes on.
    return undefined
  }
}

/**
 * Decodes how far a command has come.
 *
 * @throws Error of any kind if the bytes are no report.
 */
export function decodeProgress(bytes: Buffer, maxBytes: number): readonly [string, unknown] {
  const id = idOf(bytes)
  if (id === undefined || bytes.length > maxBytes + HEADER_MAX) throw new RangeError('no report')
  return [id, decodeValue(bytes, id.length + 1)]
}

/**
 * Stands in for the envelope that could not be read.
 *
 * @param id - The id, if that at least could be read.
 */
export function unreadEnvelope(
  id: string | undefined,
  entry: string,
  partitionId: number,
  laneId: string,
): CommandEnvelope {
  return {
    id: isPortableName(id) ? id : `undecodable-${entry}`,
    commandType: 'undecodable',
    laneId,
    partitionId,
    retryCount: 0,
    createdAt: Number(entry.split('-')[0]) || 0,
    version: ENVELOPE_VERSION,
  }
}

/** The failure that is recorded for it. */
export function undecodableResult(
  { id, partitionId }: Pick<CommandEnvelope, 'id' | 'partitionId'>,
  workerId: string,
): CommandResult {
  return failedResult({ id, partitionId, retryCount: 0 }, workerId, {
    name: 'ConfigError',
    message: 'What lay in the queue under this id is no envelope',
    code: 'CORELANE_INVALID_ENVELOPE',
  })
}
