// Queue plan: what one round of the queue campaign does, from a seed alone: its queue, its commands
// and its faults. How many commands there are depends on how long the faults take.

export const KEYS = 12
export const WORKERS = 3

/** Faults of a campaign, by kind: how often they come in all. */
export const FAULTS = {
  kill: 100,
  freeze: 50,
  redis: 20,
  cut: 60,
  'cut all': 20,
  replies: 30,
  'half-open': 20,
  change: 50,
  poison: 10,
  undecodable: 10,
  'no handler': 10,
}

/** Queues of the rounds, in turn. */
export const SETTINGS = [
  { strategy: 'hash', partitions: 6 },
  { strategy: 'roundRobin', partitions: 4 },
  { strategy: 'hash', partitions: 2 },
]

/**
 * The faults of a round: its share of all of them, shuffled.
 *
 * @param {Generator} random
 * @param {Readonly<Record<string, number>>} faults - Of the campaign.
 * @param {number} round
 * @param {number} rounds
 */
export function planFaults(random, faults, round, rounds) {
  const kinds = Object.entries(faults).flatMap(([kind, count]) => {
    const share = Math.floor((count * (round + 1)) / rounds) - Math.floor((count * round) / rounds)
    return Array.from({ length: share }, () => kind)
  })
  return random.shuffled(kinds)
}

/** Makes the commands of a round, one after the other. */
export class CommandSource {
  #random
  #isKeyed
  #sequences = new Map()
  /** By index. */
  commands = []

  constructor(random, { strategy }) {
    this.#random = random
    this.#isKeyed = strategy === 'hash'
  }

  /**
   * @param {string} [forced] - Its type, if that is not left to chance.
   */
  next(forced) {
    const random = this.#random
    const index = this.commands.length
    const kind = random.below(100)
    const type = forced ?? (kind < 72 ? 'work' : kind < 94 ? 'later' : 'flaky')
    const isPlain = type === 'work' || type === 'later'
    // A retry leaves its place in the order, so what fails has no key.
    const key = this.#isKeyed && isPlain && random.percent(80) ? random.below(KEYS) : undefined
    let sequence
    if (key !== undefined) {
      sequence = this.#sequences.get(key) ?? 0
      this.#sequences.set(key, sequence + 1)
    }
    const command = {
      index,
      type,
      key,
      sequence,
      lane: key === undefined ? random.oneOf(['fast', 'plain']) : 'plain',
      us: type === 'work' ? random.between(50, 1_500) : random.between(500, 8_000),
      // Keyed commands go one way, since two ways have no order between them.
      road: key !== undefined || random.percent(60) ? 'submitter' : 'queue',
    }
    this.commands.push(command)
    return command
  }
}
