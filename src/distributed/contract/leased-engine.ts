// Leased engine: the door of all engines. It checks each call before the engine acts on it, and has
// the members that take commands one by one.
// Owns: deliveries that `dequeue` gave, until `complete` names them.

import { nowMs } from '../../base/clock.ts'
import { laneError } from '../../base/errors.ts'
import type {
  CommandReference,
  DeadCommands,
  Delivery,
  GlobalLimits,
  LaneRegistry,
  LeasedQueue,
  NameRegistry,
  PartitionOwnership,
  QueueCapabilities,
  QueuedCommands,
  WorkerRegistry,
} from './distributed-queue.ts'
import {
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

/** What a queue says of itself. */
const FACTS = Object.freeze([
  ...(['numPartitions', 'workerId', 'strategy', 'capabilities', 'leaseMs'] as const),
  ...(['maxDeliveries', 'resultTtlMs'] as const),
])
type Fact = (typeof FACTS)[number]

/** What an engine does behind its door. */
export interface EngineCore extends Required<Pick<LeasedQueue, Fact>>, Behind<QueueCalls> {
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

type Call = (...given: unknown[]) => unknown

/** What the class has besides: facts and parts of its core, and the calls of the queue itself. */
export interface LeasedEngine extends LeasedQueue {
  readonly resultTtlMs: number | undefined
  forget(commands: readonly CommandReference[]): Promise<void>
}

// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the block and the constructor make them.
export class LeasedEngine {
  readonly #core: EngineCore
  readonly #calls: Readonly<Record<string, Call>>
  /** By id, the one that expires first in front: leases all take the same time. */
  readonly #dequeued = new Map<string, Delivery>()

  static {
    for (const name of Object.keys(QUEUE_CHECKS)) {
      const value = function (this: LeasedEngine, ...given: unknown[]): unknown {
        return this.#calls[name]!(...given)
      }
      Object.defineProperty(LeasedEngine.prototype, name, {
        value,
        configurable: true,
        writable: true,
      })
    }
  }

  /** @internal */
  constructor(core: EngineCore) {
    this.#core = core
    this.#calls = this.#checked(core, QUEUE_CHECKS)
    const own: Record<string, unknown> = {}
    for (const fact of FACTS) own[fact] = core[fact]
    for (const [name, checks] of Object.entries(PART_CHECKS)) {
      const part = core[name as keyof QueueParts]
      own[name] = part && this.#checked(part, checks)
    }
    Object.assign(this, own)
  }

  get isClosed(): boolean {
    return this.#core.isClosed
  }

  async enqueue(envelope: CommandEnvelope): Promise<void> {
    await this.enqueueMany([envelope])
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
  #checked(part: object, checks: object): Record<string, Call> {
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
    return checked
  }
}
