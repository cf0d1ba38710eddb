// Handlers: loads the user's module and finds its handlers.
// Thread: partition.   Owns: the loaded module.

import { laneError, show } from '../base/errors.ts'
import type { PartitionContext } from '../model/command.ts'
import type { Handler } from '../model/handler-module.ts'

type Hook = (context: PartitionContext) => unknown

/** The user's module, taken apart. */
export interface HandlerTable {
  /** Names of the handlers: a type's index is its place here, in every partition. */
  readonly types: readonly string[]
  /** Those that the module has, sorted. */
  readonly own: readonly string[]
  /** The handlers, by type index. */
  readonly handlers: readonly Handler[]
  /** Runs before the first command, in every incarnation. */
  readonly setup: Hook | undefined
  /** Runs when the partition stops. */
  readonly teardown: Hook | undefined
}

/** Stands for a handler that other threads have and this one's module does not. */
function missing(name: string, types: readonly string[]): Handler {
  return () => {
    throw laneError('CORELANE_UNKNOWN_TYPE', { received: show(name), allowed: types.join(', ') })
  }
}

/**
 * Loads a handler module: ESM, CommonJS, or TypeScript where this Node can.
 *
 * @param url - Its URL.
 * @param known - Names of handlers in the order of their indices, if other threads have them; what
 * else the module has comes after them.
 * @returns Its handlers: exported functions, and the functions in an object exported as default. A
 * function exported as default is the handler `default`.
 * @throws Whatever the module throws while it loads, and a TypeError if it has no handler.
 */
export async function loadHandlers(
  url: string,
  known: readonly string[] = [],
): Promise<HandlerTable> {
  const namespace = (await import(url)) as Record<string, unknown>
  const members: Record<string, unknown> = Object.assign(Object.create(null), namespace)
  const whole = namespace.default
  if (typeof whole === 'object' && whole !== null) {
    delete members.default
    Object.assign(members, whole)
  }
  // How a CommonJS module looks from outside also has its exports object under this name.
  delete members['module.exports']
  const { setup, teardown } = members
  for (const [name, hook] of Object.entries({ setup, teardown })) {
    if (hook !== undefined && typeof hook !== 'function') {
      throw new TypeError(`the export "${name}" is reserved for a function`)
    }
    delete members[name]
  }
  const own = Object.keys(members).filter((name) => typeof members[name] === 'function')
  if (own.length === 0) throw new TypeError('it exports no function')
  own.sort()
  const types = [...known, ...own.filter((name) => !known.includes(name))]
  return {
    types,
    own,
    handlers: types.map((name) =>
      own.includes(name) ? (members[name] as Handler) : missing(name, own),
    ),
    setup: setup as Hook | undefined,
    teardown: teardown as Hook | undefined,
  }
}
