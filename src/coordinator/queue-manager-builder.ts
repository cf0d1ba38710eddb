// Queue manager builder: the options of a manager, one call each.
// Owns: the options gathered so far.

import { checkObject } from '../base/options.ts'
import type { AnyHandlers, HandlersAt } from '../model/handler-module.ts'
import { DEFAULT_LANES, type DefaultLaneName, type LaneOptions } from '../model/lane.ts'
import type { PartitionOptions } from '../model/partition-config.ts'
import type { QueueManagerOptions } from './options.ts'
import { QueueManager } from './queue-manager.ts'
import type { QueueMetrics } from './queue-metrics.ts'

/**
 * Gathers options and makes a manager of them; sugar over `new QueueManager`. Each call
 * gives a new builder, so one can be kept and extended in several ways.
 *
 * @typeParam M - The handler module: `typeof import('./handlers.js')`.
 * @typeParam L - Names of the lanes so far.
 */
export class QueueManagerBuilder<M = AnyHandlers, L extends string = never> {
  readonly #options: QueueManagerOptions<M, string>

  /**
   * @param options - To begin with. Default: none.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  constructor(options: QueueManagerOptions<M, L> = {}) {
    checkObject('QueueManager', options)
    this.#options = options
  }

  /**
   * Names the handler module.
   *
   * @param handlers - A URL, or a path that is resolved from the working directory.
   */
  withHandlers<T = M>(handlers: URL | string | HandlersAt<T>): QueueManagerBuilder<T, L> {
    return new QueueManagerBuilder<T, string>({ ...this.#options, handlers }) as never
  }

  /**
   * Says how many partitions there are and how commands find theirs.
   *
   * @param partitions - A number of threads, a `PartitionConfig` or its plain form.
   */
  withPartitions(partitions: number | PartitionOptions): QueueManagerBuilder<M, L> {
    return this.withOptions({ partitions })
  }

  /**
   * Adds the lanes system, control, query, session, skill and prompt, most urgent first. One of
   * those names that was added before stays as it is.
   */
  withDefaultLanes(): QueueManagerBuilder<M, L | DefaultLaneName> {
    return this.#with({ lanes: { ...DEFAULT_LANES, ...this.#options.lanes } })
  }

  /**
   * Adds a lane.
   *
   * @param name - Its name; a lane of that name is replaced.
   * @param options - Its options. Default: all defaults.
   * @param priority - Its urgency, 0 (the most urgent) to 255. Default: that of the options.
   */
  withLane<N extends string>(
    name: N,
    options: LaneOptions = {},
    priority?: number,
  ): QueueManagerBuilder<M, L | N> {
    const lane = priority === undefined ? options : { ...options, priority }
    return this.#with({ lanes: { ...this.#options.lanes, [name]: lane } })
  }

  /**
   * Says how many commands are kept that failed for good.
   *
   * @param deadLetterCapacity - 0 to 1,000,000.
   */
  withDeadLetters(deadLetterCapacity: number): QueueManagerBuilder<M, L> {
    return this.withOptions({ deadLetterCapacity })
  }

  /**
   * Keeps metrics.
   *
   * @param metrics - `QueueMetrics.local()`, or metrics with a backend.
   */
  withMetrics(metrics: QueueMetrics): QueueManagerBuilder<M, L> {
    return this.withOptions({ metrics })
  }

  /**
   * Sets any other options.
   *
   * @param options - They replace those set before.
   * @throws ConfigError `CORELANE_INVALID_OPTION`.
   */
  withOptions<N extends string = L>(options: QueueManagerOptions<M, N>): QueueManagerBuilder<M, N> {
    checkObject('QueueManager', options)
    return this.#with(options)
  }

  /**
   * Makes the manager. Its threads start with `start()`.
   *
   * @throws (as a rejection) What `new QueueManager` throws.
   */
  async build(): Promise<QueueManager<M, [L] extends [never] ? DefaultLaneName : L>> {
    return new QueueManager(this.#options) as never
  }

  /** The names of the lanes are in the type that its callers say. */
  #with(options: QueueManagerOptions<M, string>): never {
    return new QueueManagerBuilder<M, string>({ ...this.#options, ...options }) as never
  }
}
