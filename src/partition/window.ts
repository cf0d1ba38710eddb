// Window: the commands bound to this partition that have not started.
// Owns: one entry per slot, and which keys are busy.
// Must not: start anything. Every record is decoded on arrival, since the payload decoder must see
// all of them in order, also those that are revoked later.

import type { RecordSink } from '../memory/ring.ts'
import { slotOf } from '../memory/slots.ts'
import type { Views } from '../memory/views.ts'
import type { SharedLanePlan } from '../model/lane.ts'
import { type Admission, type Schedulable, Scheduler } from '../schedule/scheduler.ts'
import { CommandHead, commandId } from '../wire/command-record.ts'
import { payloadKindOf, RunMode, resetsOf, runModeOf } from '../wire/record-kind.ts'
import { PayloadDecoder, PayloadKind } from '../wire/ring-payload.ts'
import type { SidePort } from '../wire/side-payload.ts'

/** A command on this side. Its entry is reused for the next command of the slot. */
export class WindowEntry extends CommandHead implements Schedulable {
  /** Whether its handler gives values to be sent one by one. */
  isStream = false
  payload: unknown = undefined
  /** Why the payload could not be decoded, if so. */
  problem: unknown = undefined
}

/** Takes command records and says which command runs next. */
export class Window implements RecordSink {
  readonly #views: Views
  readonly #sidePort: SidePort
  readonly #decoder: PayloadDecoder = new PayloadDecoder()
  readonly #entries: WindowEntry[] = []
  readonly #scheduler: Scheduler<WindowEntry>
  /** By key of a running command: the commands of that key that came to be next meanwhile. */
  readonly #busyKeys = new Map<string, WindowEntry[]>()

  /** Whether the coordinator wants revoked commands to be dropped now. */
  isSweepDue = false

  constructor(views: Views, sidePort: SidePort, lanes: readonly SharedLanePlan[]) {
    this.#views = views
    this.#sidePort = sidePort
    this.#scheduler = new Scheduler(lanes)
  }

  onRecord(kind: number, offset: number, length: number): void {
    if (runModeOf(kind) === RunMode.SWEEP) {
      this.isSweepDue = true
      return
    }
    const views = this.#views
    const slot = slotOf(commandId(views, offset))
    let entry = this.#entries[slot]
    if (entry === undefined) {
      entry = new WindowEntry()
      this.#entries[slot] = entry
    }
    entry.read(views, offset, length)
    entry.isStream = runModeOf(kind) === RunMode.STREAM
    entry.problem = undefined
    try {
      entry.payload = this.#decode(kind, entry)
    } catch (error) {
      entry.problem = error
    }
    // As of time 0, which needs no clock: its rank is brought up to date when it is looked at.
    this.#scheduler.offer(entry, 0)
  }

  /** Whether nothing waits here to be run, keys that are busy aside. */
  get isEmpty(): boolean {
    return this.#scheduler.size === 0
  }

  /**
   * Takes the command that runs next.
   *
   * @param admission - Decides whether it may.
   * @returns The command; undefined if there is none.
   */
  next(admission: Admission<WindowEntry>, now: number): WindowEntry | undefined {
    return this.#scheduler.next(admission, now)
  }

  /** Whether a command of this key runs. */
  isBusy(key: string): boolean {
    return this.#busyKeys.size > 0 && this.#busyKeys.has(key)
  }

  /**
   * Sets a command aside until the running one of its key has ended.
   *
   * @param entry - Taken before; its key is busy.
   */
  hold(entry: WindowEntry): void {
    this.#busyKeys.get(entry.key!)!.push(entry)
  }

  /**
   * Notes that a command of this key runs.
   *
   * @param key - The key; not busy.
   */
  begin(key: string): void {
    this.#busyKeys.set(key, [])
  }

  /**
   * Notes that the command of this key has ended, and puts those set aside back in their places.
   *
   * @param key - The key; busy.
   */
  end(key: string, now: number): void {
    const held = this.#busyKeys.get(key)!
    this.#busyKeys.delete(key)
    for (const entry of held) this.#scheduler.offer(entry, now)
  }

  /**
   * Takes out every command that was revoked, wherever it waits. The others keep their places.
   *
   * @param isRevoked - Whether the command of an id was.
   * @returns Their ids.
   */
  sweep(isRevoked: (id: number) => boolean, now: number): number[] {
    this.isSweepDue = false
    const swept: WindowEntry[] = []
    const stays = (entry: WindowEntry): boolean => {
      if (!isRevoked(entry.id)) return true
      entry.payload = undefined
      swept.push(entry)
      return false
    }
    this.#scheduler.retain(stays, now)
    for (const [key, held] of this.#busyKeys) this.#busyKeys.set(key, held.filter(stays))
    return swept.map(({ id }) => id)
  }

  #decode(kind: number, head: CommandHead): unknown {
    const payloadKind = payloadKindOf(kind)
    if (payloadKind === PayloadKind.SIDE) return this.#sidePort.take(head.id)
    return this.#decoder.decode(
      payloadKind,
      resetsOf(kind),
      this.#views,
      head.payloadOffset,
      head.payloadLength,
    )
  }
}
