// Incident: a fault that a worker pool or a submitter handles, as its operator learns it.

import { callListener } from '../base/clock.ts'

/** Something went wrong and was dealt with. */
export interface QueueIncident {
  readonly what: /** A call of the queue failed; it is repeated. */
    | 'queue-failed'
    /** Leases could not be extended in time: the commands were stopped and will run elsewhere. */
    | 'leases-expired'
    /** The queue said that leases had ended: the commands were stopped. */
    | 'leases-taken'
    /** The event loop was held up for so long that nothing is leased until it turns again. */
    | 'loop-held-up'
    /** The queue manager is full: nothing is taken for a moment. */
    | 'manager-refused'
    /**
     * The manager can run nothing: it was closed, its handlers do not load, or a partition has no
     * thread and gets none. Commands not started were given back, and none is taken until then.
     */
    | 'worker-unfit'
    /** The manager can run commands again, after a reload or by itself. */
    | 'worker-fit'
    /** The manager's module has no handler of this type: the commands are handed on for a while. */
    | 'handler-unknown'
    /** The queue takes the end of a command in no form; its lease will expire. */
    | 'end-dropped'
    /** Commands of these lanes wait, and no live worker takes them. */
    | 'lane-unserved'
    /** Commands wait that name these handlers, and no live worker has them. */
    | 'handler-unserved'
    /** The queue knows nothing of commands it had accepted: they were enqueued again. */
    | 'commands-lost'
  /** What failed, if something did. */
  readonly error?: unknown
  /** Ids of the commands that are concerned, if some are. */
  readonly commandIds?: readonly string[]
  /** Names of the lanes that are concerned, if some are. */
  readonly laneIds?: readonly string[]
  /** Names of the handlers that are concerned, if some are. */
  readonly handlers?: readonly string[]
}

/** Receives incidents. */
export type IncidentListener = (incident: QueueIncident) => void

/**
 * Tells a listener of incidents.
 *
 * @param listener - The caller's. Its errors are the caller's own, as in an event listener.
 */
export function incidentTeller(listener: IncidentListener | undefined): IncidentListener {
  return (incident) => {
    if (listener !== undefined) callListener(listener, incident)
  }
}
