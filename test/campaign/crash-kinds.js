// Crash kinds: the ways in which a campaign ends threads, and how the death of a thread is known to
// be of a kind.

/** Exit codes of threads are this and the index of their kind. */
export const EXIT_BASE = 20

/** A run of a command with a time-out may take so long, and its handler so much longer. */
export const TIMEOUT_MS = 40
export const GRACE_MS = 15

const kind = (name, type, more) => {
  const none = { settles: false, isTimed: false, isKilled: false, codes: [] }
  return { name, type, ...none, ...more }
}

/** A handler of `die`, by its name; `settles` if the command itself ends well. */
const die = (name, settles) => kind(name, 'die', { settles })

/** A handler that runs into its time-out. */
const timed = (name, type) => kind(name, type, { isTimed: true, codes: ['CORELANE_TIMEOUT'] })

/** All of them. */
export const KINDS = [
  die('throw in a timer', true),
  die('throw in an immediate', true),
  die('unhandled rejection', true),
  die('stack overflow outside', true),
  die('exit in a timer', true),
  die('process.exit', false),
  die('exit after an await', false),
  die('throw beside a promise', false),
  die('heap limit', false),
  die('exit, then a stillborn', false),
  timed('time-out: busy loop', 'loop'),
  timed('time-out: regular expression', 'regexp'),
  timed('time-out: Atomics.wait', 'wedge'),
  timed('time-out: promise left open', 'deaf'),
  timed('time-out: brotliCompressSync', 'brotli'),
  timed('time-out: pbkdf2Sync', 'pbkdf2'),
  timed('time-out: execSync', 'exec'),
  kind('killed by its signal', 'victim', { isKilled: true, codes: ['CORELANE_ABORTED'] }),
].map((one, index) => ({ ...one, index }))

/**
 * The kind of a thread's death; -1 if it is none of ours.
 *
 * @param {any} lost - The PartitionLostError of the event `queue.partition.lost`.
 */
export function kindOfDeath(lost) {
  const { cause, details } = lost
  const code = cause?.code
  if (code === 'CORELANE_ABORTED') return KINDS.findIndex(({ isKilled }) => isKilled)
  if (code === 'CORELANE_TIMEOUT') return KINDS.findIndex(({ type }) => type === cause.details.type)
  if (code === 'ERR_WORKER_OUT_OF_MEMORY') return named('heap limit')
  const message = String(cause?.message ?? cause)
  if (message.startsWith('campaign: ')) return named(message.slice('campaign: '.length))
  if (message.includes('Maximum call stack')) return named('stack overflow outside')
  if (cause === undefined && KINDS[details.exitCode - EXIT_BASE]) {
    return details.exitCode - EXIT_BASE
  }
  return -1
}

function named(name) {
  return KINDS.findIndex((one) => one.name === name)
}
