// Leased engine: the door of all engines. It checks each call before the engine acts on it, and has
// the members that take commands one by one.
// Owns: deliveries that `dequeue` gave, until `complete` names them.

import { nowMs } from '../../base/clock.ts'
import { laneError } from '../../base/errors.ts'
import type { PartitionStrategy } from '../../model/partition-config.ts'
import type { QueueCounts } from '../../model/queue-standing.ts'
import type {
  CommandReference,
  CommandState,
  DeadCommands,
  Delivery,
  EnqueueStatus,
  GlobalLimits,
  LaneRegistry,
  LeasedQueue,
  LeaseExtension,
  LeaseRequest,
  NameRegistry,
  PartitionOwnership,
  QueueCapabilities,
  QueuedCommands,
  ReleaseOptions,
  SettleStatus,
  WorkerRegistry,
} from './distributed-queue.ts'
import {
  type Checks,
  checkObject,
  checkPartition,
  PART_CHECKS,
  QUEUE_CHECKS,
  type QueueCalls,
  type QueueParts,
} from './engine-checks.ts'
import type { CommandEnvelope, CommandResult } from './envelope.ts'
import type { SharedRate } from './live-limits.ts'

/** A part of an engine behind its door: called while that is open, with what was checked. */
export type Behind<Part> = { readonly [Name in keyof Part]: Prompt<Part[Name]> }

/** A member that may answer at once. */
type Prompt<Member> = Member extends (...given: infer Given) => Promise<infer Answer>
  ? (...given: Given) => Answer | Promise<Answer>
  : Member

/** Rates that are set on lanes have been checked and completed. */
export type LanesBehind = Behind<Omit<LaneRegistry, 'setRateLimit'>> & {
  setRateLimit(laneId: string, rate: SharedRate | undefined): void | Promise<void>
}

type Fact = 'numPartitions' | 'workerId' | 'strategy' | 'capabilities' | 'leaseMs' | 'maxDeliveries'

/** What an engine does behind its door. */
export interface EngineCore extends Pick<LeasedQueue, Fact>, Behind<QueueCalls> {
  readonly resultTtlMs: number | undefined
  readonly isClosed: boolean
  readonly dead: Behind<DeadCommands>
  readonly limits: Behind<GlobalLimits>
  readonly ownership?: Behind<PartitionOwnership> | undefined
  readonly commands?: Behind<QueuedCommands>
  readonly lanes?: LanesBehind
  readonly handlers?: Behind<NameRegistry>
  readonly workers?: Behind<WorkerRegistry>
  /** Takes the next command of a partition, whatever its lane. */
  next(partitionId: number): Delivery | undefined | Promise<Delivery | undefined>
  close(): void | Promise<void>
}

/** What an engine can do that does all, but for what it says itself. */
export function allCapabilities(
  own: Omit<QueueCapabilities, keyof typeof ALL> & Partial<QueueCapabilities>,
): QueueCapabilities {
  return Object.freeze({ ...ALL, ...own })
}

const ALL = Object.freeze({
  delivery: 'at-least-once',
  lanePriority: true,
  globalRate: Object.freeze(['token-bucket'] as const),
  globalConcurrency: true,
  groups: true,
  delay: true,
  results: true,
  ages: true,
  lanes: true,
  commands: true,
} as const)

/** Members that add listeners: they answer at once, and do so once the queue is closed, too. */
const LISTENING = new Set(['onCancel', 'onSlotFree', 'onPause', 'onLimits', 'onChange'])

export class LeasedEngine implements LeasedQueue {
  readonly numPartitions: number
  readonly workerId: string
  readonly strategy: PartitionStrategy
  readonly capabilities: QueueCapabilities
  readonly leaseMs: number
  readonly maxDeliveries: number
  readonly resultTtlMs: number | undefined
  readonly dead: DeadCommands
  readonly ownership: PartitionOwnership | undefined
  readonly limits: GlobalLimits
  readonly commands: QueuedCommands | undefined
  readonly lanes: LaneRegistry | undefined
  readonly handlers: NameRegistry | undefined
  readonly workers: WorkerRegistry | undefined
  readonly #core: EngineCore
  readonly #calls: QueueCalls
  /** By id, the one that expires first in front: leases all take the same time. */
  readonly #dequeued = new Map<string, Delivery>()

  /** @internal */
  constructor(core: EngineCore) {
    this.#core = core
    this.#calls = this.#checked(core, QUEUE_CHECKS)
    this.numPartitions = core.numPartitions
    this.workerId = core.workerId
    this.strategy = core.strategy
    this.capabilities = core.capabilities
    this.leaseMs = core.leaseMs
    this.maxDeliveries = core.maxDeliveries
    this.resultTtlMs = core.resultTtlMs
    const partOf = <Name extends keyof QueueParts>(name: Name): QueueParts[Name] | undefined =>
      core[name] && this.#checked(core[name], PART_CHECKS[name])
    this.dead = partOf('dead')!
    this.ownership = partOf('ownership')
    this.limits = partOf('limits')!
    this.commands = partOf('commands')
    this.lanes = partOf('lanes')
    this.handlers = partOf('handlers')
    this.workers = partOf('workers')
  }

  get isClosed(): boolean {
    return this.#core.isClosed
  }

  async enqueue(envelope: CommandEnvelope): Promise<void> {
    await this.enqueueMany([envelope])
  }

  enqueueMany(envelopes: readonly CommandEnvelope[]): Promise<EnqueueStatus[]> {
    return this.#calls.enqueueMany(envelopes)
  }

  lease(request: LeaseRequest): Promise<Delivery[]> {
    return this.#calls.lease(request)
  }

  start(deliveries: readonly Delivery[]): Promise<SettleStatus[]> {
    return this.#calls.start(deliveries)
  }

  extend(deliveries: readonly Delivery[]): Promise<LeaseExtension> {
    return this.#calls.extend(deliveries)
  }

  completeMany(
    completions: readonly { readonly delivery: Delivery; readonly result: CommandResult }[],
  ): Promise<SettleStatus[]> {
    return this.#calls.completeMany(completions)
  }

  release(deliveries: readonly Delivery[], options: ReleaseOptions): Promise<SettleStatus[]> {
    return this.#calls.release(deliveries, options)
  }

  deadLetter(delivery: Delivery, reason: string, result: CommandResult): Promise<SettleStatus> {
    return this.#calls.deadLetter(delivery, reason, result)
  }

  announce(
    submitter: string,
    listener: (result: CommandResult) => void,
  ): Promise<() => Promise<void>> {
    return this.#calls.announce(submitter, listener)
  }

  look(commands: readonly CommandReference[]): Promise<CommandState[]> {
    return this.#calls.look(commands)
  }

  forget(commands: readonly CommandReference[]): Promise<void> {
    return this.#calls.forget(commands)
  }

  counts(): Promise<QueueCounts> {
    return this.#calls.counts()
  }

  async close(): Promise<void> {
    await this.#core.close()
  }

  async dequeue(partitionId: number): Promise<CommandEnvelope | null> {
    this.checkOpen()
    checkPartition(this, partitionId)
    const delivery = await this.#core.next(partitionId)
    if (delivery === undefined) return null
    // A worker that takes commands one by one reports no starts.
    if (delivery.countsAtStart) await this.#core.start([delivery])
    const now = nowMs()
    for (const [id, { leasedUntilMs }] of this.#dequeued) {
      if (leasedUntilMs > now) break
      // It was never completed, and its lease is over.
      this.#dequeued.delete(id)
    }
    this.#dequeued.set(delivery.envelope.id, delivery)
    return delivery.envelope
  }

  async complete(result: CommandResult): Promise<void> {
    this.checkOpen()
    checkObject('result', result)
    const { commandId: id } = result
    const delivery = this.#dequeued.get(id)
    if (delivery === undefined) {
      throw this.#notHeld(id, 'it was not dequeued here, or was completed, or its lease is over')
    }
    // It stays known if that fails.
    const [status] = await this.#core.completeMany([{ delivery, result }])
    if (this.#dequeued.get(id) === delivery) this.#dequeued.delete(id)
    if (status === 'stale') throw this.#notHeld(id, 'its lease is over')
  }

  #notHeld(id: string, reason: string): Error {
    return laneError('CORELANE_NOT_HELD', { id, workerId: this.workerId, reason })
  }

  /** @internal */
  protected checkOpen(): void {
    if (this.isClosed) throw laneError('CORELANE_CLOSED', { state: 'closed' })
  }

  /** Calls of the engine, which are checked before. */
  #checked<Part>(part: object, checks: Checks<Part>): Part {
    type Call = (...given: unknown[]) => unknown
    const calls = part as Readonly<Record<string, Call>>
    const checked: Record<string, Call> = {}
    for (const [name, check] of Object.entries<Call>(checks as never)) {
      if (calls[name] === undefined) continue
      const call: Call = (...given) => {
        const copied = check(this, ...given)
        return calls[name]!(...(Array.isArray(copied) ? copied : given))
      }
      const callWhileOpen: Call = async (...given) => {
        this.checkOpen()
        return call(...given)
      }
      checked[name] = LISTENING.has(name) ? call : callWhileOpen
    }
    return checked as Part
  }
}
