// Local command: a command from its enqueueing until its end, in the engine of this process.
// Owns: what became of it.

import type { Linked } from '../../base/chain.ts'
import { COMMAND_RULES } from '../../model/command.ts'
import { rankOf } from '../../model/lane.ts'
import { GroupSeat } from '../../schedule/group-ring.ts'
import type { HeapPlace } from '../../schedule/indexed-heap.ts'
import type { Queueable } from '../../schedule/lane-queue.ts'
import type { CommandEnvelope } from '../contract/envelope.ts'
import { LocalEntry } from './local-archive.ts'

const PRIORITY_DEFAULT = COMMAND_RULES.priority.default as number

/** The fence of a command that was cancelled while it waited: who meets it there passes it over. */
export const DROPPED = ''

/** A command that has not ended. It is waiting, leased or delayed. */
export class LocalCommand implements Queueable, HeapPlace, Linked<LocalCommand> {
  envelope: CommandEnvelope
  /** What is known of its id. */
  readonly entry: LocalEntry<LocalCommand>
  /** When the queue accepted it, monotonic milliseconds; its deadline counts from then. */
  readonly acceptedAtMs: number
  /** Its place among those that wait. */
  sequence = 0
  rank = 0
  submittedAtMs = 0
  deadlineMs: number | undefined
  /** How often it may have been started since its last orderly return. */
  deliveries = 0
  /** Whether the present delivery is among those. */
  isCounted = false
  /** Names the present delivery; undefined unless it is leased, {@link DROPPED} at its end. */
  fence: string | undefined
  /** Who has it, or had it last. */
  workerId = ''
  /** When its lease or its delay ends, monotonic milliseconds. */
  dueMs = 0
  /** Its place in the heap of delays; -1 unless it is delayed. */
  place = -1
  older: LocalCommand | undefined = undefined
  younger: LocalCommand | undefined = undefined
  /** What it holds of its group, if it has one. */
  seat: GroupSeat | undefined
  /** By when it may start, as the rate of its group says, monotonic milliseconds. */
  startByMs: number | undefined
  /** The next command with its key. */
  next: LocalCommand | undefined

  constructor(envelope: CommandEnvelope, nowMs: number) {
    this.envelope = envelope
    this.entry = new LocalEntry(envelope.id, this)
    this.acceptedAtMs = nowMs
  }

  /** Takes a place behind all others. */
  queueUp(sequence: number, nowMs: number): void {
    const { deadline, createdAt, group } = this.envelope
    this.sequence = sequence
    this.submittedAtMs = nowMs
    if (group !== undefined) this.seat = new GroupSeat(group)
    const ageMs = nowMs - this.acceptedAtMs
    this.deadlineMs = deadline === undefined ? undefined : Math.max(0, deadline - createdAt - ageMs)
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

/** A command that has a group. */
export type GroupedCommand = LocalCommand & { readonly seat: GroupSeat }

/** Whether a command has a group. */
export function isGrouped(command: LocalCommand): command is GroupedCommand {
  return command.seat !== undefined
}
