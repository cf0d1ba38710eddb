// Incident: what an engine on Redis got over by itself and somebody should know.

import { callListener } from '../../base/clock.ts'

/** Something that is not as it should be. `detail` is for people and holds no secrets. */
export interface RedisIncident {
  readonly kind: /** `open` could not connect. It tries again until `openTimeoutMs` is up. */
    | 'unreachable'
    | 'connection-lost'
    | 'connection-back'
    /** No answer came: whether it was done is unknown, and it is done again. */
    | 'answer-lost'
    /** Redis refused a call for now (LOADING, BUSY, OOM, READONLY …). The call is repeated. */
    | 'not-ready'
    /** An entry could not be decoded. It is among the dead. */
    | 'undecodable'
    /** A command was given out as often as it may be. It is among the dead. */
    | 'poisoned'
    /** Redis may lose what it has when it restarts. */
    | 'not-durable'
    /** Redis may throw keys away when its memory is full. */
    | 'evicts'
    /** Redis has forgotten the queue: it was flushed, or restarted without its data. */
    | 'data-lost'
  readonly detail: string
}

/** Makes a function that tells a listener, so that its errors do not come back here. */
export function incidentReporter(
  listener: ((incident: RedisIncident) => void) | undefined,
): (kind: RedisIncident['kind'], detail: string) => void {
  return (kind, detail) => {
    if (listener !== undefined) callListener(listener, Object.freeze({ kind, detail }))
  }
}
