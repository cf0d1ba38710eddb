// The front door.
// Thread: main.   Owns: nothing.

export {
  ClosedError,
  ConfigError,
  ERRORS,
  type ErrorCode,
  LaneError,
  PartitionLostError,
  SerializationError,
} from './base/errors.ts'
export type { HandlersProxy, RunOptions } from './coordinator/handlers-proxy.ts'
export type { MapOptions } from './coordinator/map-commands.ts'
export type { BroadcastOptions, QueueManagerOptions } from './coordinator/options.ts'
export { QueueManager } from './coordinator/queue-manager.ts'
export { QueueManagerBuilder } from './coordinator/queue-manager-builder.ts'
export type { HostStats, LaneStats, PartitionStats, QueueStats } from './coordinator/stats.ts'
export {
  type CommandInfo,
  type CommandOptions,
  type CommandOutcome,
  commandInfo,
} from './model/command.ts'
export type {
  AnyHandlers,
  Handler,
  HandlerName,
  PayloadOf,
  ResultOf,
} from './model/handler-module.ts'
export { DEFAULT_LANES, type LaneOptions } from './model/lane.ts'
export {
  PartitionConfig,
  type Partitioner,
  type PartitionOptions,
  type PartitionQuestion,
  type PartitionStrategy,
} from './model/partition-config.ts'
export { stableHash } from './schedule/hash.ts'
