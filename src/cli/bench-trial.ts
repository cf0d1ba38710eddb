// Bench trial: runs a workload under a strategy for a while and measures its commands.
// Owns: the manager of the trial.

import { nowMs, timers } from '../base/clock.ts'
import { type CommandOutcome, type PartitionStrategy, QueueManager } from '../index.ts'
import type { TrialCommand, Workload } from './bench-workloads.ts'
import { needed } from './command-line.ts'

/** The strategies that are compared. */
export const STRATEGIES: readonly PartitionStrategy[] = ['single', 'roundRobin', 'hash', 'balanced']

/** Commands in flight for each partition; as many in all under `single`. */
export const IN_FLIGHT = 16

const BURST_PAUSE_MS = 5

export interface TrialPlan {
  /** URL or path of the handler module. */
  readonly handlers: URL | string
  readonly type: string
  readonly partitions: number
  readonly warmUpMs: number
  readonly measureMs: number
}

/** What one strategy did with one workload. Times are in milliseconds. */
export interface TrialFigures {
  readonly perSecond: number
  readonly waitP50: number
  readonly waitP99: number
  readonly runP50: number
  readonly runP99: number
  /** Busy time of the busiest partition over the mean: 1 is even. */
  readonly imbalance: number
  /** Commands that started before an earlier one of their key. */
  readonly outOfOrder: number
  /** Why a command failed, if one did. */
  readonly failure: string | undefined
}

interface Sample {
  readonly waitMs: number
  readonly runMs: number
}

function takesKeys(strategy: PartitionStrategy): boolean {
  return strategy === 'hash' || strategy === 'single'
}

export async function runTrial(
  workload: Workload,
  strategy: PartitionStrategy,
  plan: TrialPlan,
): Promise<TrialFigures> {
  const count = strategy === 'single' ? 1 : plan.partitions
  const manager = QueueManager.create({
    handlers: plan.handlers,
    partitions: { strategy, count },
    lanes: { bench: {} },
  })
  await needed(manager.start())
  try {
    const trial = new Trial(manager, workload, takesKeys(strategy), plan, count)
    await trial.run(plan.warmUpMs)
    trial.reset()
    const startedMs = nowMs()
    await trial.run(plan.measureMs)
    return trial.figures(nowMs() - startedMs)
  } finally {
    await manager.close()
  }
}

class Trial {
  readonly #manager: QueueManager
  readonly #workload: Workload
  readonly #takesKeys: boolean
  readonly #plan: TrialPlan
  readonly #busyMs: number[]
  #samples: Sample[] = []
  /** By key: when its latest command started, of those submitted before. */
  readonly #lastStarts = new Map<string, { index: number; startedAtMs: number }>()
  #outOfOrder = 0
  #failure: string | undefined
  #next = 0

  constructor(
    manager: QueueManager,
    workload: Workload,
    takesKeys: boolean,
    plan: TrialPlan,
    partitions: number,
  ) {
    this.#manager = manager
    this.#workload = workload
    this.#takesKeys = takesKeys
    this.#plan = plan
    this.#busyMs = new Array(partitions).fill(0)
  }

  reset(): void {
    this.#samples = []
    this.#busyMs.fill(0)
    this.#outOfOrder = 0
  }

  /** Runs commands for so long. */
  async run(ms: number): Promise<void> {
    const endsMs = nowMs() + ms
    const { burst } = this.#workload
    if (burst > 0) {
      while (nowMs() < endsMs && this.#failure === undefined) {
        await Promise.all(Array.from({ length: burst }, () => this.#one()))
        await new Promise((resolve) => timers.setTimeout(resolve, BURST_PAUSE_MS))
      }
      return
    }
    const loop = async () => {
      while (nowMs() < endsMs && this.#failure === undefined) await this.#one()
    }
    await Promise.all(Array.from({ length: IN_FLIGHT * this.#plan.partitions }, loop))
  }

  figures(elapsedMs: number): TrialFigures {
    const waits = this.#samples.map(({ waitMs }) => waitMs).sort((a, b) => a - b)
    const runs = this.#samples.map(({ runMs }) => runMs).sort((a, b) => a - b)
    const mean = this.#busyMs.reduce((sum, busy) => sum + busy, 0) / this.#busyMs.length
    return {
      perSecond: (this.#samples.length / elapsedMs) * 1000,
      waitP50: at(waits, 0.5),
      waitP99: at(waits, 0.99),
      runP50: at(runs, 0.5),
      runP99: at(runs, 0.99),
      imbalance: mean === 0 ? 1 : Math.max(...this.#busyMs) / mean,
      outOfOrder: this.#outOfOrder,
      failure: this.#failure,
    }
  }

  async #one(): Promise<void> {
    const index = this.#next++
    const { commands } = this.#workload
    const command = commands[index % commands.length]!
    const options = this.#takesKeys && command.key !== undefined ? { key: command.key } : {}
    const submittedMs = nowMs()
    const outcome = await this.#manager.execute('bench', this.#plan.type, command.payload, options)
    this.#take(outcome, command, index, submittedMs)
  }

  #take(outcome: CommandOutcome, { key }: TrialCommand, index: number, submittedMs: number): void {
    const { partition, startedAtMs, durationMs } = outcome.info
    if (!outcome.ok) this.#failure ??= String(outcome.error)
    if (startedAtMs === undefined) return
    this.#samples.push({ waitMs: Math.max(0, startedAtMs - submittedMs), runMs: durationMs })
    this.#busyMs[partition]! += durationMs
    if (key === undefined) return
    const last = this.#lastStarts.get(key)
    if (last !== undefined && index > last.index !== startedAtMs >= last.startedAtMs) {
      this.#outOfOrder++
    }
    if (last === undefined || index > last.index) this.#lastStarts.set(key, { index, startedAtMs })
  }
}

function at(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}
