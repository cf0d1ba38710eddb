// Nested server: submits commands on behalf of handlers.
// Thread: main.   Owns: which of them wait.

import { laneError } from '../base/errors.ts'
import type { CommandOptions } from '../model/command.ts'
import type { CallReport, NestedSubmit } from '../wire/control.ts'
import { thrownValue } from '../wire/error-codec.ts'
import { fromSideValue, toSideValue } from '../wire/side-value.ts'
import type { Incarnation } from './incarnation.ts'
import type { Intake } from './intake.ts'
import type { LaneTable } from './lane-table.ts'
import type { PartitionHandle } from './partition-handle.ts'
import type { Wait, WaitGraph } from './wait-graph.ts'

/** What the server works with. */
export interface NestedParts {
  readonly intake: Intake
  readonly lanes: LaneTable
  readonly partitions: readonly PartitionHandle[]
  readonly graph: WaitGraph
  /** Called when more may be bound than before. */
  readonly acted: () => void
  /** Called when every handler that may run in a partition waits: nothing starts there. */
  readonly held: (partition: PartitionHandle) => void
}

/** Serves `context.submit`. */
export class NestedServer {
  readonly #parts: NestedParts
  /** By thread and number: ends a command whose handler does not want it any more. */
  readonly #controllers = new Map<Incarnation, Map<number, AbortController>>()

  constructor(parts: NestedParts) {
    this.#parts = parts
  }

  /**
   * Submits a command.
   *
   * @param from - The thread whose handler submits it.
   * @param command - The command.
   * @returns Its result, or why it has none.
   */
  async submit(from: Incarnation, command: NestedSubmit): Promise<CallReport> {
    try {
      const value = await (command.wait ? this.#run(from, command) : this.#post(command))
      return { ok: true, side: toSideValue(value, 'result') }
    } catch (error) {
      return { ok: false, side: toSideValue(thrownValue(error), 'error') }
    }
  }

  /**
   * Ends a command, since its handler does not want it any more.
   *
   * @param from - The thread whose handler submitted it.
   * @param id - Its number there.
   */
  cancel(from: Incarnation, id: number): void {
    this.#controllers.get(from)?.get(id)?.abort()
  }

  /** Looks again which partitions are held: cheap, and needed only after handlers have ended. */
  progressed(): void {
    for (const partition of this.#parts.graph.purge()) this.#update(partition)
  }

  #post({ lane, type, payload, options }: NestedSubmit): void {
    const { intake } = this.#parts
    const order = intake.order(lane, type, fromSideValue(payload), options as CommandOptions, false)
    // Whoever does not wait does not learn how it ends; events tell everybody who listens.
    intake.submitOrder(order).catch(() => {})
  }

  async #run(from: Incarnation, command: NestedSubmit): Promise<unknown> {
    const { intake, lanes, graph, partitions } = this.#parts
    const parent = from.window.commandOf(command.parent)
    // Its handler is not waited for any more, so what it waits for hinders nobody.
    if (parent === undefined) throw laneError('CORELANE_ABORTED', { stage: 'submitted' })
    const payload = fromSideValue(command.payload)
    const { lane, type } = command
    const controller = new AbortController()
    const options = { ...command.options, signal: controller.signal } as CommandOptions
    const order = intake.order(lane, type, payload, options, false)
    const wait: Wait = {
      holder: parent,
      awaited: () => order.command,
      isOver: () => !from.window.isOpen(command.parent),
      holdsPartition: from.partition,
      holdsLane: parent.laneIndex,
      holdsKey: parent.key,
      needsPartition: order.home,
      needsLane: lanes.get(lane).index,
      needsKey: order.extras?.key,
    }
    if (!graph.add(wait)) throw laneError('CORELANE_NESTED_WAIT', { type, lane })
    this.#update(from.partition)
    // No command can have a partition to itself while a handler waits, perhaps for that partition.
    for (const { window } of partitions) if (window !== undefined) window.reservedFor = undefined
    // Nothing else may make the binder look again: all that runs may wait.
    this.#parts.acted()
    const controllers = this.#controllersOf(from)
    controllers.set(command.id, controller)
    try {
      // The room that it would wait for may be its handler's own.
      return await intake.submitOrder(order, { needsRoom: false })
    } finally {
      controllers.delete(command.id)
      graph.remove(wait)
      this.#update(from.partition)
    }
  }

  #controllersOf(from: Incarnation): Map<number, AbortController> {
    let controllers = this.#controllers.get(from)
    if (controllers === undefined) {
      const made = new Map<number, AbortController>()
      controllers = made
      this.#controllers.set(from, made)
      void from.exited.then(() => {
        this.#controllers.delete(from)
        // Nobody waits for these any more.
        for (const controller of made.values()) controller.abort()
      })
    }
    return controllers
  }

  #update(partition: number): void {
    const { partitions, graph } = this.#parts
    const handle = partitions[partition]!
    const wasHeld = handle.isHeld
    handle.isHeld = graph.isHeld(partition)
    handle.hasWaiting = graph.holdersAt(partition) > 0
    if (handle.isHeld && !wasHeld) this.#parts.held(handle)
    if (handle.isHeld !== wasHeld) this.#parts.acted()
  }
}
