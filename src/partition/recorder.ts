// Recorder: counts waits and runs while metrics are on. Without metrics nothing of this file is in
// the thread's path: the plain classes are used.
// Owns: the tallies of its thread, but for the queued times.

import type { AttachedCommons } from '../memory/commons.ts'
import { LaneGate } from '../memory/lane-gate.ts'
import type { LaneCells } from '../memory/layout.ts'
import type { PartitionEnd } from '../memory/region.ts'
import { slotOf } from '../memory/slots.ts'
import type { Tallies } from '../memory/tallies.ts'
import type { OutputWriter } from '../wire/output.ts'
import { ResultStatus, type ResultStatusValue } from '../wire/record-kind.ts'
import type { SidePort } from '../wire/side-payload.ts'
import { Outbox } from './outbox.ts'
import type { Window } from './window.ts'

// Called without `super`, which V8 looks up at each call.
const { send } = Outbox.prototype

/** An outbox that counts every run before its outcome can be read. */
export class RecordingOutbox extends Outbox {
  readonly #tallies: Tallies
  readonly #window: Window

  /**
   * @param end - As for {@link Outbox}.
   * @param sidePort - As for {@link Outbox}.
   * @param inlineBytesMax - As for {@link Outbox}.
   * @param output - As for {@link Outbox}.
   * @param tallies - Of this thread.
   * @param window - Knows the lanes of commands.
   */
  constructor(
    end: PartitionEnd,
    sidePort: SidePort,
    inlineBytesMax: number,
    output: OutputWriter,
    tallies: Tallies,
    window: Window,
  ) {
    super(end, sidePort, inlineBytesMax, output)
    this.#tallies = tallies
    this.#window = window
  }

  override send(
    id: number,
    status: ResultStatusValue,
    value: unknown,
    startedAtMs: number,
    durationMs: number,
  ): boolean {
    if (status === ResultStatus.DONE || status === ResultStatus.FAILED) {
      const waitMs = startedAtMs - this.#tallies.queuedAtMs[slotOf(id)]!
      const hasFailed = status === ResultStatus.FAILED
      this.#tallies.countRun(this.#window.laneOf(id), waitMs, durationMs, hasFailed)
    }
    return send.call(this, id, status, value, startedAtMs, durationMs)
  }
}

/** A gate that counts how often it lets none in. */
export class RecordingGate extends LaneGate {
  readonly #tallies: Tallies

  /**
   * @param commons - As for {@link LaneGate}.
   * @param lanes - As for {@link LaneGate}.
   * @param partition - As for {@link LaneGate}.
   * @param incarnation - As for {@link LaneGate}.
   * @param tallies - Of this thread.
   */
  constructor(
    commons: AttachedCommons,
    lanes: readonly LaneCells[],
    partition: number,
    incarnation: number,
    tallies: Tallies,
  ) {
    super(commons, lanes, partition, incarnation)
    this.#tallies = tallies
  }

  override enter(laneIndex: number): boolean {
    const hasEntered = super.enter(laneIndex)
    if (!hasEntered) this.#tallies.countLimited(laneIndex)
    return hasEntered
  }
}
