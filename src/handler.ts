// The door for handler modules: light, so that importing it in every partition costs little.
// Thread: partition.

export type { CommandContext, NestedOptions, PartitionContext } from './model/command.ts'

export { defineHandlers, type Handler, type Moved, move } from './model/handler-module.ts'
