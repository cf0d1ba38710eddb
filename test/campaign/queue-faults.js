// Queue faults: what the queue campaign does to workers, connections and Redis. Each fault is
// written into the ledger before it begins and after it is over, so that the judge can explain with
// it.

import { setTimeout as sleep } from 'node:timers/promises'

/** What all faults write for everybody instead of a process. */
const ALL = 0

/**
 * A fault that lasts.
 *
 * @param {object} round
 * @param {string} kind - As the ledger has it.
 * @param {number} pid
 * @param {{ begin: () => unknown, ms?: number, end?: () => unknown }} what
 */
async function last(round, kind, pid, { begin, ms = 0, end = () => {} }) {
  round.ledger.write('fault', kind, pid)
  await begin()
  await sleep(ms)
  await end()
  round.ledger.write('over', kind, pid)
}

/** A fault of one connection through a proxy, until all passes again. */
function block(round, kind, begin) {
  const { pid, proxy } = round.anyEnd()
  const ms = round.random.between(50, 2 * round.leaseMs)
  return last(round, kind, pid, { begin: () => begin(proxy), ms, end: () => proxy.pass() })
}

/** By kind. Each is given the round and resolves when it is over. */
const FAULTS = {
  kill: (round) => round.workers.replace(round.anyWorker()),

  freeze: (round) => {
    const worker = round.anyWorker()
    const ms = round.leaseMs * (1.2 + round.random.below(10) / 10)
    const [begin, end] = ['SIGSTOP', 'SIGCONT'].map((name) => () => worker.signal(name))
    return last(round, 'freeze', worker.pid, { begin, ms, end })
  },

  redis: (round) => {
    const { redis, random } = round
    const ms = random.between(0, 600)
    return last(round, 'redis', ALL, { begin: () => redis.kill(), ms, end: () => redis.restart() })
  },

  cut: (round) => {
    const { pid, proxy } = round.anyEnd()
    return last(round, 'cut', pid, { begin: () => proxy.cut() })
  },

  'cut all': (round) => last(round, 'cut-all', ALL, { begin: () => round.killClients() }),
  replies: (round) => block(round, 'replies', (proxy) => proxy.dropReplies()),
  'half-open': (round) => block(round, 'half-open', (proxy) => proxy.dropAll()),

  change: async (round) => {
    const others = round.workers.running
    await round.workers.add()
    await sleep(round.random.between(0, round.leaseMs))
    await round.workers.leave(round.random.oneOf(others.filter(({ isRunning }) => isRunning)))
  },

  poison: (round) => round.submitOne('poison'),
  'no handler': (round) => round.submitOne('nobody'),
  broken: (round) => round.submitOne('broken'),
  undecodable: (round) => round.addGarbage(),
}

/**
 * Does something bad and waits until it is over.
 *
 * @param {string} kind - One of `FAULTS` of the plan.
 * @param {object} round
 */
export async function inflict(kind, round) {
  await FAULTS[kind](round)
}
