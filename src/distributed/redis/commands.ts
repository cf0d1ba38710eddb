// Commands: finds, lists and cancels commands by their ids, whatever their states.
// Owns: the entries that were cancelled while they were on the way here.

import { callListener } from '../../base/clock.ts'
import type {
  CancelStatus,
  CommandReference,
  FoundCommand,
  ProgressReport,
  QueuedCommands,
} from '../contract/distributed-queue.ts'
import { type CommandEnvelope, type CommandResult, leavesNothing } from '../contract/envelope.ts'
import type { Behind } from '../contract/leased-engine.ts'
import { cancelledResult } from '../contract/poison.ts'
import { type Reply, textOf } from './caller.ts'
import { batches, inBatches, pack, positionsBy, type RedisEngine, referencesTo } from './engine.ts'
import {
  decodeEnvelope,
  decodeProgress,
  decodeResult,
  encodeProgress,
  encodeResult,
  unreadEnvelope,
} from './envelope-codec.ts'
import { userLane } from './keys.ts'
import { allLanes, findEnded, lanesOf, statesOf } from './registry.ts'
import { CANCEL } from './scripts/cancel.ts'
import { FIND } from './scripts/find.ts'
import { PEEK } from './scripts/peek.ts'
import { GIVEN_AGAIN, SCRIPT_MAX } from './scripts/script.ts'
import { framesOf } from './subscriptions.ts'

/** Cancelled entries that this worker did not know and may still be given. */
const STRAYS_MAX = 1024

/** How often a command is looked for that moves meanwhile, or has left a key and nothing else. */
const ROUNDS_MAX = 8

const NONE = Buffer.alloc(0)

/** A command that has not ended, and where it is. */
interface Place {
  readonly found: FoundCommand & { readonly envelope: CommandEnvelope }
  readonly lane: string
  /** Absent while it is kept back. Of one that waits for its turn it is `@`, group and order. */
  readonly entry: Buffer | undefined
}

/** Entries that were cancelled while they were on the way here. */
export class Strays {
  readonly #names = new Set<string>()

  constructor({ wakes, holdings }: RedisEngine) {
    wakes.add('x', ({ partition, lane, entry }) => {
      if (holdings.has(partition, lane, entry)) return
      this.#names.add(`${partition}/${lane}/${entry}`)
      const [oldest] = this.#names
      if (this.#names.size > STRAYS_MAX) this.#names.delete(oldest!)
    })
  }

  /** Whether an entry that was just given is one. */
  take(partition: number, lane: string, entry: string): boolean {
    return this.#names.size > 0 && this.#names.delete(`${partition}/${lane}/${entry}`)
  }
}

export function commandsIn(engine: RedisEngine): Behind<QueuedCommands> {
  const { keys, wakes, holdings } = engine
  return {
    find: async (command) => {
      const [reference] = await resolve(engine, [command])
      if (reference === undefined) return undefined
      const place = await placeOf(engine, reference)
      return place?.found ?? findEnded(engine, reference)
    },
    peek: (laneId, max = 10) => peek(engine, laneId, max),
    cancel: (commands) =>
      inBatches(commands, async (some) =>
        Promise.all((await resolve(engine, some)).map((reference) => cancel(engine, reference))),
      ),
    onCancel: (listener) =>
      wakes.hear('x', ({ partition, lane, entry }) => {
        const fence = holdings.fenceOf(partition, lane, entry)
        if (fence !== undefined) listener([fence])
      }),
    report: (reports) => report(engine, reports),
    onProgress: (submitter, listener) =>
      listen(engine, keys.progress(submitter), decodeProgress, (given) => listener(...given)),
  }
}

export function onResult(
  engine: RedisEngine,
  submitter: string,
  listener: (result: CommandResult) => void,
): Promise<() => Promise<void>> {
  return listen(engine, engine.keys.results(submitter), decodeResult, listener)
}

function listen<T>(
  { plan, subscriptions }: RedisEngine,
  channel: string,
  decode: (frame: Buffer, maxBytes: number) => T,
  listener: (given: T) => void,
): Promise<() => Promise<void>> {
  return subscriptions.add(channel, (bytes) => {
    const all = framesOf(bytes, (frame) => decode(frame, plan.maxBytes))
    for (const each of all) callListener(listener, each)
  })
}

async function report(
  { keys, caller, plan }: RedisEngine,
  reports: readonly ProgressReport[],
): Promise<void> {
  const publish = async (submitter: string, positions: readonly number[]): Promise<void> => {
    const parts = positions.flatMap((at) => {
      const { commandId, value } = reports[at]!
      return encodeProgress(commandId, value, plan.maxBytes) ?? []
    })
    // One after the other: another worker's calls go between large ones.
    for (const some of batches([...parts.keys()], (at) => parts[at]!.length, SCRIPT_MAX)) {
      const packed = pack(some.map((at) => parts[at]!))
      await caller.send(['PUBLISH', keys.progress(submitter), packed])
    }
  }
  const bySubmitter = positionsBy(reports, ({ submitter }) => submitter)
  await Promise.all(Array.from(bySubmitter, (each) => publish(...each)))
}

async function peek(
  engine: RedisEngine,
  laneId: string | undefined,
  max: number,
): Promise<FoundCommand[]> {
  const all = await allLanes(engine)
  const lists = Array.from(all, ([partition, names]) => {
    const lanes = names.filter((name) => laneId === undefined || userLane(name) === laneId)
    return peekAt(engine, partition, lanes, max)
  })
  const listed = (await Promise.all(lists)).flat()
  const byLane = positionsBy(listed, ({ found }) => found.envelope.laneId)
  return [...byLane.keys()].sort().flatMap((lane) => {
    const ones = byLane.get(lane)!.map((at) => listed[at]!)
    const oldestFirst = ones.sort((a, b) => a.atMs - b.atMs)
    return oldestFirst.slice(0, max).map(({ found }) => found)
  })
}

async function peekAt(
  engine: RedisEngine,
  partition: number,
  lanes: readonly string[],
  max: number,
) {
  const { keys, caller } = engine
  const names = keys.partition(partition)
  const listed: { readonly atMs: number; readonly found: Place['found'] }[] = []
  for (let left = lanes; left.length > 0; ) {
    const streams = [...names.streams(left), ...names.groups(...left)]
    const reply = await caller.run<Reply[]>(PEEK, streams, [max, left.length])
    // Each stream keeps its order; of two the one goes on whose next command is older.
    const latestMs = left.map(() => 0)
    for (let at = 1; at < reply.length; at += 4) {
      const index = (reply[at] as number) - 1
      const lane = userLane(left[index]!)
      const entry = textOf(reply[at + 1]!)
      const value = reply[at + 3] as Buffer
      const counter = reply[at + 2] as number
      const found = read(engine, 'waiting', partition, lane, entry, value, counter)
      // One that waits for the turn of its group has the entry 0-0.
      const ownMs = Number.parseInt(entry, 10) || (found.acceptedAt ?? 0)
      const atMs = Math.max(latestMs[index]!, ownMs)
      latestMs[index] = atMs
      listed.push({ atMs, found })
    }
    left = left.slice(reply[0] as number)
  }
  return listed
}

async function cancel(
  engine: RedisEngine,
  reference: CommandReference | undefined,
): Promise<CancelStatus> {
  if (reference === undefined) return 'unknown'
  const { keys, caller, plan } = engine
  const { commandId: id, partitionId } = reference
  const names = keys.partition(partitionId)
  for (let round = 1; ; round++) {
    const place = await placeOf(engine, reference)
    if (place === undefined || round > ROUNDS_MAX) {
      const [known] = await statesOf(engine, [reference])
      return known!.state === 'ended' ? 'ended' : 'unknown'
    }
    const { found, lane, entry } = place
    const { envelope, state, dueAt } = found
    const { retryCount, submitter } = envelope
    const stage = state === 'leased' ? 'running' : 'waiting'
    const result = cancelledResult({ id, partitionId, retryCount }, plan.workerId, stage)
    const bytes = encodeResult(result, false, plan.maxBytes)
    const ttlMs = leavesNothing(envelope) ? 1 : plan.resultTtlMs
    const channel = submitter === undefined ? '' : keys.results(submitter)
    const answer = await caller.run(
      CANCEL,
      [names.command(id), ...names.pairs([lane]), ...names.groups(lane)],
      [id, entry ?? '', dueAt ?? '', bytes, ttlMs, channel],
    )
    if (answer !== 0) return answer === 2 ? 'stopping' : 'cancelled'
    // It has moved meanwhile, or ended.
  }
}

/** Where a command is; undefined if it has ended, or is not known. */
async function placeOf(
  engine: RedisEngine,
  { commandId, partitionId }: CommandReference,
): Promise<Place | undefined> {
  const { keys, caller } = engine
  const names = keys.partition(partitionId)
  const lanes = await lanesOf(engine, partitionId)
  const all = [names.command(commandId), ...names.pairs(lanes), ...names.groups(...lanes)]
  for (let from: Buffer = NONE, rounds = 0; rounds < ROUNDS_MAX; ) {
    if (from.length === 0) rounds++
    const reply = await caller.run<Reply[]>(FIND, all, [commandId, from, lanes.length])
    if (reply.length === 0) return undefined
    const word = textOf(reply[0]!)
    if (word === 'S') {
      from = reply[1] as Buffer
      continue
    }
    const lane = lanes[(reply[1] as number) - 1]!
    const entry = reply[2] as Buffer
    const at = textOf(entry)
    const value = reply[3] as Buffer
    if (word === 'D') {
      const found = read(engine, 'delayed', partitionId, userLane(lane), at, value, 0)
      return { found: { ...found, dueAt: Number(at) }, lane, entry: undefined }
    }
    const isLeased = word === 'L'
    const state = isLeased ? 'leased' : 'waiting'
    const found = read(engine, state, partitionId, userLane(lane), at, value, reply[5] as number)
    // A consumer's name ends with the length of its lease.
    const workerId = isLeased ? textOf(reply[4]!).replace(/~\d+$/, '') : undefined
    return { found: { ...found, workerId }, lane, entry }
  }
  return undefined
}

function read(
  { plan: { maxBytes } }: RedisEngine,
  state: FoundCommand['state'],
  partition: number,
  lane: string,
  entry: string,
  value: Buffer,
  counter: number,
): Place['found'] {
  try {
    const { envelope, spent, sinceMs } = decodeEnvelope(value, lane, partition, maxBytes)
    return {
      state,
      commandId: envelope.id,
      partitionId: partition,
      envelope,
      deliveries: (counter % GIVEN_AGAIN) + spent,
      acceptedAt: sinceMs || Number.parseInt(entry, 10),
    }
  } catch {
    // A worker will put it among the dead.
    const envelope = unreadEnvelope(undefined, entry, partition, lane)
    return { state, commandId: envelope.id, partitionId: partition, envelope }
  }
}

/** In which partitions commands are that were checked. */
async function resolve(
  engine: RedisEngine,
  commands: readonly (CommandReference | string)[],
): Promise<(CommandReference | undefined)[]> {
  const { numPartitions } = engine.plan
  const all = commands.flatMap((command) =>
    typeof command === 'string' ? referencesTo(command, numPartitions) : [],
  )
  const states = await statesOf(engine, all)
  const known = new Map<string, CommandReference>()
  // From the last, so that the first partition that knows one counts.
  for (let i = all.length; i-- > 0; ) {
    if (states[i]!.state !== 'unknown') known.set(all[i]!.commandId, all[i]!)
  }
  return commands.map((command) => (typeof command === 'string' ? known.get(command) : command))
}
