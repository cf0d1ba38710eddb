// Handlers: loads the user's module and finds its handlers.
// Thread: partition.   Owns: the loaded module.

import type { PartitionContext } from '../model/command.ts'
import type { Handler } from '../model/handler-module.ts'

type Hook = (context: PartitionContext) => unknown

/** The user's module, taken apart. */
export interface HandlerTable {
  /** Names of the handlers, sorted: a type's index is its place here, in every partition. */
  readonly types: readonly string[]
  /** The handlers, by type index. */
  readonly handlers: readonly Handler[]
  /** Runs before the first command, in every incarnation. */
  readonly setup: Hook | undefined
  /** Runs when the partition stops. */
  readonly teardown: Hook | undefined
}

/**
 * Loads a handler module: ESM, CommonJS, or TypeScript where this Node can.
 *
 * @param url - Its URL.
 * @returns Its handlers: exported functions, and the functions in an object exported as default. A
 * function exported as default is the handler `default`.
 * @throws Whatever the module throws while it loads, and a TypeError if it has no handler.
 */
export async function loadHandlers(url: string): Promise<HandlerTable> {
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
  const types = Object.keys(members).filter((name) => typeof members[name] === 'function')
  if (types.length === 0) throw new TypeError('it exports no function')
  types.sort()
  return {
    types,
    handlers: types.map((name) => members[name] as Handler),
    setup: setup as Hook | undefined,
    teardown: teardown as Hook | undefined,
  }
}
