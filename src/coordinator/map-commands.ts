// Map commands: runs a handler over everything an iterable yields, in bounded memory.
// Owns: the commands in flight for one iteration.

import { Deque } from '../base/deque.ts'
import { show } from '../base/errors.ts'
import {
  boolean,
  checkGiven,
  checkOptions,
  integer,
  invalidOption,
  type OptionRules,
} from '../base/options.ts'
import { COMMAND_RULES, type CommandOptions } from '../model/command.ts'

/** Options of `map`; those of a command apply to every one. */
export interface MapOptions extends Omit<CommandOptions, 'transferList'> {
  /** Commands in flight at a time, 1 to 65,536. Default 128. */
  readonly concurrency?: number | undefined
  /** Whether results come in the order of the source, or as they are done. Default true. */
  readonly ordered?: boolean | undefined
  /** Whether a failure is an outcome among others instead of the end. Default false. */
  readonly settle?: boolean | undefined
}

/** {@link MapOptions} with everything filled in. */
export type MapPlan = { readonly [K in keyof typeof MAP_RULES]-?: NonNullable<MapOptions[K]> }

/** How the command of one input ended. */
export type MapOutcome<I, R> = {
  readonly input: I
  /** The place of the input in the source, from 0. */
  readonly index: number
} & ({ readonly ok: true; readonly value: R } | { readonly ok: false; readonly error: unknown })

/** Where a failure of `map` has its `input` and its `index` in the source. */
export const mapInput: unique symbol = Symbol.for('corelane.map-input') as never

/** The rules of the options that {@link MapOptions} adds to a command's options. */
export const MAP_RULES = Object.freeze({
  concurrency: integer(128, 1, 65_536),
  ordered: boolean(true),
  settle: boolean(false),
}) satisfies OptionRules

const { transferList: _, ...SHARED_RULES } = COMMAND_RULES
const ALL_RULES: OptionRules = { ...MAP_RULES, ...SHARED_RULES }

/**
 * Takes the options of `map` apart: its own, checked, and those of its commands.
 *
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function planMap(options: MapOptions = {}): { plan: MapPlan; others: CommandOptions } {
  checkGiven('map', options, ALL_RULES)
  const { concurrency, ordered, settle, ...others } = options
  return { plan: checkOptions('map', { concurrency, ordered, settle }, MAP_RULES), others }
}

/** A command that was submitted and whose result was not yielded. */
interface Flight {
  readonly input: unknown
  readonly index: number
  readonly result: Promise<unknown>
  isSettled: boolean
}

/**
 * Runs a command for each item. The source is read only as fast as results are taken. A failure
 * ends the iteration with it; leaving the loop early closes the source. Commands in flight run on.
 *
 * @param source - What to iterate.
 * @param plan - Checked options.
 * @param submit - Submits a command for an item.
 */
export async function* mapCommands<T>(
  source: AsyncIterable<T> | Iterable<T>,
  { concurrency, ordered, settle }: MapPlan,
  submit: (item: T) => Promise<unknown>,
): AsyncGenerator<unknown, void, undefined> {
  const iterator = iterate(source)
  /** In order: every flight, as submitted. Otherwise: the settled ones, as they settled. */
  const flights = new Deque<Flight>()
  let inFlight = 0
  let count = 0
  let isSourceOpen = true
  let reading: Promise<IteratorResult<T>> | undefined
  let hasRead = false
  let failure: { readonly error: unknown } | undefined
  // One wait at a time, ended by whatever happens first. A race of all flights would leave a
  // reaction on each of them for every item.
  let wake = () => {}
  const read = () => {
    hasRead = false
    reading = nextOf(iterator)
    const done = () => {
      hasRead = true
      wake()
    }
    reading.then(done, done)
  }
  const launch = (item: T) => {
    const flight = { input: item, index: count++, result: submit(item), isSettled: false }
    inFlight++
    if (ordered) flights.push(flight)
    const settled = () => {
      flight.isSettled = true
      if (!ordered) flights.push(flight)
      wake()
    }
    // Both ways, so that a failure counts as handled until its turn comes.
    flight.result.then(settled, settled)
  }
  const close = async () => {
    if (!isSourceOpen) return
    isSourceOpen = false
    const closed = (async () => iterator.return?.())()
    // A generator's `return` waits for its pending `next`, which may never come.
    if (reading === undefined) await closed
    else closed.catch(() => {})
  }
  try {
    for (;;) {
      if (isSourceOpen && reading === undefined && inFlight < concurrency) read()
      if (hasRead) {
        hasRead = false
        const next = reading!
        reading = undefined
        // One that throws has ended.
        isSourceOpen = false
        let step: IteratorResult<T> | undefined
        try {
          step = await next
        } catch (error) {
          // What is in flight comes first.
          failure = { error }
        }
        isSourceOpen = failure === undefined && !step!.done
        if (isSourceOpen) launch(step!.value)
      } else if (flights.first?.isSettled) {
        const { input, index, result } = flights.shift()!
        inFlight--
        const outcome = await outcomeOf(result, input, index)
        if (settle) yield outcome
        else if (outcome.ok) yield outcome.value
        else throw named(outcome.error, input, index)
      } else if (reading === undefined && inFlight === 0) {
        if (failure !== undefined) throw failure.error
        return
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    }
  } catch (error) {
    // The failure counts, whatever the source says to its end.
    await close().catch(() => {})
    throw error
  } finally {
    await close()
  }
}

async function outcomeOf<I>(
  result: Promise<unknown>,
  input: I,
  index: number,
): Promise<MapOutcome<I, unknown>> {
  try {
    return { input, index, ok: true, value: await result }
  } catch (error) {
    return { input, index, ok: false, error }
  }
}

/** An error that says which input it is about. */
function named(error: unknown, input: unknown, index: number): unknown {
  if (typeof error === 'object' && error !== null && Object.isExtensible(error)) {
    const value = { index, input }
    Object.defineProperty(error, mapInput, { value, enumerable: true, configurable: true })
  }
  return error
}

async function nextOf<T>(iterator: AsyncIterator<T> | Iterator<T>): Promise<IteratorResult<T>> {
  return iterator.next()
}

function iterate<T>(source: AsyncIterable<T> | Iterable<T>): AsyncIterator<T> | Iterator<T> {
  checkSource('map.source', source, true)
  // A string is a source too.
  const { [Symbol.asyncIterator]: open } = source as Partial<AsyncIterable<T>>
  return open === undefined ? (source as Iterable<T>)[Symbol.iterator]() : open.call(source)
}

/**
 * Refuses what cannot be iterated: where the lane was left out, the payloads came as the type.
 *
 * @param mayWait - Whether it may be iterated asynchronously.
 */
export function checkSource(option: string, source: unknown, mayWait: boolean): void {
  const { [Symbol.asyncIterator]: open, [Symbol.iterator]: start } = Object(source)
  if (start !== undefined || (mayWait && open !== undefined)) return
  const only = open === undefined ? '' : ' at once (map takes what comes in time)'
  const allowed = `something that can be iterated${only}, after lane and type`
  throw invalidOption(option, show(source), allowed)
}
