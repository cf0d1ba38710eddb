// Handlers proxy: calls handlers as if they were local functions, in comlink's manner.
// Thread: main.   Owns: one function per handler that was called.

import type { CommandOptions } from '../model/command.ts'
import type { HandlerName, PayloadArguments, ResultOf } from '../model/handler-module.ts'

/** Options of a command that may name its lane. */
export interface RunOptions extends CommandOptions {
  /** Default: the manager's default lane. */
  readonly lane?: string | undefined
}

/** A module's handlers as asynchronous functions. */
export type HandlersProxy<M> = {
  readonly [K in HandlerName<M>]: (
    ...rest: PayloadArguments<M, K, RunOptions>
  ) => Promise<ResultOf<M, K>>
}

/**
 * Makes a proxy. Any name can be read from it; one that is no handler rejects when it is called.
 *
 * @param run - Runs a command of a type.
 */
export function createHandlersProxy<M>(
  run: (type: string, payload: unknown, options: RunOptions | undefined) => Promise<unknown>,
): HandlersProxy<M> {
  const calls = new Map<string, (payload: unknown, options?: RunOptions) => Promise<unknown>>()
  return new Proxy(Object.freeze(Object.create(null)), {
    get(_, type) {
      // Whoever awaits or resolves with the proxy asks for `then`: it is no promise.
      if (typeof type === 'symbol' || type === 'then') return undefined
      let call = calls.get(type)
      if (call === undefined) {
        call = (payload, options) => run(type, payload, options)
        calls.set(type, call)
      }
      return call
    },
  })
}
