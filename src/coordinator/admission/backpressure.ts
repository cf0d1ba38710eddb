// Backpressure: bounds pending commands, and lets submits wait until there is room.
// Owns: submits that were not accepted yet, first come first served in each lane.

import { Deque } from '../../base/deque.ts'
import { laneError } from '../../base/errors.ts'
import { inSlices } from '../../base/slices.ts'
import { survey } from '../../wire/survey.ts'
import { type Lane, type LaneTable, openCountOf } from '../lane-table.ts'
import type { PendingBounds } from '../options.ts'

/** A submit that waits. */
interface WaitingSubmit {
  /** What its command counts for. */
  readonly bytes: number
  /** Accepts it; its command is pending when this returns. */
  readonly accept: () => void
  readonly refuse: (reason: unknown) => void
}

/** About how many bytes a payload takes on its way; less than it does, never more than a little. */
function payloadBytes(payload: unknown): number {
  if (typeof payload === 'string') return payload.length
  if (typeof payload !== 'object' || payload === null) return 8
  try {
    return survey(payload, 'payload').bytes
  } catch {
    // It cannot cross threads: its command rejects with that when it is bound.
    return 0
  }
}

/** A submit that waits, and since when in relation to others. */
interface Waiting {
  readonly ticket: number
  /** Undefined once it waits no more. */
  submit: WaitingSubmit | undefined
}

/** The submits of one lane that wait, and some that left. */
interface SubmitQueue {
  readonly entries: Deque<Waiting>
  /** Those that wait. */
  count: number
}

/** A queue with more that left than this, and more than that wait, lets go of them. */
const LEFT_MAX = 64

/** So the front of a queue is always one that waits. */
function dropLeft(entries: Deque<Waiting>): void {
  while (entries.length > 0 && entries.first!.submit === undefined) entries.shift()
}

/** Keeps what is pending within bounds. */
export class Backpressure {
  readonly #lanes: LaneTable
  readonly #bounds: PendingBounds
  readonly #queues: SubmitQueue[]
  /** Whether any bound counts bytes. */
  readonly countsBytes: boolean
  #waitingCount = 0
  #tickets = 0

  /** @param bounds - Of all lanes together. */
  constructor(lanes: LaneTable, bounds: PendingBounds) {
    this.#lanes = lanes
    this.#bounds = bounds
    this.#queues = lanes.all.map(() => ({ entries: new Deque(), count: 0 }))
    this.countsBytes =
      bounds.maxPendingBytes !== Number.POSITIVE_INFINITY ||
      lanes.all.some(({ plan }) => plan.maxPendingBytes !== Number.POSITIVE_INFINITY)
  }

  /** Whether there is a bound at all. */
  get isBounded(): boolean {
    const { maxPending } = this.#bounds
    return (
      this.countsBytes ||
      maxPending !== Number.POSITIVE_INFINITY ||
      this.#lanes.all.some(({ plan }) => plan.maxPending !== Number.POSITIVE_INFINITY)
    )
  }

  /** Submits of a lane that wait. */
  waitingIn(lane: Lane): number {
    return this.#queues[lane.index]!.count
  }

  /**
   * Bytes that a payload counts for.
   *
   * @returns 0 if no bound counts bytes.
   */
  bytesOf(payload: unknown): number {
    return this.countsBytes ? payloadBytes(payload) : 0
  }

  /**
   * Whether a command may be pending now. A lane's first command always may, however large.
   *
   * @param bytes - What it counts for.
   * @returns False if its submit must wait.
   * @throws QueueFullError if the bound that is reached does not let it wait.
   */
  admits(lane: Lane, bytes: number): boolean {
    if (this.waitingIn(lane) === 0 && this.#fits(lane, bytes)) return true
    return this.#refuse(lane, bytes)
  }

  /** Whether the next command of a lane would have to wait or be refused. */
  isFull(lane: Lane): boolean {
    return this.waitingIn(lane) > 0 || !this.#fits(lane, 0)
  }

  /**
   * Lets a submit wait.
   *
   * @param submit - Accepted as soon as there is room.
   * @returns Lets it wait no more; then it is neither accepted nor refused.
   */
  wait(lane: Lane, submit: WaitingSubmit): () => void {
    const entry: Waiting = { submit, ticket: this.#tickets++ }
    const queue = this.#queues[lane.index]!
    const { entries } = queue
    entries.push(entry)
    queue.count++
    this.#waitingCount++
    return () => {
      if (entry.submit === undefined) return
      entry.submit = undefined
      queue.count--
      this.#waitingCount--
      dropLeft(entries)
      // A constant for each that leaves: as many leave before this happens again.
      const left = entries.length - queue.count
      if (left > LEFT_MAX && left > queue.count) entries.filter((one) => one.submit !== undefined)
    }
  }

  /** Accepts submits that wait, as far as there is room: call it after commands were settled. */
  release(): void {
    while (this.#waitingCount > 0) {
      const queue = this.#longestWaiting()
      if (queue === undefined) return
      this.#take(queue).accept()
    }
  }

  /** Of the lanes whose first submit fits now, the one whose has waited longest. */
  #longestWaiting(): SubmitQueue | undefined {
    let longest: SubmitQueue | undefined
    let ticket = Number.POSITIVE_INFINITY
    for (const lane of this.#lanes.all) {
      const queue = this.#queues[lane.index]!
      const { first } = queue.entries
      if (first === undefined || first.ticket >= ticket) continue
      if (!this.#fits(lane, first.submit!.bytes)) continue
      longest = queue
      ticket = first.ticket
    }
    return longest
  }

  /** Takes the first of a queue, which waits, and those behind it that left. */
  #take(queue: SubmitQueue): WaitingSubmit {
    const { entries } = queue
    const entry = entries.shift()!
    const submit = entry.submit!
    entry.submit = undefined
    queue.count--
    this.#waitingCount--
    dropLeft(entries)
    return submit
  }

  /**
   * Refuses every submit that waits.
   *
   * @param reason - What they reject with.
   */
  refuseAll(reason: () => unknown): void {
    const all: WaitingSubmit[] = []
    for (const queue of this.#queues) while (queue.count > 0) all.push(this.#take(queue))
    void inSlices(all, ({ refuse }) => refuse(reason()))
  }

  #fits(lane: Lane, bytes: number): boolean {
    const open = openCountOf(lane)
    const { maxPending, maxPendingBytes } = lane.plan
    if (open > 0 && (open >= maxPending || lane.pendingBytes + bytes > maxPendingBytes))
      return false
    const all = this.#lanes.openCount
    if (all === 0) return true
    const bounds = this.#bounds
    return all < bounds.maxPending && this.#lanes.pendingBytes + bytes <= bounds.maxPendingBytes
  }

  #refuse(lane: Lane, bytes: number): false {
    const open = openCountOf(lane)
    const { maxPending, maxPendingBytes, waitsWhenFull } = lane.plan
    const isLaneFull = open >= maxPending || lane.pendingBytes + bytes > maxPendingBytes
    if (isLaneFull ? waitsWhenFull : this.#bounds.waitsWhenFull) return false
    const { openCount, pendingBytes } = this.#lanes
    const full = isLaneFull
      ? { pending: open, maxPending, pendingBytes: lane.pendingBytes, maxPendingBytes }
      : { pending: openCount, pendingBytes, ...this.#bounds }
    throw laneError('CORELANE_QUEUE_FULL', {
      owner: isLaneFull ? `Lane "${lane.name}"` : 'The queue manager',
      reached:
        full.pending >= full.maxPending
          ? `${full.pending} of ${full.maxPending} commands are pending`
          : `${full.pendingBytes} of ${full.maxPendingBytes} bytes are pending, and this command has ${bytes}`,
      pending: full.pending,
      maxPending: full.maxPending,
      pendingBytes: full.pendingBytes,
      maxPendingBytes: full.maxPendingBytes,
    })
  }
}
