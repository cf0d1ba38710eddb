// Handlers of the mix campaign: all ways to end, to wait and to print back.

import { setTimeout as sleep } from 'node:timers/promises'
import { workerData } from 'node:worker_threads'
import { MixLedger } from './mix-ledger.js'

const ledger = new MixLedger(workerData)

/** A handler whose runs are noted. */
const noted = (run) => (payload, context) => {
  const leave = ledger.enter(context)
  let result
  try {
    result = run(payload, context)
  } catch (error) {
    leave()
    throw error
  }
  if (result instanceof Promise) return result.finally(leave)
  leave()
  return result
}

/** A stream whose runs are noted; sleeps after so many values. */
const notedStream = (valueAt, napsAfter) =>
  async function* (count, context) {
    const leave = ledger.enter(context)
    try {
      for (let i = 0; i < count; i++) {
        yield valueAt(i)
        if (i % napsAfter === 0) await sleep(1)
      }
    } finally {
      leave()
    }
  }

export const teardown = ({ incarnation }) => sleep((incarnation * 37) % 100)

export const echo = noted((payload) => payload)
export const bytes = noted((count) => new Uint8Array(count))
export const text = noted((count) => 'é'.repeat(count))

export const busy = noted((ms) => {
  const endMs = performance.now() + ms
  while (performance.now() < endMs);
  return ms
})

export const block = noted((ms) => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
  return ms
})

export const nap = noted((ms) => sleep(ms, ms))
export const politeNap = noted((ms, context) => sleep(ms, ms, { signal: context.signal }))

export const fail = noted((payload) => {
  throw new Error(`mix: ${payload}`)
})

export const failLater = noted(async () => {
  await sleep(1)
  throw new TypeError('mix: later')
})

/** Throws something that is no ordinary error. */
export const failOddly = noted((kind) => {
  if (kind === 0) throw 'mix: text'
  if (kind === 1) throw Object.freeze(new RangeError('mix: frozen'))
  const error = new Error('mix: circular')
  error.self = error
  error.method = kind === 2 ? undefined : () => {}
  throw error
})

export const exit = noted((code) => process.exit(code))

export const loop = noted(() => {
  for (;;);
})

/** Ends its thread by the limit of its heap. */
export const hoard = noted(() => {
  const kept = []
  for (;;) kept.push(Array.from({ length: 2_000 }, () => kept.length))
})

/** Rejects a promise that it does not handle. */
export const floating = noted(() => void Promise.reject(new Error('mix: floating')))

export const uncloneable = noted(() => ({ method() {} }))

export const circular = noted((payload) => {
  const result = { payload, list: [new Map([[1n, new Date(0)]])] }
  result.self = result
  return result
})

export const report = noted(async (count, context) => {
  for (let i = 0; i < count; i++) {
    context.progress({ i, text: 'x'.repeat(i) })
    if (i % 10 === 0) await sleep(1)
  }
  return count
})

/** Goes on with its context after its end. */
export const linger = noted((lane, context) => {
  setTimeout(() => {
    context.progress('late')
    context.submit(lane, 'echo', 1).catch(() => {})
  }, 3)
})

export const later = notedStream((i) => 'v'.repeat(i % 700), 50)

export function* numbers(count) {
  for (let i = 0; i < count; i++) yield i
}

const optionsOf = ({ options, follows }, context) =>
  follows ? { ...options, signal: context.signal } : options

/** Waits for a command of its own. */
export const call = noted(async (given, context) =>
  context.submit(given.lane, given.type, given.payload, optionsOf(given, context)),
)

/** Waits for several of its own at once. */
export const callAll = noted(async (all, context) => {
  const calls = all.map((one) =>
    context.submit(one.lane, one.type, one.payload, optionsOf(one, context)),
  )
  return (await Promise.allSettled(calls)).length
})

/** Leaves one behind. */
export const leave = noted(async ({ lane, type, payload, options }, context) => {
  await context.submit(lane, type, payload, { ...options, wait: false })
  return 'left'
})
