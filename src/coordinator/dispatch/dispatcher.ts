// Dispatcher: moves commands from the backlog into the windows of the partitions.
// Owns: which commands move, and when.
// Must not: choose a partition (partition-choice), start threads, settle results.

import { nowMs } from '../../base/clock.ts'
import { type LaneError, laneError } from '../../base/errors.ts'
import type { CoordinatorCommons } from '../../memory/commons.ts'
import type { Admission } from '../../schedule/scheduler.ts'
import { ANY_PARTITION, type Command } from '../command.ts'
import { type Lane, openCountOf, setPaused } from '../lane-table.ts'
import type { RunClaim } from '../manager-events.ts'
import { Horizon } from '../results/horizon.ts'
import type { InFlightWindow } from '../threads/in-flight-window.ts'
import type { PartitionHandle } from '../threads/partition-handle.ts'
import type { Backlog } from './backlog.ts'
import { hasGroupLimits, isBeforeTurn, placeOf } from './group-turns.ts'
import { PartitionChoice } from './partition-choice.ts'

/** Binds what can be bound. */
export class Dispatcher implements Admission<Command> {
  readonly #backlog: Backlog
  readonly #partitions: readonly PartitionHandle[]
  readonly #lanes: readonly Lane[]
  readonly #isShared: boolean
  readonly #concurrency: number
  /** Windows with commands that their partition was not shown yet. */
  #dirty: InFlightWindow[] = []
  readonly #choice: PartitionChoice
  /** Whether the order may change with time, so that the clock must be read. */
  #isTimed = false
  /** The most urgent command that found no room in the present refill, and how urgent it is. */
  #blocked: Command | undefined
  #blockedRank = 0
  /** Commands that were held though less urgent ones of their key are bound, with their ranks. */
  readonly #overtaking: { command: Command; rank: number }[] = []
  /** The most urgent command of a limited lane that found less urgent ones of its lane bound. */
  #outranked: Command | undefined
  #outrankedRank = 0
  /** Commands bound so far. */
  #boundCount = 0
  /** Whether a payload is being read: its getters may do anything, the backlog must not change. */
  isBinding = false
  /** What those getters submitted; placed once the command being bound has its place. */
  readonly #submitted: Command[] = []
  /** A command that leaves the order to wait elsewhere, and its rank there. */
  #aside: Command | undefined
  #asideRank = 0
  readonly #horizon = new Horizon()

  /**
   * @param backlog - Keeps what cannot be bound.
   * @param isShared - Whether commands may go to any partition.
   * @param concurrency - Handlers that may run at once in one partition.
   */
  constructor(
    backlog: Backlog,
    partitions: readonly PartitionHandle[],
    lanes: readonly Lane[],
    commons: CoordinatorCommons,
    isShared: boolean,
    concurrency: number,
  ) {
    this.#backlog = backlog
    this.#partitions = partitions
    this.#lanes = lanes
    this.#isShared = isShared
    this.#concurrency = concurrency
    this.#choice = new PartitionChoice(partitions, commons, lanes, partitions.length * concurrency)
  }

  /**
   * Binds a new command at once if nothing is before it and a window has room, else it waits.
   *
   * @param command - Just submitted, or no longer delayed.
   */
  place(command: Command): void {
    const backlog = this.#backlog
    if (command.isTimed) this.#isTimed = true
    if (command.isOver) return
    if (this.isBinding) {
      this.#submitted.push(command)
      return
    }
    const { lane, home } = command
    const isKeyHeld = this.#isKeyHeld(command)
    const needsTurn = isBeforeTurn(command)
    if (needsTurn && (isKeyHeld || this.#isHeldUp(lane, home) || !backlog.passes(command))) {
      this.#awaitTurn(command)
      return
    }
    if (!isKeyHeld && backlog.isEmptyAt(home) && this.#tryBind(command, command.rank)) {
      this.#placeSubmitted()
      return
    }
    const now = this.#now()
    if (isKeyHeld) {
      this.#hold(command, command.rank, now)
      if (this.#overtaking.length === 0) return
    } else {
      if (needsTurn) backlog.offerNext(command, now)
      else backlog.offer(command, now)
      // Only a new front can be bound now; anything else waits behind one that could not be.
      if (!backlog.isFront(command, now)) return
    }
    this.#refill(placeOf(home), now)
  }

  /**
   * Puts commands back that were bound and not started.
   *
   * @param commands - Taken back from a window.
   */
  takeBack(commands: readonly Command[]): void {
    const { turns } = this.#backlog
    // In the order it would keep its turn while all handlers of its home wait, perhaps for that.
    if (!this.#isShared) turns.giveBack(commands.filter(({ lane }) => hasGroupLimits(lane)))
    if (this.isBinding) {
      this.#submitted.push(...commands)
      return
    }
    const now = this.#now()
    for (const command of commands) this.#backlog.takeBack(command, now)
  }

  /**
   * Keeps commands of a lane from starting: takes back those bound and not started. One whose
   * payload was moved to its partition cannot be taken back, and starts.
   */
  pause(lane: Lane): void {
    setPaused(lane, true)
    for (const { window } of this.#partitions) {
      if (window === undefined) continue
      // A window that is kept free for one of its commands serves others meanwhile.
      if (window.reservedFor?.lane === lane && !window.reservedFor.isBound) {
        window.reservedFor = undefined
      }
      this.takeBack(window.recall({ laneIndex: lane.index }))
    }
  }

  /** Lets commands of a lane start again. */
  resume(lane: Lane): void {
    setPaused(lane, false)
  }

  /** Binds from the backlog whatever the windows have room for. */
  refill(): void {
    const backlog = this.#backlog
    const { turns } = backlog
    if (this.isBinding) return
    turns.advance()
    if (backlog.size === 0 && !backlog.holdsAny && !turns.hasWaiting) return
    const now = this.#now()
    backlog.prune(this.#lanes, now)
    if (!this.#isShared) turns.giveUp(({ lane, home }) => this.#isHeldUp(lane, home))
    for (let place = 0; place < backlog.places; place++) this.#refill(place, now)
  }

  /** Takes back what a partition has not started, since every handler that may run there waits. */
  reclaimFrom({ window }: PartitionHandle): void {
    if (this.#isShared && window !== undefined) this.takeBack(window.recall())
  }

  /** A handler of a partition waits, perhaps for a slot or a token that a command there keeps. */
  returnTurns({ window }: PartitionHandle): void {
    const { turns } = this.#backlog
    for (const laneIndex of turns.lanes) {
      if (window === undefined || !hasGroupLimits(this.#lanes[laneIndex]!)) continue
      this.takeBack(turns.giveBack(window.recall({ laneIndex })))
    }
  }

  /**
   * Why no partition can run commands of a home; undefined if one can. Each call gives an error of
   * its own, which carries what became of a command.
   *
   * @param home - The commands', or any partition.
   */
  refusal(home: number): LaneError | undefined {
    const reason = this.#failureOf(home)
    return reason && laneError(reason.code, reason.details, reason.cause)
  }

  /** Takes what waits for a partition that gets no thread any more. */
  takeStranded(partition: number): Command[] {
    if (!this.#isShared) return this.#backlog.takeFrom(partition, 0)
    return this.#failureOf(ANY_PARTITION) === undefined ? [] : this.#backlog.takeFrom(0, 0)
  }

  /** Handlers that could run at once now, if there were a thread for each. */
  demand(): number {
    const backlog = this.#backlog
    let sum = 0
    let bound = backlog.size + backlog.turns.readyCount
    for (const lane of this.#lanes) {
      const { index, slots, isPaused } = lane
      if (!isPaused) {
        sum += Math.min(openCountOf(lane), slots === 0 ? Number.POSITIVE_INFINITY : slots)
        continue
      }
      // Of a paused lane only commands that could not be taken back start.
      bound -= backlog.sizeOf(index) + backlog.turns.readyIn(index)
      for (const { incarnation } of this.#partitions) {
        sum += incarnation?.window.load.inLane(index) ?? 0
      }
    }
    for (const { incarnation } of this.#partitions) {
      bound += incarnation?.window.load.count ?? 0
      // These hold runs, though their commands have settled.
      sum += incarnation?.window.watch.detachedCount ?? 0
    }
    return Math.ceil(Math.min(sum, bound) / this.#concurrency)
  }

  /** Looks as far ahead as what is bound is old; `next` is the number of the next command. */
  lookAhead(now: number, next: number): void {
    this.#horizon.mark(now, next)
    const workUs = this.#horizon.workUs(now)
    for (const { window } of this.#partitions) {
      if (window !== undefined) window.limits.workUsMax = workUs
    }
  }

  /** Commands with these numbers come from a queue: see {@link Horizon.queued}. */
  queued(from: number, to: number, atMs: number, now: number): void {
    this.#horizon.queued(from, to, atMs, now)
  }

  /** How long results may stay unread, in milliseconds, before a partition could run dry. */
  doze(now: number): number {
    let least = Number.POSITIVE_INFINITY
    for (const { window } of this.#partitions) {
      if (window !== undefined) least = Math.min(least, window.load.openWorkUs)
    }
    return this.#horizon.doze(now, least / 1000)
  }

  /** Whether commands bound since make that too long. */
  get hasYounger(): boolean {
    return this.#horizon.hasYounger
  }

  /** Estimated work of everything that is bound, in microseconds. */
  get workUs(): number {
    let sum = 0
    for (const { window } of this.#partitions) sum += window?.load.workUs ?? 0
    return sum
  }

  /** When the order of waiting commands changes by itself; Infinity if it does not. */
  get changesAtMs(): number {
    const backlog = this.#backlog
    const atMs = backlog.turns.changesAtMs
    return this.#isTimed && backlog.size > 0 ? Math.min(atMs, backlog.changesAtMs) : atMs
  }

  /** Shows the partitions what was bound. */
  flush(): void {
    this.#backlog.turns.endTurn()
    if (this.#dirty.length === 0) return
    for (const window of this.#dirty) window.flush()
    this.#dirty.length = 0
  }

  /** Whether a lane lets a command start: now, or once its rate does. */
  readonly mayStart = (lane: Lane): boolean => this.#choice.mayStart(lane)

  isUnderMin(): boolean {
    // The partitions see to the minimum; here a lane under it always has something bound.
    return false
  }

  admits(command: Command, rank: number): boolean {
    if (command.isOver) return true
    const isKeyed = command.key !== undefined
    if (isBeforeTurn(command) || (isKeyed && this.#mustHold(command, rank, this.#now()))) {
      this.#aside = command
      this.#asideRank = rank
      return true
    }
    return this.#tryBind(command, rank)
  }

  /**
   * Notes that runs go on in a thread that is being terminated: they hold their keys and their
   * lanes' slots until the thread has ended.
   *
   * @param runs - Their lanes and keys.
   */
  detach(partition: number, runs: readonly RunClaim[]): void {
    for (const { lane, key } of runs) {
      if (key !== undefined && !this.#isShared) this.#backlog.detach(partition, key)
      this.#choice.detachedRuns[lane.index]!++
    }
    this.#clearFullLanes()
  }

  /** Ends what {@link Dispatcher.detach} began: the thread has ended. */
  reattach(partition: number, runs: readonly RunClaim[]): void {
    for (const { lane, key, group } of runs) {
      group?.leave()
      if (key !== undefined && !this.#isShared) this.#backlog.reattach(partition, key)
      this.#choice.detachedRuns[lane.index]!--
    }
  }

  #failureOf(home: number): LaneError | undefined {
    if (home !== ANY_PARTITION) return this.#partitions[home]!.failure
    for (const { state } of this.#partitions) {
      if (state === 'occupied' || state === 'waiting') return undefined
    }
    return this.#partitions.find(({ state }) => state === 'failed')?.failure
  }

  /**
   * Binds a command if its lane and a window have room; if not, notes that it is the first without.
   * True as well for one that has ended meanwhile.
   */
  #tryBind(command: Command, rank: number): boolean {
    const { lane } = command
    if (this.#choice.excessOf(lane) >= 0) return false
    // A limited lane is not bound past a more urgent command that found no room; what it is
    // promised is.
    const isPromised = !lane.isLimited || this.#choice.promised[lane.index]! > 0
    if (!isPromised && this.#isAfterBlocked(command, rank)) return false
    if (this.#bind(command, rank)) {
      this.#boundCount++
      return true
    }
    if (lane.isLimited) {
      const isFirst = this.#outranked === undefined || rank < this.#outrankedRank
      if (isFirst && this.#choice.wasOverAllowance) {
        this.#outranked = command
        this.#outrankedRank = rank
      }
    } else if (this.#blocked === undefined && !this.#choice.isKeptOut(command)) {
      // One that is kept out for a suspect does not count: the suspect itself may be in a limited
      // lane, and would then wait behind it.
      this.#blocked = command
      this.#blockedRank = rank
    }
    return false
  }

  #isAfterBlocked({ sequence }: Command, rank: number): boolean {
    if (this.#blocked === undefined) return false
    if (rank !== this.#blockedRank) return rank > this.#blockedRank
    return sequence > this.#blocked.sequence
  }

  /** Whether a new command must wait beside the order: its key is busy, or others of it wait. */
  #isKeyHeld(command: Command): boolean {
    if (command.key === undefined) return false
    return this.#backlog.holdsLike(command) || this.#isKeyBusy(command)
  }

  /** Whether a command in the order, or whose turn has come, must wait for its key beside it. */
  #mustHold(command: Command, rank: number, now: number): boolean {
    if (command.key === undefined) return false
    // An older one may be held for being long, and must not be passed by a short one.
    return this.#isKeyBusy(command) || this.#backlog.holdsBefore(command, rank, now)
  }

  /** Whether a command with a key could only wait behind others of its key. */
  #isKeyBusy(command: Command): boolean {
    if (this.#backlog.isDetached(command)) return true
    const partition = this.#partitions[command.home]!
    const { window } = partition
    if (partition.hasRetiringRun(command.key!)) return true
    return window !== undefined && !this.#acceptsKey(window, command, command.type.estimateUs)
  }

  /**
   * Whether another command of its key may be bound. One of a group with limits may if none is that
   * could start before it: behind that it would keep a slot, and a handler may wait for just that.
   */
  #acceptsKey({ limits, load }: InFlightWindow, command: Command, estimateUs?: number): boolean {
    const { laneIndex, key, groupSeat } = command
    if (!groupSeat?.takesTurns || !hasGroupLimits(command.lane)) {
      return limits.acceptsKey(laneIndex, key!, estimateUs)
    }
    return this.#lanes.every(({ index, isLimited }) => {
      if (load.ofKey(index, key!) === 0) return true
      // What waits at the gate of another lane may wait there for the handler that waits for this.
      return isLimited && index !== laneIndex && !limits.hasStarted(index, key!)
    })
  }

  #hold(command: Command, rank: number, now: number): void {
    const backlog = this.#backlog
    // A turn is for what may start: others of its group go on meanwhile.
    backlog.turns.giveBack([command])
    backlog.hold(command, now)
    // What is bound had its turn before.
    if (command.groupSeat?.takesTurns) return
    const { window } = this.#partitions[command.home]!
    const { laneIndex, key, sequence } = command
    if (!window?.load.hasAfterOfKey(laneIndex, key!, rank, sequence)) return
    this.#overtaking.push({ command, rank })
  }

  /** Lets a command wait for its turn, or binds it if that has come. */
  #awaitTurn(command: Command): void {
    const backlog = this.#backlog
    const { lane, laneIndex, home } = command
    // The clock decides when a group may go on.
    if (lane.plan.groups.rate !== undefined) this.#isTimed = true
    const now = this.#now()
    const place = placeOf(home)
    backlog.turns.offer(command, now)
    if (lane.isPaused || !backlog.turns.isReady(laneIndex, place)) return
    if (backlog.turns.hasInOrder(laneIndex, place)) return
    if (home === ANY_PARTITION && backlog.isEmptyAt(home)) {
      this.#takeTurn(laneIndex, place, now)
      this.#placeSubmitted()
      // Most are bound by now, which costs less than a refill.
      if (backlog.isEmptyAt(home)) return
    }
    this.#refill(place, now)
  }

  /** Takes a turn in each lane of which none had one and still waits: as late as windows allow. */
  #takeTurns(place: number, now: number): boolean {
    const { turns } = this.#backlog
    const isOneOfMany = turns.readyLanes(place) > 1
    let hasTaken = false
    for (const laneIndex of turns.lanes) {
      const lane = this.#lanes[laneIndex]!
      if (lane.isPaused || turns.hasInOrder(laneIndex, place)) continue
      if (this.#isHeldUp(lane, place)) continue
      if (this.#takeTurn(laneIndex, place, now, isOneOfMany)) hasTaken = true
    }
    return hasTaken
  }

  /** Whether a command cannot start where it must, and would keep others of its group waiting. */
  #isHeldUp(lane: Lane, home: number): boolean {
    if (this.#isShared || !hasGroupLimits(lane)) return false
    const { isHeld, window } = this.#partitions[home]!
    return isHeld || window === undefined
  }

  /** Binds commands of a lane whose turn it is or puts one into the order; false if none is. */
  #takeTurn(laneIndex: number, place: number, now: number, isOneOfMany = false): boolean {
    const backlog = this.#backlog
    for (let hasTaken = false; ; hasTaken = true) {
      const command = backlog.turns.next(laneIndex, place, now)
      if (command === undefined) return hasTaken
      const { rank } = command
      if (!this.#mustHold(command, rank, now)) {
        const mayGo = !isOneOfMany && !command.isTimed && backlog.isEmptyAt(command.home)
        if (mayGo && (command.isOver || this.#tryBind(command, rank))) continue
        backlog.offerNext(command, now)
        return true
      }
      this.#hold(command, rank, now)
    }
  }

  /** Takes back what cannot start since its lane has reached its maximum: others need the room. */
  #clearFullLanes(): void {
    for (const lane of this.#lanes) {
      if (this.#choice.excessOf(lane) <= 0) continue
      for (const { window } of this.#partitions) {
        if (window !== undefined) this.takeBack(window.recall({ laneIndex: lane.index }))
      }
    }
  }

  #now(): number {
    return this.#isTimed ? nowMs() : 0
  }

  #refill(place: number, now: number): void {
    if (this.#isTimed) for (const { window } of this.#partitions) window?.judge(now)
    this.#choice.refresh()
    this.#clearFullLanes()
    for (;;) {
      const bound = this.#boundCount
      const hasReleased = this.#releaseKeys(place, now)
      this.#blocked = undefined
      this.#outranked = undefined
      while (this.#takeNext(place, now) || this.#takeTurns(place, now));
      const hasSwapped = this.#swapKeys() || this.#swapInLane()
      if (!hasSwapped && (!hasReleased || this.#boundCount === bound)) break
    }
    if (this.#blocked !== undefined) this.#preempt(this.#blocked, this.#blockedRank)
    this.#blocked = undefined
    this.#placeSubmitted()
  }

  /** Binds the next command in the order, or sets it aside; false if neither may be. */
  #takeNext(place: number, now: number): boolean {
    const command = this.#backlog.next(place, this, now)
    if (command === undefined) return false
    if (command !== this.#aside) return true
    // Only now: it gets another rank and sequence, which must not change while it is in the order.
    this.#aside = undefined
    // It may have given its turn up.
    if (isBeforeTurn(command)) this.#backlog.turns.offer(command, now)
    else this.#hold(command, this.#asideRank, now)
    return true
  }

  /** Puts a held command of each key that has room into the order. */
  #releaseKeys(place: number, now: number): boolean {
    const backlog = this.#backlog
    const partition = this.#partitions[place]
    const window = partition?.window
    if (!backlog.holdsAny || window === undefined) return false
    let hasReleased = false
    for (const command of backlog.heldAt(place, now)) {
      if (partition!.hasRetiringRun(command.key!) || !this.#acceptsKey(window, command)) continue
      backlog.release(command, now)
      hasReleased = true
    }
    return hasReleased
  }

  /** Takes back a less urgent command for each that was held though its key has such bound. */
  #swapKeys(): boolean {
    let hasSwapped = false
    for (const { command, rank } of this.#overtaking.splice(0)) {
      const window = this.#partitions[command.home]!.window!
      const { laneIndex, sequence } = command
      const key = command.key!
      const recalled = window.recall({ laneIndex, key, after: { rank, sequence }, countMax: 1 })
      if (recalled.length === 0) window.load.lowerLastOfKey(laneIndex, key, rank, sequence)
      this.takeBack(recalled)
      hasSwapped ||= recalled.length > 0
    }
    return hasSwapped
  }

  /** Takes back a command of a limited lane for a more urgent one of the same. */
  #swapInLane(): boolean {
    if (this.#outranked === undefined) return false
    const { home, laneIndex, sequence } = this.#outranked
    const rank = this.#outrankedRank
    for (const { index, window } of this.#partitions) {
      if (!window?.load.hasAfterInLane(laneIndex, rank, sequence)) continue
      if (home !== ANY_PARTITION && home !== index) continue
      const recalled = window.recall({ laneIndex, after: { rank, sequence }, countMax: 1 })
      this.takeBack(recalled)
      if (recalled.length > 0) return true
      window.load.lowerLastInLane(laneIndex, rank, sequence)
    }
    return false
  }

  #placeSubmitted(): void {
    if (this.#submitted.length === 0) return
    for (const command of this.#submitted.splice(0)) if (!command.isSettled) this.place(command)
  }

  /** Takes back what is bound and runs after a command that found no room, lest it run first. */
  #preempt({ home, sequence }: Command, rank: number): void {
    for (const { index, window } of this.#partitions) {
      if (window === undefined || !window.load.hasAfter(rank, sequence)) continue
      if (home !== ANY_PARTITION && home !== index) continue
      this.takeBack(window.recall({ after: { rank, sequence }, promised: this.#choice.promised }))
    }
  }

  /**
   * Binds a command; false if no window has room. One that cannot cross threads is settled here,
   * and a getter of its payload may have settled it.
   */
  #bind(command: Command, rank: number): boolean {
    const partition = this.#choice.of(command, rank)
    if (partition === undefined) return false
    const window = partition.window!
    this.isBinding = true
    try {
      if (!window.bind(command, rank)) return command.isOver
    } catch (error) {
      command.manager.recovery.failed(command, error, partition.index, 0, 0)
      return true
    } finally {
      this.isBinding = false
    }
    partition.touch()
    this.#horizon.bound(command.number)
    if (window.unpublished === 1) this.#dirty.push(window)
    return true
  }
}
