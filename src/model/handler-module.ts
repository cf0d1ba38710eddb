// Handler module: the types that carry payloads and results from a user's module to the caller.
// Thread: any.   Owns: nothing; types only.

import type { CommandContext } from './command.ts'

/** A function that runs commands of one type. */
// biome-ignore lint/suspicious/noExplicitAny: the user's own types take its place
export type Handler<Payload = any, Result = any> = (
  payload: Payload,
  context: CommandContext,
) => Result | Promise<Result>

/** A module of which nothing is known: any type, any payload, any result. */
export type AnyHandlers = Record<string, Handler>

/** Exports with a meaning of their own, which are not handlers. */
export type ReservedExport = 'setup' | 'teardown' | 'default'

/** The handlers of a module: its own exports, and the members of an object exported as default. */
export type Exports<M> = M extends { default: infer D }
  ? D extends (...args: never[]) => unknown
    ? M
    : Omit<M, 'default'> & D
  : M

/** Names of the handlers of a module. */
export type HandlerName<M> = {
  [K in keyof Exports<M>]: Exports<M>[K] extends (...args: never[]) => unknown
    ? K extends ReservedExport
      ? never
      : K
    : never
}[keyof Exports<M>] &
  string

/** What a handler takes. */
export type PayloadOf<M, K extends HandlerName<M>> = Exports<M>[K] extends (
  ...args: infer A
) => unknown
  ? A extends [infer P, ...unknown[]]
    ? P
    : A extends [(infer P)?, ...unknown[]]
      ? P | undefined
      : unknown
  : never

/** What a handler gives, awaited and unwrapped. */
export type ResultOf<M, K extends HandlerName<M>> = Exports<M>[K] extends (
  ...args: never[]
) => infer R
  ? Awaited<R> extends Moved<infer V>
    ? V
    : Awaited<R>
  : never

/** What a handler that is a generator gives one by one. */
export type ChunkOf<M, K extends HandlerName<M>> =
  ResultOf<M, K> extends AsyncIterable<infer C> | Iterable<infer C> ? Awaited<C> : unknown

/** The arguments after the type: the payload may be left out where the handler takes none. */
export type PayloadArguments<M, K extends HandlerName<M>, O> =
  undefined extends PayloadOf<M, K>
    ? [payload?: PayloadOf<M, K>, options?: O]
    : unknown extends PayloadOf<M, K>
      ? [payload?: unknown, options?: O]
      : [payload: PayloadOf<M, K>, options?: O]

/** Name of the hidden type of commands that name their module; its index is 0 in every thread. */
export const FILE_TYPE = ''

/** A handler of a module that commands name, as threads know it. */
export interface FileHandler {
  /** Stands for it in payloads. */
  readonly id: number
  /** URL of the module. */
  readonly url: string
  /** Name of the export. */
  readonly name: string
}

const moved: unique symbol = Symbol.for('corelane.moved') as never

/** A result whose memory is moved to the caller instead of copied. Made by `move`. */
export interface Moved<T> {
  readonly [moved]: true
  readonly value: T
  readonly transferList: readonly object[]
}

/**
 * Marks a handler's result so that memory in it is moved to the caller instead of copied.
 *
 * @param value - The result.
 * @param transferList - What to move. Default: the value itself, or the buffer it views.
 * @returns What the handler should return.
 */
export function move<T>(value: T, transferList?: readonly object[]): Moved<T> {
  const whole = ArrayBuffer.isView(value) ? [value.buffer] : [value as object]
  return { [moved]: true, value, transferList: transferList ?? whole }
}

/**
 * Whether a value was made by {@link move}, by any copy of the package.
 *
 * @param value - Anything.
 */
export function isMoved(value: unknown): value is Moved<unknown> {
  return typeof value === 'object' && value !== null && moved in value
}
