// Control: what the two sides say to each other outside the rings, one interface per side.
// Thread: any.   Owns: nothing.
// Rare and slow by nature: boot, broadcast, liveness, stop. Carried by comlink.

import type { MessagePort } from 'node:worker_threads'
import { type Endpoint, expose, type Remote, wrap } from 'comlink'
import nodeAdapter from 'comlink/dist/umd/node-adapter.js'
import type { SharedMemory } from '../memory/views.ts'
import type { LanePlan } from '../model/lane.ts'
import type { SideValue } from './side-value.ts'

/** A command that runs on every partition. */
export interface Broadcast {
  /** Unique in its manager. */
  readonly id: string
  readonly type: string
  readonly payload: SideValue
}

/** The first message a partition's thread is sent. */
export interface BootMessage {
  /** Index of the partition. */
  readonly partition: number
  /** 1 for the first thread of the partition. */
  readonly incarnation: number
  readonly region: SharedMemory
  readonly commons: SharedMemory
  /** For payloads that do not go through a ring. */
  readonly sidePort: MessagePort
  /** For the two interfaces below. */
  readonly controlPort: MessagePort
  /** URL of the handler module. */
  readonly handlers: string
  /** Number of partitions. */
  readonly partitions: number
  /** Int32 index in the commons of the bell of this thread. */
  readonly bell: number
  /** The lanes, by index. */
  readonly lanes: readonly LanePlan[]
  /** Handlers that may run at once in one partition. */
  readonly concurrency: number
  /** Longest payload that may lie in a record, in bytes. */
  readonly inlineBytesMax: number
  /** Broadcasts to run after `setup`, before the first command. */
  readonly sticky: readonly Broadcast[]
}

/** How a control call that runs user code ended. */
export interface CallReport {
  /** Whether `side` is what the code gave; if not, it is what the code threw. */
  readonly ok: boolean
  readonly side: SideValue
}

/** What a partition tells once its handler module is loaded and set up, or could not be. */
export type LoadReport =
  | { readonly ok: true; readonly types: readonly string[] }
  | { readonly ok: false; readonly error: SideValue }

/** What the coordinator may ask of a partition. */
export interface PartitionControl {
  /** Runs a handler outside lanes and windows, between two commands. */
  broadcast(broadcast: Broadcast): Promise<CallReport>
  /** Answers when the thread's event loop turns. */
  ping(): number
  /** Starts no further command, aborts running signals, runs `teardown`. */
  stop(): Promise<CallReport>
}

/** What a partition tells the coordinator. */
export interface CoordinatorControl {
  /** The handler module is loaded, or failed to. */
  loaded(report: LoadReport): void
}

function endpoint(port: MessagePort): Endpoint {
  // The adapter is a UMD module: its types speak of a default member that Node does not see.
  return (nodeAdapter as unknown as (port: MessagePort) => Endpoint)(port)
}

/**
 * Serves one side's interface on a port.
 *
 * @param port - One end of a channel; both sides' interfaces share it.
 * @param side - Answers the calls.
 */
export function serveControl<Side extends object>(port: MessagePort, side: Side): void {
  expose(side, endpoint(port))
}

/**
 * Calls the other side's interface.
 *
 * @param port - One end of a channel.
 * @returns A proxy. A call never settles if the other thread dies: race it against the exit.
 */
export function callControl<Side extends object>(port: MessagePort): Remote<Side> {
  return wrap<Side>(endpoint(port))
}
