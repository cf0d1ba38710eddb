// Handler module: the types that carry payloads and results from a user's module to the caller.
// Owns: nothing.

import type { AnyArguments, AnyFunction, AnyPayload, CommandContext, Refused } from './command.ts'

/** A function that runs commands of one type. */
// biome-ignore lint/suspicious/noExplicitAny: the user's own types take its place
export type Handler<Payload = any, Result = any> = (
  payload: Payload,
  context: CommandContext,
) => Result | Promise<Result>

/** A module of which nothing is known: any type, any payload, any result. */
export type AnyHandlers = Record<string, Handler>

/** Exports with a meaning of their own, which are not handlers. */
export type ReservedExport = 'setup' | 'teardown'

/** A `KeyObject`, without its module, which other doors of the package do not name. */
interface KeyLike {
  readonly type: 'secret' | 'public' | 'private'
  export(options?: never): unknown
}

/** Values that arrive as they are, or as the same class. */
type Crossing =
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | Date
  | RegExp
  | Error
  | ArrayBufferLike
  | ArrayBufferView
  | InstanceType<typeof Blob>
  | KeyLike
  | InstanceType<typeof MessagePort>

/** The name of a member unless it is a method or a symbol, which do not cross. */
type CrossingName<K, V> = K extends symbol
  ? never
  : [NonNullable<V>] extends [never]
    ? K
    : NonNullable<V> extends AnyFunction
      ? never
      : K

/**
 * A value as it arrives in another thread: objects of classes without their methods, dates, maps,
 * sets, errors and binary data as they were. `toJSON` is not called.
 */
export type Cloned<T> = unknown extends T
  ? T
  : T extends Crossing
    ? T
    : T extends Refused
      ? never
      : T extends Map<infer K, infer V>
        ? Map<Cloned<K>, Cloned<V>>
        : T extends Set<infer V>
          ? Set<Cloned<V>>
          : T extends ReadonlyMap<infer K, infer V>
            ? ReadonlyMap<Cloned<K>, Cloned<V>>
            : T extends ReadonlySet<infer V>
              ? ReadonlySet<Cloned<V>>
              : T extends readonly unknown[]
                ? { [I in keyof T]: Cloned<T[I]> }
                : T extends object
                  ? { [K in keyof T as CrossingName<K, T[K]>]: Cloned<T[K]> }
                  : T

declare const handlersType: unique symbol

/** Where a handler module is, with its type. Made by {@link handlersAt}. */
export type HandlersAt<M> = (URL | string) & { readonly [handlersType]?: M }

/**
 * Gives the URL or path of a handler module its type, so that a manager infers the module from it,
 * and its lanes from the other options.
 *
 * @typeParam M - The handler module: `typeof import('./handlers.js')`.
 * @param handlers - A URL, or a path that is resolved from the working directory.
 * @returns The same value.
 */
export function handlersAt<M>(handlers: URL | string): HandlersAt<M> {
  return handlers
}

/**
 * Types a module's handlers in one place; gives them back as they are.
 *
 * @param handlers - Handlers by type.
 * @returns The same object, to be exported as default.
 */
export function defineHandlers<T extends AnyHandlers>(handlers: T): T {
  return handlers
}

/** The handlers of a module: its own exports, and the members of an object exported as default. */
export type Exports<M> = M extends { default: infer D }
  ? D extends (...args: never[]) => unknown
    ? M
    : Omit<M, 'default'> & D
  : M

/** Names of the handlers of a module; a function that is the default export is `default`. */
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

/** What a handler returns, awaited. */
type Returned<M, K extends HandlerName<M>> = Exports<M>[K] extends (...args: never[]) => infer R
  ? Awaited<R>
  : never

type Unmoved<T> = T extends Moved<infer V> ? V : T

/** What a handler gives, awaited and unwrapped, as it arrives. */
export type ResultOf<M, K extends HandlerName<M>> = Cloned<Unmoved<Returned<M, K>>>

/** What a handler that is a generator gives one by one, as it arrives. */
export type ChunkOf<M, K extends HandlerName<M>> =
  Returned<M, K> extends AsyncIterable<infer C> | Iterable<infer C>
    ? Cloned<Unmoved<Awaited<C>>>
    : unknown

type RunKind<R, K> = unknown extends R
  ? K
  : R extends AsyncIterable<unknown> | Iterator<unknown, unknown, never>
    ? never
    : K

type StreamKind<R, K> = unknown extends R
  ? K
  : R extends string
    ? never
    : R extends AsyncIterable<unknown> | Iterable<unknown>
      ? K
      : never

/** Names of the handlers whose result arrives as a whole: all but generators. */
export type RunName<M> = { [K in HandlerName<M>]: RunKind<Returned<M, K>, K> }[HandlerName<M>]

/** Names of the handlers that give values one by one: generators and what can be iterated. */
export type StreamName<M> = { [K in HandlerName<M>]: StreamKind<Returned<M, K>, K> }[HandlerName<M>]

/** The payload that a caller of type `P` gives a handler. */
export type PayloadGiven<M, K extends HandlerName<M>, P> =
  unknown extends PayloadOf<M, K> ? AnyPayload<P> : Cloned<PayloadOf<M, K>>

/** The arguments after the type: the payload may be left out where the handler takes none. */
export type PayloadArguments<M, K extends HandlerName<M>, O, P = unknown> =
  unknown extends PayloadOf<M, K>
    ? AnyArguments<P, O>
    : undefined extends PayloadOf<M, K>
      ? [payload?: Cloned<PayloadOf<M, K>>, options?: O]
      : [payload: Cloned<PayloadOf<M, K>>, options?: O]

/** Exports with a meaning of their own. */
export const HOOKS: readonly string[] = ['setup', 'teardown'] satisfies ReservedExport[]

/** A function of a handler module, and the exported object that it is a method of, if any. */
export interface Member {
  readonly run: AnyFunction
  readonly self: unknown
}

/**
 * Takes a handler module apart: exported functions, and the methods of an object exported as
 * default. A function exported as default is the handler `default`.
 *
 * @param namespace - Its exports.
 * @returns Its functions by name.
 * @throws TypeError if something else is called as a hook.
 */
export function membersOf(namespace: object): Map<string, Member> {
  const members = new Map<string, Member>()
  const add = (source: object, self: unknown) => {
    for (const [name, run] of Object.entries(source)) {
      if (typeof run === 'function') members.set(name, { run, self })
      else if (run !== undefined && HOOKS.includes(name)) {
        throw new TypeError(`the export "${name}" is reserved for a function`)
      } else members.delete(name)
    }
  }
  add(namespace, undefined)
  // How a CommonJS module looks from outside also has its exports object under this name.
  members.delete('module.exports')
  const whole = (namespace as { readonly default?: unknown }).default
  if (typeof whole === 'object' && whole !== null) add(whole, whole)
  return members
}

/** Index of the type of the first handler that a command names by its module; others go down. */
export const FILE_INDEX = 2 ** 16 - 1

/** Handlers that commands of one manager may name by their modules. */
export const FILE_COUNT_MAX: number = 2 ** 15

/**
 * How handlers of modules that commands name are called: with payload and `context`, with the
 * `payload` alone, or with `arguments` after `setup` of their module.
 */
export type FileCall = 'context' | 'payload' | 'arguments'

/** A handler of a module that commands name, as threads know it. */
export interface FileHandler {
  /** Index of its type, from {@link FILE_INDEX} down. */
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
