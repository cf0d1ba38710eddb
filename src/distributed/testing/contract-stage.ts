// Contract stage: the queue of one case of the contract, and its workers.
// Owns: the queues that it opened and their heartbeats, until it is closed.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { epochMs, nowMs, timers } from '../../base/clock.ts'
import type { PartitionStrategy } from '../../model/partition-config.ts'
import type {
  CommandReference,
  Delivery,
  LaneDemand,
  LeasedQueue,
  LeaseRequest,
} from '../contract/distributed-queue.ts'
import { type CommandEnvelope, type CommandResult, ENVELOPE_VERSION } from '../contract/envelope.ts'
import { failedResult, successfulResult } from '../contract/poison.ts'

/** How a case wants its queue. */
export interface ContractSettings {
  /** Name of the queue: the same name is the same queue. Every case has one of its own. */
  readonly queue: string
  /** Who works through the object that is opened: the same queue is opened for several. */
  readonly workerId: string
  /** How long a delivery is leased, in milliseconds. */
  readonly leaseMs: number
  /** Starts after which a command is poison. */
  readonly maxDeliveries: number
  /** How long results are kept, in milliseconds. */
  readonly resultTtlMs: number
  /** Partitions of the queue. */
  readonly numPartitions: number
  readonly strategy: PartitionStrategy
}

/** Opens a queue as a worker: a fresh object for every call. */
export type OpenQueue = (settings: ContractSettings) => Promise<LeasedQueue>

/** Everything that a case waits for comes within this, or the case fails. */
const PATIENCE_MS = 15_000
const POLL_MS = 5

/** A queue of its own for a case, and the moves that cases are made of. */
export class ContractStage {
  /** As the case wants them; `workerId` is that of the first worker. */
  readonly settings: ContractSettings
  /** Bytes past which a payload is refused. */
  readonly maxBytes: number
  readonly #open: OpenQueue
  readonly #opened = new Map<LeasedQueue, NodeJS.Timeout | undefined>()
  #commands = 0

  constructor(
    open: OpenQueue,
    wishes: Partial<ContractSettings>,
    maxBytes: number = Number.POSITIVE_INFINITY,
  ) {
    this.#open = open
    this.maxBytes = maxBytes
    this.settings = {
      queue: `contract-${randomUUID()}`,
      workerId: 'w1',
      leaseMs: 30_000,
      maxDeliveries: 3,
      resultTtlMs: 60_000,
      numPartitions: 4,
      strategy: 'roundRobin',
      ...wishes,
    }
  }

  /** Opens the queue for another worker, which beats if partitions are owned. */
  async worker(workerId: string): Promise<LeasedQueue> {
    const queue = await this.#open({ ...this.settings, workerId })
    const { ownership } = queue
    this.#opened.set(queue, undefined)
    if (ownership === undefined) return queue
    await ownership.heartbeat()
    // A heartbeat that fails is seen by what the case asserts; it must not end the process.
    const beat = () => void ownership.heartbeat().catch(() => {})
    this.#opened.set(queue, timers.setInterval(beat, this.settings.leaseMs / 4).unref())
    return queue
  }

  async workers(...ids: string[]): Promise<LeasedQueue[]> {
    const all: LeasedQueue[] = []
    for (const id of ids) all.push(await this.worker(id))
    return all
  }

  /**
   * Leaves a worker as a process leaves it that was killed: nothing is closed, nothing beats.
   *
   * @param queue - Its queue; closed at the end of the case all the same.
   */
  kill(queue: LeasedQueue): void {
    timers.clearInterval(this.#opened.get(queue))
    this.#opened.set(queue, undefined)
  }

  async close(): Promise<void> {
    for (const beat of this.#opened.values()) timers.clearInterval(beat)
    await Promise.all(Array.from(this.#opened.keys(), (queue) => queue.close()))
  }

  /** A command that no other case knows. */
  envelope(members: Partial<CommandEnvelope> = {}): CommandEnvelope {
    const number = this.#commands++
    return {
      id: `${this.settings.queue.slice(-12)}.${number}`,
      commandType: 'work',
      laneId: 'lane',
      partitionId: 0,
      payload: { number },
      retryCount: 0,
      createdAt: epochMs(),
      version: ENVELOPE_VERSION,
      ...members,
    }
  }

  envelopes(count: number, members: Partial<CommandEnvelope> = {}): CommandEnvelope[] {
    return Array.from({ length: count }, () => this.envelope(members))
  }

  spread(count: number, members: Partial<CommandEnvelope> = {}): CommandEnvelope[] {
    const ids = Array.from({ length: this.settings.numPartitions }, (_, index) => index)
    return ids.flatMap((partitionId) => this.envelopes(count, { partitionId, ...members }))
  }

  /**
   * Enqueues commands and is sure that they were accepted.
   *
   * @returns The same commands.
   */
  async fill<All extends readonly CommandEnvelope[]>(queue: LeasedQueue, all: All): Promise<All> {
    const accepted = all.map(() => 'accepted')
    assert.deepEqual(await queue.enqueueMany(all), accepted)
    return all
  }

  async put(queue: LeasedQueue, members: Partial<CommandEnvelope> = {}): Promise<CommandEnvelope> {
    return (await this.fill(queue, [this.envelope(members)]))[0]!
  }

  /** Waits until the id of a command is new, by enqueueing the command. */
  async fillAgain(queue: LeasedQueue, envelope: CommandEnvelope): Promise<void> {
    const isAccepted = async () => (await queue.enqueueMany([envelope]))[0] === 'accepted'
    await this.until('the id can be used again', isAccepted)
  }

  /** A request for everything at once. */
  request(changes: Partial<LeaseRequest> = {}): LeaseRequest {
    return {
      partitions: Array.from({ length: this.settings.numPartitions }, (_, index) => index),
      lanes: [demand('lane')],
      max: 1000,
      waitMs: 0,
      ...changes,
    }
  }

  /** Leases until so many commands came, and not one more. */
  async take(
    queue: LeasedQueue,
    count: number,
    changes: Partial<LeaseRequest> = {},
  ): Promise<Delivery[]> {
    const all: Delivery[] = []
    const endMs = nowMs() + PATIENCE_MS
    while (all.length < count) {
      const waitMs = Math.max(0, Math.min(1000, endMs - nowMs()))
      const max = Math.min(count - all.length, changes.max ?? Number.POSITIVE_INFINITY)
      all.push(...(await queue.lease(this.request({ waitMs, ...changes, max }))))
      if (nowMs() > endMs) {
        assert.fail(`${all.length} of ${count} commands came within ${PATIENCE_MS} ms`)
      }
    }
    return all
  }

  /** Leases the one command that there is. */
  async takeOne(queue: LeasedQueue, changes: Partial<LeaseRequest> = {}): Promise<Delivery> {
    return (await this.take(queue, 1, changes))[0]!
  }

  async give(queue: LeasedQueue, members: Partial<CommandEnvelope> = {}): Promise<Delivery> {
    await this.put(queue, members)
    return this.takeOne(queue)
  }

  async giveAll(queue: LeasedQueue, envelopes: readonly CommandEnvelope[]): Promise<Delivery[]> {
    await this.fill(queue, envelopes)
    return this.take(queue, envelopes.length)
  }

  /** Results that are announced to a submitter from now on, as they come. */
  async resultsOf(queue: LeasedQueue, submitter = 'me'): Promise<readonly CommandResult[]> {
    const received: CommandResult[] = []
    await queue.announce(submitter, (result) => received.push(result))
    return received
  }

  async nothing(queue: LeasedQueue, changes: Partial<LeaseRequest> = {}): Promise<void> {
    assert.deepEqual(idsOf(await queue.lease(this.request({ waitMs: 30, ...changes }))), [])
  }

  /** Leases until something comes, and is sure that it came long before the wait was over. */
  async woken(queue: LeasedQueue, changes: Partial<LeaseRequest> = {}): Promise<Delivery[]> {
    const startMs = nowMs()
    const given = await queue.lease(this.request({ waitMs: 10_000, ...changes }))
    assert.ok(nowMs() - startMs < 5000, 'the wait ended too late')
    return given
  }

  async until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
    const endMs = nowMs() + PATIENCE_MS
    while (!(await holds())) {
      if (nowMs() > endMs) assert.fail(`${what}: not within ${PATIENCE_MS} ms`)
      await pause(POLL_MS)
    }
  }
}

/** Lets time pass where its passing is what a case is about. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    timers.setTimeout(resolve, ms)
  })
}

/** What a worker wants of a lane: all of it, unless said otherwise. */
export function demand(laneId: string, changes: Partial<LaneDemand> = {}): LaneDemand {
  return { laneId, max: 1000, priority: 5, boost: [], ...changes }
}

/** Ids of commands, or of deliveries and dead commands, in their order. */
export function idsOf(all: readonly (CommandEnvelope | Pick<Delivery, 'envelope'>)[]): string[] {
  return all.map((each) => ('envelope' in each ? each.envelope : each).id)
}

export function successOf(
  { envelope }: Pick<Delivery, 'envelope'>,
  { workerId }: LeasedQueue,
  value?: unknown,
): CommandResult {
  return successfulResult(envelope, workerId, value, 1.5, epochMs())
}

export function failureOf(
  { envelope }: Delivery,
  { workerId }: LeasedQueue,
  message: string,
): CommandResult {
  const error = { name: 'TypeError', message, code: 'E_CONTRACT' }
  return failedResult(envelope, workerId, error, 1.5)
}

/** Sees that some members are as expected. */
export function matches<T extends object>(actual: T, expected: Partial<T>): void {
  assert.deepEqual({ ...actual }, { ...actual, ...expected })
}

export function referenceTo({ id, partitionId }: CommandEnvelope): CommandReference {
  return { commandId: id, partitionId }
}
