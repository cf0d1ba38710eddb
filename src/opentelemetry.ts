// The door of OpenTelemetry: spans and metrics by the API that the application has.
// Thread: main and partition.

export { instrument } from './operations/telemetry.ts'
