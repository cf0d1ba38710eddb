// Lease call: makes the arguments of the lease script, and parses its answer.
// Must not: decide how much is leased, or what happens to the commands (fetcher).

import { createHash } from 'node:crypto'
import type { GroupTerms, LaneDemand } from '../contract/distributed-queue.ts'
import type { Share } from './backlog.ts'
import type { Reply } from './caller.ts'
import { isGroupedLane } from './keys.ts'
import { validityOf } from './limits.ts'

const DIGESTS = new WeakMap<ReadonlyMap<string, number>, string>()

/** Names weights, so that they need not be said with each lease. */
export function digestOf(weights: ReadonlyMap<string, number>): string {
  let digest = DIGESTS.get(weights)
  if (digest === undefined) {
    const all = JSON.stringify([...weights].sort(([a], [b]) => (a < b ? -1 : 1)))
    digest = createHash('sha1').update(all).digest('hex')
    DIGESTS.set(weights, digest)
  }
  return digest
}

/** Lanes in the words of the script. */
export function laneWords(share: Share, lanes: readonly LaneDemand[]): (string | number)[] {
  return lanes.flatMap(({ laneId, priority, boost, groups }, i) => [
    ...[share.lanes[i]!, priority, boost.length],
    ...boost.flatMap(({ afterMs, levels }) => [afterMs, levels]),
    ...(isGroupedLane(laneId) ? groupWords(groups) : []),
  ])
}

function groupWords({ concurrency, rate, weights }: GroupTerms = {}): (string | number)[] {
  const rateWords =
    rate === undefined
      ? ['', '', '']
      : [rate.windowMs / rate.limit, rate.windowMs, validityOf(rate)]
  const hasWeights = weights !== undefined && weights.size > 0
  return [concurrency ?? '', ...rateWords, hasWeights ? digestOf(weights) : '']
}

/** A command as the script gives it. */
export interface GivenCommand {
  /** Position of its lane in the call. */
  readonly lane: number
  readonly entry: string
  readonly counter: number
  readonly value: Buffer
}

export interface LeaseAnswer {
  readonly epoch: number
  /** By the clock of Redis. */
  readonly timeMs: number
  /** How much of each lane is left. */
  readonly counts: readonly number[]
  readonly commands: Iterable<GivenCommand>
  /** In how long the rate of a group allows a start; -1: unknown. */
  readonly ripeMs: number
  /** Positions of lanes whose weights Redis does not know. */
  readonly unweighed: readonly number[]
}

/**
 * Takes an answer apart.
 *
 * @param laneCount - Of the call.
 * @returns Undefined if the partition is another worker's.
 */
export function answerOf(reply: readonly Reply[], laneCount: number): LeaseAnswer | undefined {
  if (reply[0] === 0) return undefined
  const [epoch, timeMs, ...counts] = reply.slice(1, 3 + laneCount) as [number, number, ...number[]]
  const [packed, ripeMs = -1, unweighed = ''] = reply.slice(3 + laneCount)
  return {
    epoch,
    timeMs,
    counts,
    commands: commandsIn(packed as Buffer),
    ripeMs: ripeMs as number,
    unweighed: Array.from(String(unweighed).matchAll(/\d+/g), ([number]) => Number(number) - 1),
  }
}

/** Each is a line with lane, entry, counter and length, and then so many bytes. */
function* commandsIn(packed: Buffer): Generator<GivenCommand> {
  for (let at = 0; at < packed.length; ) {
    const start = packed.indexOf(10, at) + 1
    const line = packed.toString('latin1', at, start - 1).split(' ')
    const [lane, entry, counter, length] = line as [string, string, string, string]
    at = start + Number(length)
    const value = packed.subarray(start, at)
    yield { lane: Number(lane) - 1, entry, counter: Number(counter), value }
  }
}
