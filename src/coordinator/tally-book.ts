// Tally book: counts of a manager's runs, and counts by its threads, while metrics are on.
// Thread: main. It counts a run as it takes its result, so nothing crosses threads for that, and a
// command that has settled is counted.
// Owns: the counts by partition and lane, and the blocks of the threads.

import { Histogram } from '../base/histogram.ts'
import { Tallies } from '../memory/tallies.ts'
import type { LaneShareMetrics } from '../model/metrics.ts'
import type { CommandManager } from './command.ts'

type Moment = Pick<CommandManager, 'atMs'>

/** The runs of one lane in one partition. */
export class RunTally {
  /** Runs that failed. */
  failed = 0
  /**
   * Runs without a result whose command does not wait for one: those that go on detached, and those
   * that the death of their thread cut short.
   */
  adrift = 0
  /** From the moment at which a command could have started to that at which it did. */
  readonly wait: Histogram = new Histogram()
  /** From its start to its end, the pauses of a stream left out. */
  readonly run: Histogram = new Histogram()

  /**
   * Counts a run that has ended.
   *
   * @param moment - When its command could have started.
   * @param startedAtMs - When it did.
   * @param durationMs - How long it has run.
   */
  count(moment: Moment, startedAtMs: number, durationMs: number, isDone: boolean): void {
    this.wait.record(startedAtMs - moment.atMs!)
    this.run.record(durationMs)
    if (!isDone) this.failed++
  }

  /** Notes that the command of a run waits for it no more, or that its thread is gone. */
  drifted(): void {
    this.adrift++
  }

  /** Counts a detached run that has ended, as {@link RunTally.count} does. */
  returned(moment: Moment, startedAtMs: number, durationMs: number, isDone: boolean): void {
    this.adrift--
    this.count(moment, startedAtMs, durationMs, isDone)
  }
}

const NONE = new RunTally()

/** The counts of a manager. */
export class TallyBook {
  readonly #lanes: number
  /** By partition: the blocks of its living threads. */
  readonly #open: readonly Set<Tallies>[]
  /** By partition: the sum of those whose threads have ended. */
  readonly #ended: readonly Tallies[]
  /** By partition and lane; made for the first thread of the partition. */
  readonly #runs: (readonly RunTally[])[] = []

  /**
   * @param partitions - How many there are.
   * @param lanes - How many there are.
   */
  constructor(partitions: number, lanes: number) {
    this.#lanes = lanes
    this.#open = Array.from({ length: partitions }, () => new Set())
    this.#ended = Array.from({ length: partitions }, () => new Tallies(lanes))
  }

  /** A block for a thread that is about to start. */
  open(partition: number): Tallies {
    const block = new Tallies(this.#lanes)
    this.#open[partition]!.add(block)
    return block
  }

  /**
   * Keeps what a thread has counted; it has exited.
   *
   * @param block - Its block.
   */
  close(partition: number, block: Tallies): void {
    if (this.#open[partition]!.delete(block)) add(this.#ended[partition]!, block)
  }

  /** By lane: the runs of a partition, whatever thread it has. */
  runsOf(partition: number): readonly RunTally[] {
    this.#runs[partition] ??= Array.from({ length: this.#lanes }, () => new RunTally())
    return this.#runs[partition]
  }

  /** What all threads of a partition have counted; a copy. */
  threadsOf(partition: number): Tallies {
    const sum = new Tallies(this.#lanes)
    for (const block of [this.#ended[partition]!, ...this.#open[partition]!]) add(sum, block)
    return sum
  }

  /**
   * What was counted of a lane in a partition; a copy.
   *
   * @param lane - The lane's index.
   * @param limited - By lane: what its threads have counted.
   */
  read(partition: number, lane: number, { limited }: Tallies): LaneShareMetrics {
    const { failed, wait, run } = this.#runs[partition]?.[lane] ?? NONE
    return {
      failed,
      limited: limited[lane]!,
      wait: new Histogram().add(wait),
      run: new Histogram().add(run),
    }
  }

  /** Runs of a lane without a result whose command does not wait for one. */
  adriftIn(lane: number): number {
    return this.#runs.reduce((sum, runs) => sum + runs[lane]!.adrift, 0)
  }
}

/** Adds the counts of another thread. */
function add(sum: Tallies, { delays, limited }: Tallies): void {
  new Histogram(sum.delays).add(new Histogram(delays))
  for (const [lane, times] of limited.entries()) sum.limited[lane]! += times
}
