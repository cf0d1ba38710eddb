// Keys: the names of a queue's keys in Redis.
// Owns: nothing; names only.
// Part of the contract between versions: a change of a key must raise FORMAT_VERSION.

import type { CommandEnvelope } from '../contract/envelope.ts'

/** Version of the layout. Workers of another one refuse to open the queue. */
export const FORMAT_VERSION = 2

/** The commands of a lane that have a group are a lane of their own, whose name begins so. */
const GROUPED = '@'

/** Kinds of keys that only such a lane has; `scripts/groups.ts` says for what. */
const GROUP_KINDS = ['w', 't', 'g', 'x', 'p', 'r']

/** The lane for commands of a lane that have a group. */
export function groupedLane(lane: string): string {
  return `${GROUPED}${lane}`
}

/** Whether a lane is for commands that have a group. */
export function isGroupedLane(lane: string): boolean {
  return lane.startsWith(GROUPED)
}

/** The lane as its users call it. */
export function userLane(lane: string): string {
  return isGroupedLane(lane) ? lane.slice(GROUPED.length) : lane
}

/** The lane in which a command is. */
export function laneOf(envelope: Pick<CommandEnvelope, 'laneId' | 'group'>): string {
  return envelope.group === undefined ? envelope.laneId : groupedLane(envelope.laneId)
}

/** Keys of one partition. */
export type PartitionKeys = ReturnType<typeof partitionKeys>

/** Names the keys of one partition: all in one hash slot, by the part in braces. */
function partitionKeys(queue: string, partition: number) {
  const key = (name: string): string => `corelane:{${queue}:${partition}}:${name}`
  /** The stream of a lane: what waits and what is leased. */
  const stream = (lane: string): string => key(`s:${lane}`)
  /** Delayed commands of a lane, by when they are due. */
  const delayed = (lane: string): string => key(`d:${lane}`)
  return {
    stream,
    delayed,
    /**
     * Who owns the partition: owner, epoch, until, and the lanes that were swept since; and the
     * lanes that are paused, and those whose commands have groups.
     */
    own: key('own'),
    /** The lanes that have keys here. */
    lanes: key('lanes'),
    /** Dead commands by id. */
    dead: key('dead'),
    /** Ids of dead commands by the time of their death. */
    deadOrder: key('dead-order'),
    /** How many commands of each lane are dead. */
    deadLanes: key('dead-lanes'),
    /** The streams of some lanes. */
    streams: (lanes: readonly string[]): string[] => lanes.map(stream),
    /** Stream and delayed set of some lanes. */
    pairs: (lanes: readonly string[]): string[] =>
      lanes.flatMap((lane) => [stream(lane), delayed(lane)]),
    /** What else there is of some lanes: of those whose commands have groups. */
    groups: (...lanes: string[]): string[] =>
      lanes
        .filter(isGroupedLane)
        .flatMap((lane) => GROUP_KINDS.map((kind) => key(`${kind}:${lane}`))),
    /** Weights of the groups of a lane. */
    weights: (lane: string): string => key(`x:${groupedLane(lane)}`),
    /**
     * A command: `P` while it is pending, with its entry or `+` and when it is due; then `E` and
     * its result until that expires.
     */
    command: (id: string): string => key(`c:${id}`),
  }
}

/** Where a queue keeps what was fixed when it was first opened. */
export function metaKey(queue: string): string {
  return `corelane:{${queue}:meta}:meta`
}

/** Names of everything of a queue. */
export type QueueKeys = ReturnType<typeof queueKeys>

/** Names the keys of a queue with so many partitions. */
export function queueKeys(queue: string, partitions: number) {
  const meta = (name: string): string => `corelane:{${queue}:meta}:${name}`
  const limit = (lane: string, name: string): string => `corelane:{${queue}:lane:${lane}}:${name}`
  const all = Array.from({ length: partitions }, (_, p) => partitionKeys(queue, p))
  return {
    /** Those of each partition. */
    partitions: all as readonly PartitionKeys[],
    /** @param partition - From 0; checked by the caller. */
    partition: (partition: number): PartitionKeys => all[partition]!,
    /** Workers that share the partitions, by when they count as dead. */
    members: meta('members'),
    /** Who removes empty lanes in the present round; expires with it. */
    round: meta('round'),
    /** Lanes that workers take, by when the last of these counts as dead. */
    lanes: meta('lanes'),
    /** Handlers that workers have, in the same way. */
    handlers: meta('handlers'),
    /** Workers of any kind that live, by when they count as dead. */
    workers: meta('workers'),
    /** What each of them says of itself. */
    standings: meta('standings'),
    /** Limits that were set for all workers: `c` or `r`, a blank and the lane. */
    limits: meta('limits'),
    /** Channel on which workers hear of commands that came. */
    wakes: meta('wakes'),
    /** Channel on which a submitter hears of its results. */
    results: (submitter: string): string => meta(`results:${submitter}`),
    /** Channel on which a submitter hears how far its commands have come. */
    progress: (submitter: string): string => meta(`progress:${submitter}`),
    /** When the next start of a lane would be in time, for its rate limit. */
    rate: (lane: string): string => limit(lane, 'rate'),
    /** Channel on which workers hear that slots of a lane were given back. */
    freed: (lane: string): string => limit(lane, 'freed'),
    /** Who holds the slots of a lane, by when they expire. */
    slots: (lane: string): string => limit(lane, 'places'),
  }
}
