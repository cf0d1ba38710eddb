// Ownership: which partitions are this worker's, where each has one worker at a time.
// Owns: what this worker believes to own, with the epochs. Redis alone decides.

import { stableHash } from '../../schedule/hash.ts'
import type { PartitionOwnership } from '../contract/distributed-queue.ts'
import { type RedisEngine, RedisPart } from './engine.ts'
import { LIVE } from './scripts/live.ts'
import { OWN } from './scripts/own.ts'

/**
 * Divides partitions among workers: each gets as many as any other, or one more. By rendezvous
 * hashing, so that few change hands when a worker comes or goes. Every worker computes the same.
 *
 * @param members - Who lives, sorted.
 * @returns The worker of each; empty if no worker lives.
 */
export function assign(members: readonly string[], partitions: number): string[] {
  if (members.length === 0) return []
  const most = Math.ceil(partitions / members.length)
  const counts = new Map(members.map((member) => [member, 0]))
  return Array.from({ length: partitions }, (_, partition) => {
    const ranked = members
      .map((member) => ({ member, score: stableHash(`${partition}/${member}`) }))
      .toSorted((a, b) => b.score - a.score || (a.member < b.member ? -1 : 1))
    const { member } = ranked.find((one) => counts.get(one.member)! < most)!
    counts.set(member, counts.get(member)! + 1)
    return member
  })
}

export class RedisOwnership extends RedisPart implements PartitionOwnership {
  readonly #epochs = new Map<number, number>()
  readonly #onGained: (partition: number) => void
  #isMember = false
  #assigned: { readonly members: string; readonly workers: readonly string[] } | undefined

  /** @param onGained - Called when a partition has become this worker's. */
  constructor(engine: RedisEngine, onGained: (partition: number) => void) {
    super(engine)
    this.#onGained = onGained
  }

  onChange(listener: () => void): () => void {
    return this.engine.wakes.hear('!', () => listener())
  }

  async heartbeat(isTaking = true): ReturnType<PartitionOwnership['heartbeat']> {
    const { numPartitions, workerId, leaseMs } = this.engine.plan
    this.#isMember = true
    const workers = this.#workers(await this.#announce(isTaking ? leaseMs : 0))
    const isDue = (partition: number): boolean => workers[partition] === workerId
    const asked = Array.from({ length: numPartitions }, (_, partition) => partition).filter(
      (partition) => isDue(partition) || this.#epochs.has(partition),
    )
    const owned = await this.#own(asked, (partition) => (isDue(partition) ? '1' : '0'))
    return { owned, surplus: owned.filter((partition) => !isDue(partition)) }
  }

  async release(partitionId: number): Promise<void> {
    await this.#release([partitionId])
  }

  async leave(): Promise<void> {
    await this.#release([...this.#epochs.keys()])
    await this.#announce(0)
  }

  /** Partitions that a lease may be asked of. Who never said that it lives takes what is free. */
  mine(partitions: readonly number[]): readonly number[] {
    return this.#isMember ? partitions.filter((p) => this.#epochs.has(p)) : partitions
  }

  /** The epoch under which a partition is leased from. */
  epochOf(partition: number): string {
    return String(this.#epochs.get(partition) ?? 0)
  }

  /** A lease was refused: the partition is another's, or was meanwhile. */
  lost(partition: number): void {
    this.#epochs.delete(partition)
  }

  /** A lease was given under an epoch. */
  learned(partition: number, epoch: number): void {
    if (this.#epochs.get(partition) === epoch) return
    this.#epochs.set(partition, epoch)
    this.#onGained(partition)
  }

  async #announce(ttlMs: number): Promise<string[]> {
    const { keys, caller, plan } = this.engine
    const args = [plan.workerId, ttlMs, keys.wakes]
    const reply = await caller.run<Buffer[]>(LIVE, [keys.members], args)
    return reply.map((name) => name.toString('latin1')).sort()
  }

  async #release(partitions: readonly number[]): Promise<void> {
    // From now on none is leased from.
    for (const partition of partitions) this.#epochs.delete(partition)
    await this.#own(partitions, () => '-')
  }

  /** Renews, takes or gives up partitions; answers which are this worker's now. */
  async #own(asked: readonly number[], letterOf: (partition: number) => string): Promise<number[]> {
    if (asked.length === 0) return []
    const { keys, caller, plan } = this.engine
    const own = (some: readonly number[]) =>
      caller.run<number[]>(
        OWN,
        some.map((partition) => keys.partition(partition).own),
        [plan.workerId, plan.leaseMs, some.map(letterOf).join(''), keys.wakes],
      )
    // In Cluster mode a call may have keys of one slot only.
    const calls = plan.isCluster ? asked.map((each) => own([each])) : [own(asked)]
    const reply = (await Promise.all(calls)).flat()
    return asked.filter((partition, i) => {
      const isMine = reply[2 * i] === 1
      if (isMine) this.learned(partition, reply[2 * i + 1]!)
      else this.lost(partition)
      return isMine
    })
  }

  #workers(members: readonly string[]): readonly string[] {
    const joined = members.join('/')
    if (this.#assigned?.members !== joined) {
      const workers = assign(members, this.engine.plan.numPartitions)
      this.#assigned = { members: joined, workers }
    }
    return this.#assigned!.workers
  }
}
