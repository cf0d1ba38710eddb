// The door for handler modules: light, so that importing it in every partition costs little.
// Thread: partition.   Owns: nothing.

export type { CommandContext, NestedOptions, PartitionContext } from './model/command.ts'

import type { AnyHandlers } from './model/handler-module.ts'

export { type Handler, type Moved, move } from './model/handler-module.ts'

/**
 * Types a module's handlers in one place; gives them back as they are.
 *
 * @param handlers - Handlers by type.
 * @returns The same object, to be exported as default.
 */
export function defineHandlers<T extends AnyHandlers>(handlers: T): T {
  return handlers
}
