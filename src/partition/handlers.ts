// Handlers: loads the user's module, finds its handlers and calls them.
// Owns: the loaded module.

import { laneError, show } from '../base/errors.ts'
import type { AnyFunction, CommandContext, PartitionContext } from '../model/command.ts'
import { runTracer, type TracedRun } from '../model/command-trace.ts'
import { HOOKS, type Member, membersOf } from '../model/handler-module.ts'
import type { LoadReport } from '../wire/control.ts'
import { importModule } from './import-module.ts'

// User code may replace it.
const { apply } = Reflect

/**
 * Calls a function of the user's.
 *
 * No compiler inlines `Reflect.apply`. A handler that V8 inlines into the loop of its thread never
 * leaves the middle compiler (Node 24 and 26): a tight loop then takes 2.6 times as long.
 *
 * @param run - The function.
 * @param self - Its `this`.
 * @param args - Its arguments.
 */
export function callUser(run: AnyFunction, self: unknown, ...args: unknown[]): unknown {
  return apply(run, self, args)
}

/** Runs a command that names a module of its own, by the index of its type. */
type RunFile = (index: number, payload: unknown, context: CommandContext) => unknown

/** The user's module, taken apart. */
export class HandlerTable {
  /** Names of the handlers: a type's index is its place here, in every partition. */
  readonly types: readonly string[]
  /** Those that the module has, sorted. */
  readonly own: readonly string[]
  readonly #members: ReadonlyMap<string, Member>
  /** By type index. */
  readonly #handlers: readonly Member[]
  readonly #runFile: RunFile

  /**
   * @param members - The functions of the module, by name.
   * @param known - Names of handlers in the order of their indices, if other threads have them.
   * @param runFile - Runs commands that name their module.
   */
  constructor(
    members: ReadonlyMap<string, Member>,
    known: readonly string[] | undefined,
    runFile: RunFile,
  ) {
    this.#members = members
    this.own = [...members.keys()].filter((name) => !HOOKS.includes(name)).sort()
    const before = known ?? []
    this.types = [...before, ...this.own.filter((name) => !before.includes(name))]
    this.#handlers = this.types.map((name) =>
      this.own.includes(name) ? members.get(name)! : missing(name, this.own),
    )
    this.#runFile = runFile
  }

  /**
   * Runs a handler.
   *
   * @param index - Of its type.
   * @param payload - Its first argument.
   * @param context - Its second.
   * @param _isStream - Whether what it returns is iterated: tracers need it.
   * @returns What it returns.
   * @throws What it throws; ConfigError `CORELANE_UNKNOWN_TYPE` if only other threads have it.
   */
  call(index: number, payload: unknown, context: unknown, _isStream: boolean): unknown {
    const member = this.#handlers[index]
    if (member === undefined) return this.#runFile(index, payload, context as CommandContext)
    return apply(member.run, member.self, [payload, context])
  }

  /**
   * Lets the tracer of this thread, if there is one by now, call the handlers.
   *
   * @returns What the coordinator needs to know of them.
   */
  open(): LoadReport {
    const tracer = runTracer()
    if (tracer !== undefined) {
      const call = this.call.bind(this)
      this.call = (index, payload, context, isStream) =>
        tracer.run(context as TracedRun, () => call(index, payload, context, isStream), isStream)
    }
    return { ok: true, types: this.types, own: this.own, isTraced: tracer !== undefined }
  }

  /**
   * Runs `setup`, before a thread's first command, or `teardown`, when the partition stops.
   *
   * @param context - Its argument.
   * @returns What it returns; undefined if the module has none.
   */
  hook(name: 'setup' | 'teardown', context: PartitionContext): unknown {
    const member = this.#members.get(name)
    return member && callUser(member.run, member.self, context)
  }
}

/** Stands for a handler that other threads have and this one's module does not. */
function missing(name: string, types: readonly string[]): Member {
  const run = () => {
    throw laneError('CORELANE_UNKNOWN_TYPE', { received: show(name), allowed: types.join(', ') })
  }
  return { run, self: undefined }
}

/**
 * Loads a handler module: ESM, CommonJS, or TypeScript where this Node can.
 *
 * @param url - Its URL.
 * @param known - Names of handlers in the order of their indices, if other threads have them; what
 * else the module has comes after them.
 * @param runFile - Runs commands that name their module.
 * @returns Its handlers.
 * @throws Whatever the module throws while it loads, and a TypeError if it has no handler.
 */
export async function loadHandlers(
  url: string,
  known: readonly string[] | undefined,
  runFile: RunFile,
): Promise<HandlerTable> {
  const table = new HandlerTable(membersOf(await importModule(url)), known, runFile)
  if (table.own.length === 0) throw new TypeError('it exports no function')
  return table
}
