// Local command: a command from its enqueueing until its end, in the engine of this process.
// Thread: main.   Owns: what became of it.

import { COMMAND_RULES } from '../model/command.ts'
import { rankOf } from '../model/lane.ts'
import type { HeapPlace } from '../schedule/indexed-heap.ts'
import type { Queueable } from '../schedule/lane-queue.ts'
import type { CommandEnvelope } from './envelope.ts'

const PRIORITY_DEFAULT = COMMAND_RULES.priority.default as number

/** A command that has not ended. It is waiting, leased or delayed. */
export class LocalCommand implements Queueable, HeapPlace {
  envelope: CommandEnvelope
  /** Its place among those that wait. */
  sequence = 0
  rank = 0
  submittedAtMs = 0
  deadlineMs: number | undefined
  /** How often it was given out since its last orderly return. */
  deliveries = 0
  /** Names the present delivery; undefined unless it is leased. */
  fence: string | undefined
  /** Who has it, or had it last. */
  workerId = ''
  /** When its lease or its delay ends, monotonic milliseconds. */
  dueMs = 0
  /** Its place in the heap of what ends; -1 while it waits. */
  place = -1
  /** The next command with its key. */
  next: LocalCommand | undefined

  constructor(envelope: CommandEnvelope) {
    this.envelope = envelope
  }

  /**
   * Takes a place behind all others.
   *
   * @param sequence - The place.
   * @param nowMs - Monotonic milliseconds.
   * @param nowEpochMs - Milliseconds since 1970.
   */
  queueUp(sequence: number, nowMs: number, nowEpochMs: number): void {
    const { deadline } = this.envelope
    this.sequence = sequence
    this.submittedAtMs = nowMs
    this.deadlineMs = deadline === undefined ? undefined : Math.max(0, deadline - nowEpochMs)
  }

  /**
   * Takes the urgency that its lane has now.
   *
   * @param lanePriority - 0 to 255.
   */
  rankIn(lanePriority: number): void {
    this.rank = rankOf(lanePriority, this.envelope.priority ?? PRIORITY_DEFAULT)
  }
}
