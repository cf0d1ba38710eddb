// Incarnation: one thread of a partition, from its start to its exit.
// Owns: the worker, its control port and its region.
// A partition that loses its thread gets a new incarnation with memory of its own.
//
// ```
//            open              endSoon               giveUp
//  shut ◄──────────► open ────────────────► ending ──────────► terminating
//            shut
// ```
//
// | state | commands | the thread |
// |---|---|---|
// | shut | none are bound to it | loads, waits to take over, hands over, tears down or has exited |
// | open | may be bound to it | runs them |
// | ending | none are bound any more | finishes what it runs, in a second at most |
// | terminating | are lost, or run elsewhere | was given up: nothing it does counts any more |
//
// It may be given up, and may exit, in each state. A thread that has loaded and set up its module
// stays so: `isLoaded` and `isSetUp` are facts, not states.

import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads'
import type { Remote } from 'comlink'
import { timers, whenUnanswered } from '../../base/clock.ts'
import { type CrashRecord, type LaneError, laneError } from '../../base/errors.ts'
import { VERSION } from '../../base/version.ts'
import { closeAwakeWord, openAwakeWord } from '../../memory/awake-threads.ts'
import { readCounter } from '../../memory/counters.ts'
import { Counter } from '../../memory/layout.ts'
import { createRegion } from '../../memory/region.ts'
import type { FileHandler } from '../../model/handler-module.ts'
import type { ThreadOutput } from '../../model/lane-event.ts'
import type {
  BootMessage,
  Broadcast,
  CallReport,
  CoordinatorControl,
  Definition,
  EntryMessage,
  LoadReport,
  NestedSubmit,
  PartitionControl,
} from '../../wire/control.ts'
import { wordsOf } from '../../wire/error-codec.ts'
import { isErrorValue } from '../../wire/families.ts'
import { OutputReader } from '../../wire/output.ts'
import { fromSideValue, SidePort } from '../../wire/side-payload.ts'
import type { Command } from '../command.ts'
import { InFlightWindow } from './in-flight-window.ts'
import { plannedFields, startWorker, type ThreadPlan } from './thread-plan.ts'

/** A worker of Node 22.20, 24.8 or later. */
interface ProfiledWorker {
  startCpuProfile?(name?: string): Promise<{ stop(): Promise<string> }>
}

let profileCount = 0

/** Node 22 and 24.8 want a name, and later ones none. */
async function startProfile(start: NonNullable<ProfiledWorker['startCpuProfile']>) {
  try {
    return await start()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_INVALID_ARG_TYPE') throw error
    return start(`corelane ${++profileCount}`)
  }
}

/** Whether a thread takes commands; the picture is at the top of this file. */
type ThreadState = 'shut' | 'open' | 'ending' | 'terminating'

/** Watches threads come and go. */
export interface ThreadObserver {
  spawned?(incarnation: Incarnation): void
  loaded?(incarnation: Incarnation): void
  exited?(incarnation: Incarnation, report: ExitReport): void
  /** A partition gets no thread any more. */
  gaveUp?(): void
  /** Threads that have something to do, if it is not for the manager to say. */
  demand?(): number
  /** Takes what a thread printed; true keeps it from the streams of the process. */
  printed?(incarnation: Incarnation, output: ThreadOutput): boolean
}

/** Gives threads up; the supervisor. */
export interface ThreadTerminator {
  giveUpThread(incarnation: Incarnation, reason: Error): void
}

/** Takes what a thread reports of itself; the supervisor. */
export interface ThreadReports {
  /**
   * It has printed something.
   *
   * @returns Whether it must not be printed by the process.
   */
  printed(from: Incarnation, output: ThreadOutput, run: number | undefined): boolean
  /** A promise was rejected, and no handler handles it. */
  rejected(partition: number, error: unknown): void
}

/** Serves the handlers of a thread that submit commands; the nested server. */
export interface NestedRequests {
  submit(from: Incarnation, command: NestedSubmit): Promise<CallReport>
  /** A handler's own signal aborted one of those. */
  cancel(from: Incarnation, id: number): void
  /** Settles once one of those that has a signal has ended. */
  untilEnded(from: Incarnation, id: number): Promise<void>
}

/** Longer than it lasts, a profile takes to begin behind a running handler and to be written. */
const PROFILE_GRACE_MS = 10_000

/** How long a thread may take to answer an abort order; no caller waits for the answer. */
const ORDER_TIMEOUT_MS = 1000

/** Characters and lines of its output that the record of a crash has. */
const TAIL_LENGTH = 4096
const TAIL_LINES = 20

/** How a thread ended. */
export interface ExitReport {
  readonly code: number
  /** The error that ended it, if one did. */
  readonly cause: unknown
}

/** Who asks, and who answers. */
interface Conversation {
  readonly incarnation: Incarnation
  readonly reports: ThreadReports
  readonly nested: NestedRequests
}

/** What carries the calls between threads, once there was one. */
let calls: Promise<typeof import('../../wire/control-calls.ts')> | undefined

/**
 * Answers what a thread asks, and lets it be asked. comlink keeps the port, and with it what is
 * given here, until the proxy of the other side is collected, and the incarnation has that proxy:
 * if anything here led to the incarnation after its end, the memory of every thread and manager
 * would stay for ever.
 *
 * @param current - Undefined once the thread has exited; then nothing is answered.
 * @param takeEarly - Gives what the thread has asked already, and takes no more of it.
 * @returns The other side's interface.
 */
async function converse(
  port: MessagePort,
  current: { conversation: Conversation | undefined },
  takeEarly: () => readonly unknown[],
): Promise<Remote<PartitionControl>> {
  calls ??= import('../../wire/control-calls.ts')
  const { callControl, serveControl } = await calls
  const side: CoordinatorControl = {
    begun: (id) => {
      const { incarnation } = current.conversation ?? {}
      if (incarnation) incarnation.begunBroadcast = id
    },
    rejected: (error) => {
      const { incarnation, reports } = current.conversation ?? {}
      if (incarnation) reports!.rejected(incarnation.partition, fromSideValue(error))
    },
    submit: (command) => {
      const { incarnation, nested } = current.conversation ?? {}
      return incarnation ? nested!.submit(incarnation, command) : new Promise(() => {})
    },
    cancel: (id) => {
      const { incarnation, nested } = current.conversation ?? {}
      if (incarnation) nested!.cancel(incarnation, id)
    },
    untilEnded: (id) => {
      const { incarnation, nested } = current.conversation ?? {}
      return incarnation ? nested!.untilEnded(incarnation, id) : new Promise(() => {})
    },
  }
  serveControl(port, side, takeEarly())
  const control = callControl<PartitionControl>(port)
  // Its listeners would keep the process alive.
  port.unref()
  return control
}

/**
 * Connects at the first call from either side, since most managers make none before they end.
 *
 * @param onConnected - Takes the other side's interface, which the function that is returned gives.
 */
function connector(
  port: MessagePort,
  current: Parameters<typeof converse>[1],
  onConnected: (control: Remote<PartitionControl>) => void,
): () => Promise<Remote<PartitionControl>> {
  const early: unknown[] = []
  let connecting: Promise<Remote<PartitionControl>> | undefined
  const connect = () => {
    connecting ??= converse(port, current, takeEarly).then((control) => {
      onConnected(control)
      return control
    })
    return connecting
  }
  const ask = (message: unknown) => {
    early.push(message)
    void connect()
  }
  const takeEarly = () => {
    port.off('message', ask)
    return early
  }
  port.on('message', ask)
  port.unref()
  return connect
}

export class Incarnation {
  readonly partition: number
  readonly number: number
  /** URL of the handler module that it loads, if there is one. */
  readonly handlers: string | undefined
  readonly window: InFlightWindow
  /** Settles when the handler module is loaded or failed to; never if the thread dies before. */
  readonly loaded: Promise<LoadReport>
  /** Settles when the thread has exited. */
  readonly exited: Promise<ExitReport>
  #state: ThreadState = 'shut'
  /** Whether it has loaded its handlers. */
  isLoaded = false
  /** Whether `setup` of its module has ended well, so that `teardown` is due. */
  isSetUp = false
  /** Id of the last broadcast that it has begun. */
  begunBroadcast: string | undefined
  #stopping: Promise<CallReport> | undefined
  /** Version of the program that it runs; undefined until that runs. */
  version: string | undefined
  readonly #output: OutputReader
  readonly worker: Worker & ProfiledWorker
  /** Node's number of its thread. */
  readonly threadId: number
  readonly #controlPort: MessagePort
  readonly #connect: () => Promise<Remote<PartitionControl>>
  /** Undefined until the first call from either side. From then on calls are posted at once. */
  #control: Remote<PartitionControl> | undefined
  /** Rejects the control calls that wait, when the thread exits. */
  readonly #waiting = new Set<(reason: unknown) => void>()
  /** Called once none waits. */
  readonly #quiet: (() => void)[] = []
  #exit: ExitReport | undefined
  /** The last that it has printed. */
  #tail = ''
  /** How it died, once that is known. */
  #crash: CrashRecord | undefined
  #cause: unknown

  /**
   * Starts a thread.
   *
   * @param plan - What it is made with.
   * @param number - 1 for the first thread of the partition.
   * @param sticky - Broadcasts to replay before the first command.
   * @param reports - Takes what it reports of itself.
   * @param nested - Serves its handlers.
   */
  constructor(
    plan: ThreadPlan,
    partition: number,
    number: number,
    sticky: readonly Broadcast[],
    reports: ThreadReports,
    nested: NestedRequests,
  ) {
    this.partition = partition
    this.number = number
    this.handlers = plan.handlers
    const { source, isText } = plan.program!
    const name = `corelane-${partition}`
    // There may be no memory for it, and then no thread must be left.
    const region = createRegion(plan.ringBytes, plan.ringBytes)
    // Node starts in it while the rest is made.
    this.worker = startWorker(partition, source, { ...plan.worker, eval: isText, name })
    const side = new MessageChannel()
    const control = new MessageChannel()
    const printed = new MessageChannel()
    const bell = plan.commons.openBell(partition)
    const awakeWord = openAwakeWord()
    this.threadId = this.worker.threadId
    const output = new OutputReader(printed.port1, (name, text, run) => {
      const last = typeof text === 'string' ? text : Buffer.from(text).toString()
      this.#tail = `${this.#tail}${last.slice(-TAIL_LENGTH)}`.slice(-TAIL_LENGTH)
      return reports.printed(this, { stream: name, text }, run)
    })
    const sidePort = new SidePort(side.port1)
    this.#output = output
    this.window = new InFlightWindow(region, bell, partition, sidePort, plan, output)
    const tallies = plan.tallies?.open(partition)
    this.window.tallies = plan.tallies?.runsOf(partition)
    const current: Parameters<typeof converse>[1] = {
      conversation: { incarnation: this, reports, nested },
    }
    this.#controlPort = control.port1
    this.#connect = connector(control.port1, current, (proxy) => {
      this.#control = proxy
      this.#release()
    })
    this.loaded = this.#untilLoaded().then((report) => {
      this.window.isTraced = report.ok && report.isTraced
      this.isSetUp = report.ok || report.isSetUp
      output.read()
      return report
    })
    this.exited = new Promise((resolve) => {
      this.worker.on('error', (error) => {
        this.#cause = error
      })
      this.worker.once('exit', (code) => {
        control.port1.close()
        output.close()
        plan.commons.closeBell(bell)
        closeAwakeWord(awakeWord)
        if (tallies !== undefined) plan.tallies!.close(partition, tallies)
        this.shut()
        current.conversation = undefined
        this.#exit = { code, cause: this.#cause }
        for (const fail of this.#waiting) fail(this.lostError('in a control call', true))
        this.#release()
        resolve(this.#exit)
      })
    })
    const boot: BootMessage = {
      ...plannedFields(plan),
      partition,
      incarnation: number,
      region,
      tallies: tallies?.memory,
      bell: bell.word,
      awakeWord,
      sidePort: side.port2,
      controlPort: control.port2,
      outputPort: printed.port2,
      sticky,
    }
    this.worker.postMessage(boot, [side.port2, control.port2, printed.port2])
    // The process lives as long as commands are in flight, not as long as threads are there.
    this.worker.unref()
  }

  /** Whether commands may be bound to it. */
  get isReady(): boolean {
    return this.#state === 'open'
  }

  /** Whether it was given up: nothing it does counts any more. */
  get isTerminating(): boolean {
    return this.#state === 'terminating'
  }

  /** Shut to open, unless its thread has exited. */
  open(): void {
    if (this.#state === 'shut' && this.#exit === undefined) this.#state = 'open'
  }

  /** Open to shut. */
  shut(): void {
    if (this.#state === 'open') this.#state = 'shut'
  }

  /** To ending, unless it was given up. */
  endSoon(): void {
    if (this.#state !== 'terminating') this.#state = 'ending'
  }

  /** To terminating, from any state. */
  giveUp(): void {
    this.#state = 'terminating'
  }

  /** Lets the proxy of a thread that has exited go, or its region would stay for ever. */
  #release(): void {
    const control = this.#control
    if (control === undefined || this.#exit === undefined) return
    void calls!.then(({ releaseControl }) => releaseControl(control))
  }

  /** Control calls that wait for an answer. */
  get calls(): number {
    return this.#waiting.size
  }

  /** Resolves once none does: each has a time-out. */
  untilQuiet(): Promise<void> {
    if (this.#waiting.size === 0) return Promise.resolve()
    return new Promise<void>((resolve) => this.#quiet.push(resolve))
  }

  /** Whether it has loaded its handlers, and has not exited. */
  get isUp(): boolean {
    return this.isLoaded && this.#exit === undefined
  }

  /** Itself until its thread has exited. */
  get living(): Incarnation | undefined {
    return this.#exit === undefined ? this : undefined
  }

  /** Notes the version of the program that it runs, which must be this one's, and its report. */
  #untilLoaded(): Promise<LoadReport> {
    return new Promise((resolve) => {
      const onMessage = (message: Partial<EntryMessage> | undefined) => {
        if (message?.corelane === undefined) return
        this.version = message.corelane
        if (this.version !== VERSION) void this.terminate()
        else if (message.loaded !== undefined) {
          this.worker.off('message', onMessage)
          resolve(message.loaded)
        }
      }
      this.worker.on('message', onMessage)
    })
  }

  /**
   * Lets it finish what runs and tear down, once however often it is asked.
   *
   * @param timeoutMs - How long to wait.
   * @throws As {@link Incarnation.call}.
   */
  stop(timeoutMs: number): Promise<CallReport> {
    this.#stopping ??= this.call('stop', timeoutMs, (control) => control.stop())
    return this.#stopping
  }

  /**
   * Makes a control call that always settles: it races the thread's exit and a time-out.
   *
   * @param name - For messages.
   * @param timeoutMs - How long to wait.
   * @param invoke - Makes the call.
   * @throws PartitionLostError if the thread exits first; LaneError `CORELANE_CONTROL_TIMEOUT`.
   */
  call<T>(
    name: string,
    timeoutMs: number,
    invoke: (control: Remote<PartitionControl>) => Promise<T>,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#exit !== undefined) {
        reject(this.lostError('in a control call', true))
        return
      }
      const end = () => {
        forget()
        this.#waiting.delete(fail)
        if (this.#waiting.size === 0) for (const tell of this.#quiet.splice(0)) tell()
      }
      const fail = (reason: unknown) => {
        end()
        reject(reason)
      }
      const details = { partition: this.partition, call: name, timeoutMs }
      const late = () => fail(laneError('CORELANE_CONTROL_TIMEOUT', details))
      const forget = whenUnanswered(late, timeoutMs)
      this.#waiting.add(fail)
      const answer = this.#control ? invoke(this.#control) : this.#connect().then(invoke)
      answer.then(
        (value) => {
          end()
          // Output of the call came by a port of its own.
          this.#output.read()
          resolve(value)
        },
        (error) => {
          // Its exit, which is near, rejects the call.
          if (error?.code !== 'ERR_WORKER_NOT_RUNNING') fail(error)
        },
      )
    })
  }

  /** Share of its life in which its event loop was at work, 0 to 1. */
  get utilisation(): number {
    return this.worker.performance.eventLoopUtilization().utilization
  }

  /** Makes a handler known that commands name. No call: the main thread may block after it. */
  define(file: FileHandler): void {
    this.#controlPort.postMessage({ define: file } satisfies Definition)
  }

  /** Sends the thread the abort orders of its detached runs. */
  flushOrders(): void {
    const { orders } = this.window
    if (orders.length === 0) return
    const batch = orders.splice(0)
    // A thread that is busy hears of it late, one that has died never: the grace is for both.
    this.call('abort', ORDER_TIMEOUT_MS, (control) => control.abort(batch)).catch(() => {})
  }

  /**
   * Profiles the thread, which goes on with its work.
   *
   * @param durationMs - For how long.
   * @returns The profile, as JSON.
   */
  profile(durationMs: number): Promise<string> {
    return this.call('profile', durationMs + PROFILE_GRACE_MS, async (control) => {
      const start = this.worker.startCpuProfile?.bind(this.worker)
      // Older Node: the thread does it, and a handler that never ends keeps it from that.
      if (start === undefined) return control.profile(durationMs)
      const handle = await startProfile(start)
      // The call keeps the process alive, as long as the thread lives.
      await new Promise((resolve) => timers.setTimeout(resolve, durationMs).unref())
      return handle.stop()
    })
  }

  /** Ends the thread; synchronous native code in it may keep it alive for a while. */
  async terminate(): Promise<void> {
    await this.worker.terminate()
  }

  /**
   * Notes how it died, by itself.
   *
   * @param commands - Those that ran.
   */
  crashed(commands: readonly Command[]): void {
    const { code, cause } = this.#exit!
    this.#crash = Object.freeze({
      threadId: this.threadId,
      exitCode: code,
      stack: isErrorValue(cause) ? cause.stack : undefined,
      commands: commands.map(({ id, type, lane }) => ({ id, type: type.name, lane: lane.name })),
      output: this.#tail.split('\n').filter(Boolean).slice(-TAIL_LINES),
      heapMb: readCounter(this.window.end.views, Counter.HEAP_KIB) / 1024,
    })
  }

  /**
   * The error of a command that this thread's death cost.
   *
   * @param stage - What the command was doing.
   * @param started - Whether its handler had been entered.
   * @param given - Why the thread was given up; undefined if it ended by itself.
   */
  lostError(stage: string, started: boolean, given?: Error): LaneError {
    const { code, cause } = this.#exit ?? { code: -1, cause: given }
    const reason = isErrorValue(cause) ? wordsOf(cause) : `its thread exited with code ${code}`
    return laneError(
      'CORELANE_PARTITION_LOST',
      { partition: this.partition, reason, stage, started, exitCode: code, crash: this.#crash },
      cause,
    )
  }
}
