// The front door.
// Thread: main.

export {
  AbortError,
  ClosedError,
  ConfigError,
  type CrashRecord,
  DeadlineExceededError,
  ERRORS,
  type ErrorCode,
  type ErrorDetails,
  type ErrorDetailsOf,
  LaneError,
  type LaneErrorOf,
  PartitionLostError,
  QueueFullError,
  SerializationError,
  TimeoutError,
} from './base/errors.ts'
export { Histogram, type HistogramJson } from './base/histogram.ts'
export type { HandlersProxy, RunOptions } from './coordinator/handlers-proxy.ts'
export type { HostStats } from './coordinator/host-by-os-utils.ts'
export type { LaneControl } from './coordinator/lane-control.ts'
export type { ManagerState } from './coordinator/life-cycle.ts'
export { type MapOptions, type MapOutcome, mapInput } from './coordinator/map-commands.ts'
export type {
  BroadcastOptions,
  ProfileOptions,
  QueueManagerOptions,
} from './coordinator/options.ts'
export { QueueManager } from './coordinator/queue-manager.ts'
export { QueueManagerBuilder } from './coordinator/queue-manager-builder.ts'
export { type MetricsOptions, QueueMetrics } from './coordinator/queue-metrics.ts'
export type { DeadLetter, DeadLetterQueue } from './coordinator/results/dead-letter-queue.ts'
export type { EventSubscription } from './coordinator/results/event-hub.ts'
export { closeOnSignals, type SignalOptions } from './coordinator/signals.ts'
export type {
  LaneStats,
  PartitionStats,
  QueueStats,
} from './coordinator/stats.ts'
export {
  type CancelStatus,
  type CommandReference,
  type CommandState,
  type DeadCommand,
  type DeadCommands,
  type Delivery,
  type DistributedQueue,
  type EnqueueStatus,
  type FoundCommand,
  type GlobalLimits,
  type GroupTerms,
  isLeased,
  type LaneDemand,
  type LaneRegistry,
  type LeasedQueue,
  type LeaseExtension,
  type LeaseRequest,
  type NameRegistry,
  type PartitionOwnership,
  type ProgressReport,
  type QueueCapabilities,
  type QueuedCommands,
  type ReleaseOptions,
  type ReleaseReason,
  type SettleStatus,
  type TokenGrant,
  type WorkerRegistry,
} from './distributed/contract/distributed-queue.ts'
export {
  type CommandEnvelope,
  type CommandResult,
  ENVELOPE_VERSION,
  type EnvelopeOptions,
  type PortableError,
} from './distributed/contract/envelope.ts'
export type { LaneLimits, SharedRate } from './distributed/contract/live-limits.ts'
export type { IncidentListener, QueueIncident } from './distributed/incident.ts'
export { type LiftOptions, liftQueue } from './distributed/lift/lifted-queue.ts'
export type { LocalQueueOptions } from './distributed/local/local-plan.ts'
export { LocalDistributedQueue } from './distributed/local/local-queue.ts'
export type { Enqueued } from './distributed/submit/outstanding.ts'
export { Submitter, type SubmitterStats } from './distributed/submit/submitter.ts'
export type {
  NewCommand,
  SubmitOptions,
  SubmitterOptions,
} from './distributed/submit/submitter-options.ts'
export {
  WorkerPool,
  type WorkerPoolState,
  type WorkerPoolStats,
} from './distributed/work/pool.ts'
export type { WorkerPoolOptions } from './distributed/work/pool-options.ts'
export { type BoostStep, PriorityBoostConfig, type PriorityBoostOptions } from './model/boost.ts'
export {
  type AnyArguments,
  type AnyPayload,
  type CommandContext,
  type CommandInfo,
  type CommandOptions,
  type CommandOutcome,
  commandInfo,
  type NestedOptions,
  type PartitionContext,
} from './model/command.ts'
export {
  type AnyHandlers,
  type ChunkOf,
  type Cloned,
  defineHandlers,
  type Handler,
  type HandlerName,
  type HandlersAt,
  handlersAt,
  type Moved,
  move,
  type PayloadArguments,
  type PayloadGiven,
  type PayloadOf,
  type ResultOf,
  type RunName,
  type StreamName,
} from './model/handler-module.ts'
export {
  DEFAULT_LANES,
  type DefaultLaneName,
  type GroupPlan,
  LaneConfig,
  type LaneOptions,
  type LanePlan,
  type RatePlan,
} from './model/lane.ts'
export type { EventFilter, LaneEvent, LaneEventName, LaneEventOf } from './model/lane-event.ts'
export type {
  GroupMetrics,
  LaneMetrics,
  LaneShareMetrics,
  MetricLabels,
  MetricsBackend,
  MetricsSnapshot,
  PartitionMetrics,
  RunMetrics,
} from './model/metrics.ts'
export {
  PartitionConfig,
  type Partitioner,
  type PartitionOptions,
  type PartitionQuestion,
  type PartitionStrategy,
  type PartitionStrategyName,
} from './model/partition-config.ts'
export type {
  LaneCounts,
  QueueCounts,
  QueueWorker,
  WorkerStanding,
} from './model/queue-standing.ts'
export {
  type RateAlgorithm,
  RateLimitConfig,
  type RateLimitOptions,
  type RateScope,
} from './model/rate-limit.ts'
export {
  type Backoff,
  type QueuedRetry,
  type RetryOptions,
  type RetryPlan,
  RetryPolicy,
} from './model/retry.ts'
export {
  ALERT_MEASURES,
  type Alert,
  type AlertLevel,
  AlertManager,
  type AlertMeasure,
  type AlertOptions,
  type AlertThresholds,
} from './operations/alert-manager.ts'
export type { Dashboard, DashboardOptions } from './operations/dashboard.ts'
export type { DashboardQueue } from './operations/dashboard-queue.ts'
export {
  type MonitorOptions,
  type MonitorWarning,
  QueueMonitor,
} from './operations/queue-monitor.ts'
export { serveDashboard } from './operations/serve-dashboard.ts'
export type { Watched, WatchedLane, WatchedMetrics } from './operations/watched.ts'
export { stableHash } from './schedule/hash.ts'
