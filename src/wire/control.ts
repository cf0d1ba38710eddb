// Control: the calls between the two sides outside the rings, one interface per side.
// Rare and slow by nature: broadcast, stop. Carried by comlink: see control-calls.ts. A thread
// boots without it, by messages.

import type { MessagePort } from 'node:worker_threads'
import type { ErrorCode, ErrorDetails } from '../base/errors.ts'
import type { SharedMemory } from '../memory/views.ts'
import type { FileCall, FileHandler } from '../model/handler-module.ts'
import type { SharedLanePlan } from '../model/lane.ts'
import type { SideValue } from './side-payload.ts'

/** A command that runs on every partition. */
export interface Broadcast {
  /** Unique in its manager. */
  readonly id: string
  readonly type: string
  readonly payload: SideValue
}

/** The first two messages of a thread: its program runs, and it has loaded its handlers. */
export interface EntryMessage {
  /** Version of the package that the program is of. */
  readonly corelane: string
  /** The second message has it. */
  readonly loaded?: LoadReport | undefined
}

/** The first message a partition's thread is sent. */
export interface BootMessage {
  /** Version of the package that sends it. */
  readonly version: string
  readonly partition: number
  /** 1 for the first thread of the partition. */
  readonly incarnation: number
  readonly region: SharedMemory
  readonly commons: SharedMemory
  /** What the thread counts; undefined without metrics. */
  readonly tallies: SharedMemory | undefined
  /** For payloads that do not go through a ring. */
  readonly sidePort: MessagePort
  /** For what the thread prints. */
  readonly outputPort: MessagePort
  /** For the two interfaces below. */
  readonly controlPort: MessagePort
  /** URL of the handler module; undefined: there is none, every command names its own. */
  readonly handlers: string | undefined
  /** Handlers that commands may name by id. */
  readonly files: readonly FileHandler[]
  /** How handlers that commands name are called. */
  readonly fileCall: FileCall
  readonly partitions: number
  /** Int32 index in the commons of the bell of this thread. */
  readonly bell: number
  /** Where the process's threads count each other, and this one's word there. */
  readonly awake: SharedMemory
  readonly awakeWord: number
  /** Threads that may run at a time. */
  readonly cores: number
  readonly lanes: readonly SharedLanePlan[]
  /** Handlers that may run at once in one partition. */
  readonly concurrency: number
  /** Longest payload that may lie in a record, in bytes. */
  readonly inlineBytesMax: number
  /** Names of handlers, in the order of their indices; undefined in the first threads. */
  readonly types: readonly string[] | undefined
  /** Whether an unhandled rejection is reported; if not, it ends the thread. */
  readonly reportsRejections: boolean
  /** Broadcasts to run after `setup`, before the first command. */
  readonly sticky: readonly Broadcast[]
}

/** A running command whose result is not wanted any more. */
export interface AbortOrder {
  /** The command's id in its ring. */
  readonly id: number
  /** What its signal reports. */
  readonly code: ErrorCode
  readonly details: ErrorDetails
}

/** A command that a handler submits. */
export interface NestedSubmit {
  /** Unique among those of one thread. */
  readonly id: number
  /** Id in its ring of the command whose handler submits it. */
  readonly parent: number
  readonly lane: string
  readonly type: string
  readonly payload: SideValue
  /** What `submit` takes, but for what cannot cross threads. */
  readonly options: Readonly<Record<string, unknown>>
  /** The trace that the handler goes on with. */
  readonly carrier: string | undefined
  /** Whether the handler waits for the result. */
  readonly wait: boolean
  /** Whether it may be cancelled. */
  readonly hasSignal: boolean
}

/** How a control call that runs user code ended. */
export interface CallReport {
  /** Whether `side` is what the code gave; if not, it is what the code threw. */
  readonly ok: boolean
  readonly side: SideValue
}

/** What a partition tells once its handler module is loaded and set up, or could not be. */
export type LoadReport =
  | {
      readonly ok: true
      /** Names of handlers in the order of their indices. */
      readonly types: readonly string[]
      /** Those that the module has. */
      readonly own: readonly string[]
      /** Whether it traces what it runs. */
      readonly isTraced: boolean
    }
  | {
      readonly ok: false
      readonly error: SideValue
      /** Whether `setup` had ended well before something else failed. */
      readonly isSetUp: boolean
    }

/** Makes a handler known that commands name: a message of the port that carries the calls. */
export interface Definition {
  readonly define: FileHandler
}

/** What the coordinator may ask of a partition. */
export interface PartitionControl {
  /** Runs a handler outside lanes and windows, while no handler executes. */
  broadcast(broadcast: Broadcast): Promise<CallReport>
  /**
   * Withdraws a broadcast whose time is up: it does not begin any more, or its signal aborts and
   * it no longer keeps commands from starting. Answers when the thread's event loop turns.
   */
  withdraw(id: string, code: ErrorCode, details: ErrorDetails): void
  /** Profiles the thread for a while; it begins when the thread's event loop turns. */
  profile(durationMs: number): Promise<string>
  abort(orders: readonly AbortOrder[]): void
  /** Starts no further command, aborts running signals, runs `teardown`. */
  stop(): Promise<CallReport>
}

/** What a partition tells the coordinator. */
export interface CoordinatorControl {
  /** The handler of a broadcast is entered. */
  begun(id: string): void
  /** A promise was rejected, and no handler handles it. */
  rejected(error: SideValue): void
  /** A handler submits a command. */
  submit(command: NestedSubmit): Promise<CallReport>
  /** A handler's own signal aborted one of those. */
  cancel(id: number): void
  /** Answers once one of those that has a signal has ended. */
  untilEnded(id: number): Promise<void>
}
