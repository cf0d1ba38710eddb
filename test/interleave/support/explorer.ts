// Explorer: runs two real threads through every interleaving of their atomic operations, up to a
// number of preemptions, after "A poor man's loom".
//
// It runs one schedule after another. Each starts with a prefix that says which thread takes which
// step; past the prefix whoever runs goes on until it sleeps or ends. Every step at which the other
// thread could have run instead gives a prefix to try later, unless that takes more preemptions
// than the bound. So no schedule is run twice and none within the bound is left out.
//
// The threads take turns by themselves, by the same rule: waking this thread for each turn would
// cost more than the steps do.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { CommonsWord, SLOT_COUNT, Word } from '../../../src/memory/layout.ts'
import { range } from '../../support/range.ts'

const Status = Object.freeze({ RUNNING: 0, PAUSED: 1, ASLEEP: 2, DROWSY: 3, FINISHED: 4 })
const Log = Object.freeze({
  THREAD: 0,
  OPERATION: 1,
  ADDRESS: 2,
  VALUE: 3,
  WOKE: 4,
  COST: 5,
  WORDS: 6,
})

const OPERATIONS = [
  'load',
  'store',
  'add',
  'sub',
  'and',
  'or',
  'xor',
  'exchange',
  'compareExchange',
  'notify',
  'waitAsync',
  'sleepOn',
]
const STEPS_MAX = 1000
const OUTCOME_WORDS = 64

/** Int32 indices into the memory that the explorer and its threads talk through. */
const layout = Object.freeze({
  Status,
  Log,
  OPERATIONS,
  STEPS_MAX,
  OUTCOME_WORDS,
  SHADOW_WORDS: 10,
  MEMORY_STRIDE: 2 ** 16,
  STORE_WAKES: 2 ** 28,
  STATUS: 0,
  GRANT: 2,
  WAIT: 4,
  WOKEN: 6,
  STEPS: 8,
  LEAVE: 9,
  RACED: 10,
  TEXT_LENGTH: 11,
  ERROR_LENGTH: 12,
  TIME: 13,
  /** 1 while the threads take turns by themselves. */
  FREE: 14,
  /** The cost of letting the other thread make the first step of a turn instead. */
  COST: 15,
  /** Threads that start or make steps: this one goes on when there is none. */
  BUSY: 16,
  PREFIX_LENGTH: 17,
  OUTCOME: 18,
  LOG: 18 + OUTCOME_WORDS,
  PREFIX: 18 + OUTCOME_WORDS + STEPS_MAX * Log.WORDS,
  /** Byte offsets into the text. */
  COMMAND_TEXT: 0,
  ERROR_TEXT: 2048,
})

const ANSWER_MS = 30_000

/** For long runs: so many preemptions more than a test asks for. */
const PREEMPTIONS_MORE = Number(process.env.CORELANE_PREEMPTIONS_MORE ?? 0)

/** Two programs and the memory that they start with. */
export interface Scenario {
  /** Name of the pair of programs in interleave-programs.js. */
  readonly name: string
  /** Given to both programs. */
  readonly options?: Readonly<Record<string, unknown>>
  /** Words that are not zero when the programs start, by index. */
  readonly region: Readonly<Record<number, number>>
  readonly commons: Readonly<Record<number, number>>
  /** Which threads must end. The others may sleep for ever. Default: both. */
  readonly mustEnd?: readonly number[]
  /** Looks at what the programs left; answers what is wrong. */
  readonly verdict?: (outcome: Int32Array) => string | undefined
}

/** What an exploration found. */
export interface Exploration {
  /** Schedules that were run. */
  readonly schedules: number
  /** Most steps that one of them had. */
  readonly stepsMax: number
  /** The first schedule that went wrong: what happened, and every step. */
  readonly violation: string | undefined
}

interface Prefix {
  readonly threads: readonly number[]
  readonly preemptions: number
}

interface Run {
  /** Which thread took each step. */
  readonly threads: number[]
  /** Preemptions that it takes to let the other thread run instead; -1 where it could not. */
  readonly costs: number[]
  readonly violation: string | undefined
}

/** Owns two threads; `close` ends them. */
export class Explorer {
  readonly #words: Int32Array
  readonly #text: Buffer
  readonly #memories: SharedArrayBuffer[]
  readonly #shadows: SharedArrayBuffer[]
  readonly #workers: Worker[]

  /**
   * @param regionBytes - Bytes of the region.
   * @param commonsBytes - Bytes of the commons.
   */
  constructor(regionBytes: number, commonsBytes: number) {
    const control = new SharedArrayBuffer((layout.PREFIX + STEPS_MAX) * 4)
    const text = new SharedArrayBuffer(8192)
    this.#words = new Int32Array(control)
    this.#words[layout.BUSY] = 2
    this.#text = Buffer.from(text)
    this.#memories = [regionBytes, commonsBytes].map((bytes) => new SharedArrayBuffer(bytes))
    this.#shadows = this.#memories.map(
      ({ byteLength }) => new SharedArrayBuffer(byteLength * layout.SHADOW_WORDS),
    )
    const shared = { control, text, memories: this.#memories, shadows: this.#shadows }
    this.#workers = [0, 1].map(
      (thread) =>
        new Worker(new URL('../../fixtures/interleave-thread.js', import.meta.url), {
          workerData: { thread, layout, ...shared },
        }),
    )
  }

  /** Waits until both threads are up. */
  async ready(): Promise<void> {
    const deaths = this.#workers.map(async (worker) => {
      throw (await once(worker, 'error'))[0]
    })
    await Promise.race([...deaths, this.#starts()])
  }

  async #starts(): Promise<void> {
    for (let left = 2; left > 0; left = Atomics.load(this.#words, layout.BUSY)) {
      const { value } = Atomics.waitAsync(this.#words, layout.BUSY, left, ANSWER_MS)
      if ((await value) === 'timed-out') throw new Error('a thread of the explorer did not start')
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()))
  }

  /**
   * Explores a scenario until a schedule goes wrong.
   *
   * @param scenario - What to run.
   * @param preemptionsMax - How often a thread that could go on may be stopped for the other.
   */
  explore(scenario: Scenario, preemptionsMax: number): Exploration {
    const waiting: Prefix[] = [
      { threads: [1], preemptions: 0 },
      { threads: [0], preemptions: 0 },
    ]
    let schedules = 0
    let stepsMax = 0
    for (let prefix = waiting.pop(); prefix !== undefined; prefix = waiting.pop()) {
      const { threads, costs, violation } = this.#run(scenario, prefix.threads)
      schedules++
      stepsMax = Math.max(stepsMax, threads.length)
      if (violation !== undefined) return { schedules, stepsMax, violation }
      for (let at = prefix.threads.length; at < threads.length; at++) {
        const preemptions = prefix.preemptions + costs[at]!
        if (costs[at] === -1 || preemptions > preemptionsMax + PREEMPTIONS_MORE) continue
        waiting.push({ threads: [...threads.slice(0, at), 1 - threads[at]!], preemptions })
      }
    }
    return { schedules, stepsMax, violation: undefined }
  }

  /**
   * Ends thread 1 for good after some steps, and then runs thread 0 to its end.
   *
   * @param scenario - What to run.
   * @param steps - Steps of thread 1 before its death.
   * @returns Whether thread 1 had more to do, and what went wrong.
   */
  die(scenario: Scenario, steps: number): { wasBusy: boolean; violation: string | undefined } {
    this.#reset(scenario)
    this.#grant(0, 1)
    this.#grant(1, 1)
    if (steps > 0) this.#grant(1, steps)
    const wasBusy = this.#words[layout.STATUS + 1] === Status.PAUSED
    this.#grant(0, STEPS_MAX)
    const violation = this.#judge({ ...scenario, mustEnd: [0] })
    if (violation === undefined) return { wasBusy, violation }
    return { wasBusy, violation: `${violation}\n${this.#describe(scenario)}` }
  }

  #run(scenario: Scenario, prefix: readonly number[]): Run {
    const words = this.#words
    this.#reset(scenario)
    words.set(prefix, layout.PREFIX)
    words[layout.PREFIX_LENGTH] = prefix.length
    this.#grant(0, 1)
    words[layout.FREE] = 1
    this.#grant(1, 1)
    words[layout.FREE] = 0
    const steps = range(Math.min(words[layout.STEPS]!, STEPS_MAX))
    const logs = steps.map((at) => layout.LOG + at * Log.WORDS)
    const threads = logs.map((log) => words[log + Log.THREAD]!)
    const costs = logs.map((log) => words[log + Log.COST]!)
    const violation = this.#judge(scenario)
    if (violation === undefined) return { threads, costs, violation }
    return { threads, costs, violation: `${violation}\n${this.#describe(scenario)}` }
  }

  /** Lets a thread make steps, and waits until it has, or sleeps, or ends; or all do, if free. */
  #grant(thread: number, steps: number): void {
    const words = this.#words
    words[layout.BUSY] = 1
    words[layout.STATUS + thread] = Status.RUNNING
    Atomics.store(words, layout.GRANT + thread, steps)
    Atomics.notify(words, layout.GRANT + thread)
    while (Atomics.load(words, layout.BUSY) > 0) {
      if (Atomics.wait(words, layout.BUSY, 1, ANSWER_MS) === 'timed-out') {
        throw new Error(`thread ${thread} does not answer\n${this.#describe(undefined)}`)
      }
    }
  }

  #reset(scenario: Scenario): void {
    const words = this.#words
    words[layout.LEAVE] = 1
    for (const thread of [0, 1]) {
      if (words[layout.STATUS + thread] !== Status.FINISHED) this.#grant(thread, 1)
    }
    words.fill(0, layout.WAIT, layout.LOG)
    words.fill(-1, layout.WAIT, layout.WAIT + 2)
    for (const memory of [...this.#memories, ...this.#shadows]) new Int32Array(memory).fill(0)
    for (const [at, initial] of [scenario.region, scenario.commons].entries()) {
      const memory = new Int32Array(this.#memories[at]!)
      for (const [index, value] of Object.entries(initial)) memory[Number(index)] = value
    }
    const command = JSON.stringify({ scenario: scenario.name, options: scenario.options ?? {} })
    words[layout.TEXT_LENGTH] = this.#text.write(command, layout.COMMAND_TEXT)
  }

  #judge({ mustEnd = [0, 1], verdict }: Scenario): string | undefined {
    const words = this.#words
    const errorLength = words[layout.ERROR_LENGTH]!
    if (errorLength > 0) {
      const { ERROR_TEXT, RACED } = layout
      const error = this.#text.toString('utf8', ERROR_TEXT, ERROR_TEXT + errorLength)
      return words[RACED] === 0 ? error : `${error} of ${nameOf(words[RACED]! - 1)}`
    }
    for (const thread of mustEnd) {
      if (words[layout.STATUS + thread] !== Status.FINISHED)
        return `thread ${thread} sleeps for ever`
    }
    return verdict?.(words.subarray(layout.OUTCOME, layout.LOG))
  }

  /** The schedule that was run, a line for each step. */
  #describe(scenario: Scenario | undefined): string {
    const words = this.#words
    const lines = [`schedule of ${scenario?.name} ${JSON.stringify(scenario?.options ?? {})}:`]
    for (let at = 0; at < words[layout.STEPS]!; at++) {
      const log = words.subarray(layout.LOG + at * Log.WORDS)
      const thread = log[Log.THREAD]!
      const operation = `${OPERATIONS[log[Log.OPERATION]!]} ${nameOf(log[Log.ADDRESS]!)}`
      const woke = log[Log.WOKE] === 1 ? `, wakes thread ${1 - thread}` : ''
      lines.push(`${'  '.repeat(12 * thread)}${thread}: ${operation} → ${log[Log.VALUE]}${woke}`)
    }
    return lines.join('\n')
  }
}

/** What a word of the explored memory is called. */
function nameOf(address: number): string {
  const index = address % layout.MEMORY_STRIDE
  const isCommons = Math.floor(address / layout.MEMORY_STRIDE) === 1
  let best: [string, number] = ['', 0]
  for (const entry of Object.entries(isCommons ? CommonsWord : Word)) {
    if (entry[1] <= index && entry[1] >= best[1]) best = entry
  }
  const offset = index - best[1]
  if (offset >= SLOT_COUNT) return `ring byte ${(offset - SLOT_COUNT) * 4}`
  return `${isCommons ? 'commons ' : ''}${best[0]}${offset === 0 ? '' : `+${offset}`}`
}
