// Contract: what the parts of the benchmark hand to each other.

/** A pool of threads that runs handlers; opened by a mode, ready to take commands. */
export interface Pool {
  /** Starts all its threads, where opening it does not. */
  start?(): Promise<unknown>
  /** Runs a handler of `handlers.js`; resolves to what it returns. */
  run(type: string, payload: unknown): Promise<unknown>
  /** Runs it before all that waits, if the system can. */
  runUrgent?(type: string, payload: unknown): Promise<unknown>
  /** Runs it with a signal that could abort it, if the system takes one. */
  runAbortable?(type: string, payload: unknown, signal: AbortSignal): Promise<unknown>
  /** A pool, closed with this one, whose `run` leaves a thread to what `runUrgent` runs. */
  withReserve?(): Promise<Pool>
  /** Runs `count` times the same command, split evenly, without a command crossing threads. */
  split?(type: string, payload: unknown, count: number): Promise<unknown[]>
  /** Ends its threads. */
  close(): Promise<unknown>
}

/** One way to configure a system. */
export interface Mode {
  readonly name: string
  open(threads: number): Promise<Pool>
}

/** Something that runs commands on threads. */
export interface System {
  readonly name: string
  readonly title: string
  /** Version of its package; undefined for what belongs to this benchmark. */
  version?(): string | undefined
  /** Why it cannot run here; undefined if it can. */
  missing?(): string | undefined
  /** Every row measures the best of them. */
  readonly modes: readonly Mode[]
  /** Longest payload it takes, in bytes. Default: any. */
  readonly payloadBytesMax?: number
}

/** How long and how often to measure. */
export interface Settings {
  readonly samples: number
  /** How long a sample launches commands, in milliseconds. */
  readonly sampleMs: number
  readonly warmUpMs: number
  /** Longest warm-up of a system, in milliseconds; it ends once four samples are alike. */
  readonly warmUpMaxMs: number
  /** Processor time that a warm-up takes at least unless samples are alike before. Default 0. */
  readonly warmUpCpuMs?: number
  /** Most commands in flight, and most queued at once: a smoke must not wait for slow peers. */
  readonly inFlightMax: number
  readonly queuedMax: number
  /** Choose the best mode of each system, and collect garbage before each sample. */
  readonly isThorough: boolean
}

/** What one sample measured, by metric. */
export type Sample = Record<string, number>

/** A figure of a row. */
export interface Column {
  /** Key in the sample. */
  readonly metric: string
  readonly title: string
  readonly better: 'more' | 'less'
  readonly digits: number
}

interface RowBase {
  /** Unique, kebab-case: topology or mix, then metric. */
  readonly id: string
  readonly title: string
  readonly threads: number
  /** Its figures; the first is the headline, which picks the best mode and has its spread shown. */
  readonly columns: readonly Column[]
  /** Names of the systems it is meant for. Default: all but `ideal`. */
  readonly systems?: readonly string[]
  readonly payloadBytes?: number
}

/** A row that measures an opened pool. */
export interface PoolRow extends RowBase {
  /** Measures for `ms` milliseconds; throws if a result is wrong. */
  measure(pool: Pool, ms: number, settings: Settings): Promise<Sample>
}

/** A row that opens and closes the system by itself, in processes of their own. */
export interface LoneRow extends RowBase {
  measureAlone(system: System, mode: Mode, ms: number, settings: Settings): Promise<Sample>
}

export type Row = PoolRow | LoneRow

/** The figures of one system in one row. */
export interface Entry {
  readonly system: string
  readonly mode: string
  readonly samples: Sample[]
}

/** What a row measured. */
export interface RowResult {
  readonly id: string
  readonly title: string
  readonly threads: number
  readonly columns: readonly Column[]
  readonly entries: Entry[]
  /** Systems that did not take part, and why. */
  readonly left: Record<string, string>
}

/** A single-thread part, measured by tinybench. Times in nanoseconds per operation. */
export interface MicroResult {
  readonly name: string
  readonly medianNs: number
  readonly p75Ns: number
  readonly p99Ns: number
  readonly samples: number
}

/** Where and when a run took place. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly usableCores: number
  readonly memoryGiB: number
  readonly platform: string
  readonly node: string
  readonly v8: string
  readonly commit: string
  readonly date: string
  /** Runnable processes over the last minute, before the run; and after it. */
  readonly loadBefore: number
  readonly loadAfter?: number
  /** Share of all cores in use just before the run, 0 to 1. */
  readonly cpuUsageBefore: number
  readonly versions: Record<string, string>
}

/** A whole run, as written to `results`. */
export interface Report {
  readonly machine: Machine
  readonly settings: Settings
  readonly rows: readonly RowResult[]
  readonly micro: readonly MicroResult[]
  readonly failures: readonly string[]
}
