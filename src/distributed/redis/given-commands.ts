// Given commands: takes apart what the lease script gives.
// Thread: main.   Owns: nothing.

/** A command as the script gives it. */
export interface GivenCommand {
  /** Number of its lane in the request, from 1. */
  readonly lane: number
  readonly entry: string
  readonly counter: number
  readonly value: Buffer
}

/**
 * Takes commands apart: each a line with lane, entry, counter and length, and then so many bytes.
 */
export function* commandsOf(packed: Buffer): Generator<GivenCommand> {
  for (let at = 0; at < packed.length; ) {
    const start = packed.indexOf(10, at) + 1
    const [lane, entry, counter, length] = packed.toString('latin1', at, start - 1).split(' ')
    at = start + Number(length)
    yield {
      lane: Number(lane),
      entry: entry!,
      counter: Number(counter),
      value: packed.subarray(start, at),
    }
  }
}
