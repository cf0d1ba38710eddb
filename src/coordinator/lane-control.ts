// Lane control: what users change of a lane while its manager runs.

import type { Dispatcher } from './dispatch/dispatcher.ts'
import type { Lane } from './lane-table.ts'
import type { ManagerEvents } from './manager-events.ts'

/** One lane of a manager that runs. */
export class LaneControl {
  readonly #lane: Lane
  readonly #dispatcher: Dispatcher
  readonly #manager: Pick<ManagerEvents, 'acted'>

  /** @internal */
  constructor(lane: Lane, dispatcher: Dispatcher, manager: Pick<ManagerEvents, 'acted'>) {
    this.#lane = lane
    this.#dispatcher = dispatcher
    this.#manager = manager
  }

  /** Its name. */
  get name(): string {
    return this.#lane.name
  }

  /** Whether it is paused. */
  get isPaused(): boolean {
    return this.#lane.isPaused
  }

  /**
   * Keeps its commands from starting, in all partitions, from the moment this returns. Running
   * ones go on, submits are accepted, and waiting ones still become late or are aborted. A command
   * with a transfer list may have been moved to its partition already; it starts.
   */
  pause(): void {
    this.#dispatcher.pause(this.#lane)
    this.#manager.acted()
  }

  /** Lets its commands start again, in their order. */
  resume(): void {
    this.#dispatcher.resume(this.#lane)
    this.#manager.acted()
  }
}
