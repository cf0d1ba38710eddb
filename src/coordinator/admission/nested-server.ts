// Nested server: submits commands on behalf of handlers.
// Owns: which of them wait.

import { laneError } from '../../base/errors.ts'
import type { CommandOptions } from '../../model/command.ts'
import type { CallReport, NestedSubmit } from '../../wire/control.ts'
import { thrownValue } from '../../wire/error-codec.ts'
import { fromSideValue, toCallValue } from '../../wire/side-payload.ts'
import type { Command } from '../command.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import type { LifeCycle } from '../life-cycle.ts'
import type { ManagerEvents } from '../manager-events.ts'
import type { Incarnation, NestedRequests } from '../threads/incarnation.ts'
import type { PartitionHandle } from '../threads/partition-handle.ts'
import type { Intake } from './intake.ts'
import type { Wait, WaitGraph } from './wait-graph.ts'

/** A wait that can be ended. */
export interface RefusableWait extends Wait {
  readonly refuse: () => void
}

/** A command that its handler may cancel. */
interface Cancellable {
  readonly controller: AbortController
  /** Whether it ends with the thread of its handler, which waits for it. */
  readonly isAwaited: boolean
  /** Settles when it has ended. */
  readonly ended: Promise<unknown>
}

/** Serves `context.submit`. */
export class NestedServer implements NestedRequests {
  readonly #intake: Intake
  readonly #partitions: readonly PartitionHandle[]
  readonly #graph: WaitGraph<RefusableWait>
  readonly #dispatcher: Dispatcher
  readonly #life: Pick<LifeCycle, 'refuseUnlessRunning'>
  readonly #events: Pick<ManagerEvents, 'acted'>
  /** By thread and number. */
  readonly #cancellables = new Map<Incarnation, Map<number, Cancellable>>()
  /** A wait that was let in may have become one without end. */
  #isLowered = false

  /**
   * @param intake - Takes the commands.
   * @param graph - Knows which handlers wait.
   * @param dispatcher - Takes back the commands of a partition where all handlers wait.
   * @param life - Says whether handlers may submit.
   */
  constructor(
    intake: Intake,
    partitions: readonly PartitionHandle[],
    graph: WaitGraph<RefusableWait>,
    dispatcher: Dispatcher,
    life: Pick<LifeCycle, 'refuseUnlessRunning'>,
    events: Pick<ManagerEvents, 'acted'>,
  ) {
    this.#intake = intake
    this.#partitions = partitions
    this.#graph = graph
    this.#dispatcher = dispatcher
    this.#life = life
    this.#events = events
  }

  /**
   * Submits a command.
   *
   * @param from - The thread whose handler submits it.
   * @returns Its result, or why it has none.
   */
  async submit(from: Incarnation, command: NestedSubmit): Promise<CallReport> {
    try {
      this.#life.refuseUnlessRunning(true)
      const value = await (command.wait ? this.#run(from, command) : this.#post(from, command))
      return { ok: true, side: toCallValue(value, 'result') }
    } catch (error) {
      return { ok: false, side: toCallValue(thrownValue(error), 'error') }
    }
  }

  /**
   * Ends a command, since its handler does not want it any more.
   *
   * @param from - The thread whose handler submitted it.
   * @param id - Its number there.
   */
  cancel(from: Incarnation, id: number): void {
    this.#cancellables.get(from)?.get(id)?.controller.abort()
  }

  /**
   * Waits for the end of a command that may be cancelled.
   *
   * @param from - The thread whose handler submitted it.
   * @param id - Its number there.
   */
  async untilEnded(from: Incarnation, id: number): Promise<void> {
    await this.#cancellables.get(from)?.get(id)?.ended
  }

  /** Looks again which partitions are held: cheap, and needed only after handlers have ended. */
  progressed(): void {
    const over = this.#graph.purge()
    for (const { index, retiring } of this.#partitions) {
      if (retiring.size > 0 || over.includes(index)) this.#update(index)
    }
    if (this.#isLowered) this.#refuseStuck()
  }

  /**
   * A lane has fewer slots than before, or a partition was given up. From now on waits are judged
   * more often than once.
   */
  lowered(): void {
    this.#isLowered = true
  }

  #refuseStuck(): void {
    for (;;) {
      const stuck = this.#graph.findStuck(this.#streams())
      if (stuck === undefined) return
      this.#graph.remove(stuck)
      stuck.refuse()
    }
  }

  #post(from: Incarnation, command: NestedSubmit): void {
    const { lane, type, id, hasSignal } = command
    const intake = this.#intake
    const controller = hasSignal ? new AbortController() : undefined
    const options = { ...command.options, signal: controller?.signal } as CommandOptions
    const made = intake.make(lane, type, fromSideValue(command.payload), options, false)
    if (command.carrier !== undefined) made.carry(command.carrier)
    // Its handler does not learn how it ends; subscribers to events do.
    const ended = intake.admit(made).catch(() => {})
    if (controller === undefined) return
    const mine = this.#cancellablesOf(from)
    mine.set(id, { controller, isAwaited: false, ended })
    void ended.then(() => mine.delete(id))
  }

  async #run(from: Incarnation, command: NestedSubmit): Promise<unknown> {
    const intake = this.#intake
    const graph = this.#graph
    // A command that a handler waits for may have failed and given its run away, perhaps to this
    // handler, and needs another for its retry.
    for (const { results } of this.#partitions)
      while ((results?.drain() ?? 0) > 0) this.#events.acted()
    const parent = from.window.commandOf(command.parent)
    // The caller of its handler has gone, so its wait holds up no other command.
    if (parent === undefined) throw laneError('CORELANE_ABORTED', { stage: 'submitted' })
    const payload = fromSideValue(command.payload)
    const { lane, type } = command
    const controller = new AbortController()
    const options = { ...command.options, signal: controller.signal } as CommandOptions
    const child = intake.make(lane, type, payload, options, false)
    if (command.carrier !== undefined) child.carry(command.carrier)
    let isRefused = false
    const run = `${from.partition}/${from.number}/${command.parent}`
    const partition = this.#partitions[from.partition]!
    const wait: RefusableWait = {
      // A command that timed out may run again beside a run of it that goes on.
      get holder() {
        return from.window.commandOf(command.parent) === undefined ? run : parent
      },
      awaited: () => child,
      hasStarted: () => hasStarted(child),
      refuse: () => {
        isRefused = true
        controller.abort()
      },
      // One that was given up leaves its detached runs open.
      isOver: () => from.isTerminating || !from.window.isOpen(command.parent),
      holdsPartition: from.partition,
      // Its successor has runs of its own.
      holdsRun: () => !partition.retiring.has(from),
      ...holdings(parent),
      needsPartition: child.home,
      needsLane: child.laneIndex,
      needsKey: child.key,
      needsGroup: child.group,
    }
    // Partitions whose handlers have ended meanwhile are held no more.
    this.progressed()
    if (!graph.add(wait, this.#streams())) throw laneError('CORELANE_NESTED_WAIT', { type, lane })
    this.#update(from.partition)
    this.#dispatcher.returnTurns(partition)
    // No command can have a partition to itself while a handler waits, perhaps for that partition.
    for (const { window } of this.#partitions)
      if (window !== undefined) window.reservedFor = undefined
    // Nothing else may make the dispatcher look again: all that runs may wait.
    this.#events.acted()
    const mine = this.#cancellablesOf(from)
    try {
      // The room that it would wait for may be its handler's own.
      const ended = intake.admit(child, { needsRoom: false })
      mine.set(command.id, { controller, isAwaited: true, ended })
      return await ended
    } catch (error) {
      throw isRefused ? laneError('CORELANE_NESTED_WAIT', { type, lane }) : error
    } finally {
      mine.delete(command.id)
      graph.remove(wait)
      this.#update(from.partition)
    }
  }

  /** Streams that have started: each rests, and then needs a run to go on, or has one. */
  *#streams(): Generator<Wait> {
    for (const { window, index } of this.#partitions) {
      for (const stream of window?.streams ?? []) {
        if (!hasStarted(stream)) continue
        yield {
          holder: stream,
          awaited: () => undefined,
          isOver: () => false,
          holdsPartition: index,
          holdsRun: () => false,
          ...holdings(stream),
          needsPartition: index,
          needsLane: -1,
          needsKey: undefined,
        }
      }
    }
  }

  #cancellablesOf(from: Incarnation): Map<number, Cancellable> {
    let mine = this.#cancellables.get(from)
    if (mine === undefined) {
      const made = new Map<number, Cancellable>()
      mine = made
      this.#cancellables.set(from, mine)
      void from.exited.then(() => {
        this.#cancellables.delete(from)
        for (const { controller, isAwaited } of made.values()) if (isAwaited) controller.abort()
      })
    }
    return mine
  }

  #update(partition: number): void {
    const graph = this.#graph
    const handle = this.#partitions[partition]!
    const wasHeld = handle.isHeld
    handle.isHeld = graph.isHeld(partition)
    handle.hasWaiting = graph.holdersAt(partition) > 0
    if (handle.isHeld && !wasHeld) this.#dispatcher.reclaimFrom(handle)
    if (handle.isHeld !== wasHeld) this.#events.acted()
  }
}

function hasStarted(command: Command): boolean {
  return command.isBound && command.holder!.startOf(command.slot) > 0
}

/** What a command keeps until it ends, its run aside. */
function holdings({ laneIndex, key, groupSeat, group }: Command) {
  const holdsGroup = groupSeat?.takesTurns ? group : undefined
  return { holdsLane: laneIndex, holdsKey: key, holdsGroup }
}
