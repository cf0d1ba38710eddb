// Bench workloads: the sequences of commands on which partition strategies are compared.
// Owns: nothing; the same seed gives the same sequence.

import { randomFrom } from '../base/random.ts'

/** A command of a workload. */
export interface TrialCommand {
  readonly key: string | undefined
  readonly payload: unknown
}

/** A sequence of commands, repeated as long as it is measured. */
export interface Workload {
  readonly name: string
  /** A phrase for reports. */
  readonly about: string
  readonly commands: readonly TrialCommand[]
  /**
   * Commands that come all at once before a pause; 0: as many as may be in flight, all the time.
   */
  readonly burst: number
}

const KEYS = 1_000
const LENGTH = 20_000
const SEED = 20_261_124

/** Work of a short and of a long command, in iterations of the built-in handler. */
export const SHORT_WORK = 40_000
const LONG_FACTOR = 50

/** How much more often the first key comes than the k-th: k to this power. */
const ZIPF = 1.1

/** Share of the commands that has the one hot key. */
const HOT_SHARE = 0.7

/** Every so many commands one is long. */
const LONG_EVERY = 20

/** Draws ranks from 0 up by Zipf's law: inverse of the summed weights. */
function zipfFrom(random: () => number): () => number {
  const sums: number[] = []
  let sum = 0
  for (let rank = 1; rank <= KEYS; rank++) {
    sum += rank ** -ZIPF
    sums.push(sum)
  }
  return () => {
    const drawn = random() * sum
    return sums.findIndex((upTo) => drawn < upTo)
  }
}

function repeat(draw: (index: number) => TrialCommand): TrialCommand[] {
  return Array.from({ length: LENGTH }, (_, index) => draw(index))
}

export function builtInWorkloads(): Workload[] {
  const random = randomFrom(SEED)
  const zipf = zipfFrom(random)
  const uniform = () => `key-${Math.floor(random() * KEYS)}`
  const short = (key: string): TrialCommand => ({ key, payload: SHORT_WORK })
  const uniformCommands = repeat(() => short(uniform()))
  return [
    {
      name: 'uniform',
      about: `${KEYS} keys, each as often as any other`,
      commands: uniformCommands,
      burst: 0,
    },
    {
      name: 'zipf',
      about: `${KEYS} keys by Zipf's law, exponent ${ZIPF}`,
      commands: repeat(() => short(`key-${zipf()}`)),
      burst: 0,
    },
    {
      name: 'hot key',
      about: `one key has ${HOT_SHARE * 100} % of the commands`,
      commands: repeat(() => short(random() < HOT_SHARE ? 'hot' : uniform())),
      burst: 0,
    },
    {
      name: 'long and short',
      about: `every ${LONG_EVERY}th command is ${LONG_FACTOR} times as long`,
      commands: repeat((index) => ({
        key: uniform(),
        payload: index % LONG_EVERY === 0 ? SHORT_WORK * LONG_FACTOR : SHORT_WORK,
      })),
      burst: 0,
    },
    {
      name: 'bursts',
      about: '200 commands at once, then a pause of 5 ms',
      commands: uniformCommands,
      burst: 200,
    },
  ]
}

/**
 * A workload of the user's own keys.
 *
 * @param lines - A key each, or a JSON object with `key` and `payload`.
 * @param payload - Of commands whose line has none.
 * @throws SyntaxError naming the line that is neither.
 */
export function workloadOf(lines: readonly string[], payload: unknown): Workload {
  const commands = lines.map((line, index): TrialCommand => {
    if (!line.startsWith('{')) return { key: line, payload }
    let members: Record<string, unknown>
    try {
      members = JSON.parse(line)
    } catch (cause) {
      throw new SyntaxError(`line ${index + 1} of the keys is no JSON object`, { cause })
    }
    const key = members.key === undefined ? undefined : String(members.key)
    return { key, payload: 'payload' in members ? members.payload : payload }
  })
  const keys = new Set(commands.map(({ key }) => key)).size
  const about = `${commands.length} commands of yours with ${keys} keys`
  return { name: 'yours', about, commands, burst: 0 }
}
