// Map commands: runs a handler over everything an iterable yields, in bounded memory.
// Thread: main.   Owns: the commands in flight for one iteration.

import { boolean, integer, type OptionRules } from '../base/options.ts'
import type { CommandOptions } from '../model/command.ts'

/** Options of `map`; those of a command apply to every one. */
export interface MapOptions extends Omit<CommandOptions, 'transferList'> {
  /** Commands in flight at a time, 1 to 65,536. Default 128. */
  readonly concurrency?: number | undefined
  /** Whether results come in the order of the source, or as they are done. Default true. */
  readonly ordered?: boolean | undefined
}

/** The rules of what {@link MapOptions} adds to a command's options. */
export const MAP_RULES = Object.freeze({
  concurrency: integer(128, 1, 65_536),
  ordered: boolean(true),
}) satisfies OptionRules

interface Done<R> {
  readonly index: number
  readonly result: Promise<R>
}

/**
 * Runs a command for each item. The source is read only as fast as results are taken. A failure
 * ends the iteration with it; leaving the loop early closes the source. Commands in flight run on.
 *
 * @param source - What to iterate.
 * @param concurrency - Commands in flight at a time.
 * @param ordered - Whether results come in the order of the source.
 * @param submit - Submits a command for an item.
 */
export async function* mapCommands<T, R>(
  source: AsyncIterable<T> | Iterable<T>,
  concurrency: number,
  ordered: boolean,
  submit: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const iterator = iterate(source)
  const flights = new Map<number, Promise<Done<R>>>()
  let submitted = 0
  let isSourceEmpty = false
  let reading: Promise<IteratorResult<T>> | undefined
  try {
    for (;;) {
      if (!isSourceEmpty && flights.size < concurrency) reading ??= read(iterator)
      if (reading === undefined && flights.size === 0) return
      // A slow source must not hold back results that are there already.
      const first = await Promise.race(nextEvents(reading, flights, ordered))
      if ('index' in first) {
        flights.delete(first.index)
        yield await first.result
        continue
      }
      reading = undefined
      if (first.done) {
        isSourceEmpty = true
        continue
      }
      const index = submitted++
      const result = submit(first.value)
      const done = { index, result }
      // Settles when the result does, and never rejects: the result is awaited when it is yielded.
      const settled = () => done
      flights.set(index, result.then(settled, settled))
    }
  } finally {
    if (reading !== undefined) {
      // A generator's `return` waits for its pending `next`, which may never come.
      reading.catch(() => {})
      void Promise.resolve(iterator.return?.()).catch(() => {})
    } else if (!isSourceEmpty) await iterator.return?.()
  }
}

async function read<T>(iterator: AsyncIterator<T> | Iterator<T>): Promise<IteratorResult<T>> {
  return iterator.next()
}

function* nextEvents<T, R>(
  reading: Promise<IteratorResult<T>> | undefined,
  flights: ReadonlyMap<number, Promise<Done<R>>>,
  ordered: boolean,
): Generator<Promise<IteratorResult<T> | Done<R>>> {
  if (reading !== undefined) yield reading
  for (const flight of flights.values()) {
    yield flight
    if (ordered) return
  }
}

function iterate<T>(source: AsyncIterable<T> | Iterable<T>): AsyncIterator<T> | Iterator<T> {
  return Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
}
