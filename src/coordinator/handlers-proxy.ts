// Handlers proxy: calls handlers as if they were local functions, in comlink's manner.
// Owns: one function per handler.

import type { CommandOptions } from '../model/command.ts'
import type { PayloadArguments, ResultOf, RunName } from '../model/handler-module.ts'

/** Options of a command that may name its lane. */
export interface RunOptions<L extends string = string> extends CommandOptions {
  /** Default: the manager's default lane. */
  readonly lane?: L | undefined
}

/** A module's handlers as asynchronous functions. `then` and `toJSON` are none of them. */
export type HandlersProxy<M, L extends string = string> = {
  readonly [K in Exclude<RunName<M>, 'then' | 'toJSON'>]: <P = unknown>(
    ...rest: PayloadArguments<M, K, RunOptions<L>, P>
  ) => Promise<ResultOf<M, K>>
}

type Call = (payload: unknown, options?: RunOptions) => Promise<unknown>

/** An object with `then` is a promise, and JSON is written by `toJSON`: these are no handlers. */
const RESERVED: ReadonlySet<string> = new Set(['then', 'toJSON'])

/**
 * Loggers and test runners call these on any object: they are handlers only if the module has
 * them.
 */
const GENERIC: ReadonlySet<string> = new Set([
  'asymmetricMatch',
  'constructor',
  'inspect',
  'toLocaleString',
  'toString',
  'valueOf',
])

/** How a proxy looks as text. */
const LOOKS = Object.freeze({
  __proto__: null,
  [Symbol.toStringTag]: 'Handlers',
  [Symbol.toPrimitive]: () => '[object Handlers]',
  [Symbol.for('nodejs.util.inspect.custom')](this: object) {
    return { ...this }
  },
})

/**
 * Makes a proxy: an object with one function for each handler, which can be listed, spied on and
 * logged. Before the module is loaded, any name can be read from it and called later.
 *
 * @param run - Runs a command of a type.
 * @param types - The handlers of the module by name, another map after each change; an empty one
 * until the module is loaded.
 */
export function createHandlersProxy<M, L extends string = string>(
  run: (type: string, payload: unknown, options: RunOptions | undefined) => Promise<unknown>,
  types: () => ReadonlyMap<string, unknown>,
): HandlersProxy<M, L> {
  const calls = new Map<string, Call>()
  const target: Record<string | symbol, unknown> = Object.create(LOOKS)
  let known: ReadonlyMap<string, unknown> = new Map()

  const callOf = (type: string): Call => {
    let call = calls.get(type)
    if (call === undefined) {
      call = (payload, options) => run(type, payload, options)
      Object.defineProperty(call, 'name', { value: type })
      calls.set(type, call)
    }
    return call
  }

  /** Gives the target the handlers of the module. Members that others have set stay. */
  const update = (): void => {
    const next = types()
    if (next === known || next.size === 0) return
    for (const name of known.keys()) {
      if (!next.has(name) && target[name] === calls.get(name)) Reflect.deleteProperty(target, name)
    }
    for (const name of next.keys()) {
      if (RESERVED.has(name) || known.has(name) || Object.hasOwn(target, name)) continue
      Reflect.set(target, name, callOf(name))
    }
    known = next
  }

  /** What a name that is not on the target stands for: any handler until the module is loaded. */
  const guess = (name: string | symbol): Call | undefined => {
    if (typeof name === 'symbol' || name in target || RESERVED.has(name)) return undefined
    return (known.size > 0 ? known.has(name) : !GENERIC.has(name)) ? callOf(name) : undefined
  }

  return new Proxy(target, {
    get(_, name) {
      update()
      return target[name] ?? guess(name)
    },
    has(_, name) {
      update()
      return name in target || guess(name) !== undefined
    },
    ownKeys() {
      update()
      return Reflect.ownKeys(target)
    },
    getOwnPropertyDescriptor(_, name) {
      update()
      const call = Object.isExtensible(target) ? guess(name) : undefined
      if (call === undefined) return Reflect.getOwnPropertyDescriptor(target, name)
      return { value: call, writable: true, enumerable: true, configurable: true }
    },
  }) as HandlersProxy<M, L>
}
