// Worker tally: counts what has become of the commands of a worker.
// Thread: main.   Owns: nothing.

/** What has become of the commands of a worker. */
export interface WorkerTally {
  /** Deliveries taken. */
  leased: number
  /** Completed with what their handler gave. */
  completed: number
  /** Completed with a failure: they were late. */
  failed: number
  /** Given back to run again after a failure. */
  retried: number
  /** Put among the dead. */
  buried: number
  /** Given back because their thread died. */
  crashed: number
  /** Given back unstarted. */
  returned: number
  /** Leases that were given up or taken away. */
  lost: number
  /** Ends that came too late: the queue had given the command to another worker. */
  stale: number
  /** Ends that the queue took in no form. */
  dropped: number
}

/** A tally of nothing. */
export function newTally(): WorkerTally {
  return {
    leased: 0,
    completed: 0,
    failed: 0,
    retried: 0,
    buried: 0,
    crashed: 0,
    returned: 0,
    lost: 0,
    stale: 0,
    dropped: 0,
  }
}
