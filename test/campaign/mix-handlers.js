// Handlers of the mix campaign: all ways to end, to wait and to print back.

import { setTimeout as sleep } from 'node:timers/promises'
import { workerData as words } from 'node:worker_threads'

/** Counts in word 0 when it runs beside another command of its key. */
async function alone({ key }, run) {
  if (key === undefined) return run()
  const word = Number(key.slice(1))
  if (Atomics.add(words, word, 1) > 0) Atomics.add(words, 0, 1)
  try {
    return await run()
  } finally {
    Atomics.sub(words, word, 1)
  }
}

export const teardown = ({ incarnation }) => sleep((incarnation * 37) % 100)

export const echo = (payload) => payload
export const bytes = (count) => new Uint8Array(count)
export const text = (count) => 'é'.repeat(count)

export function busy(ms) {
  const endMs = performance.now() + ms
  while (performance.now() < endMs);
  return ms
}

export const nap = (ms, context) => alone(context, () => sleep(ms, ms))
export const politeNap = (ms, context) =>
  alone(context, () => sleep(ms, ms, { signal: context.signal }))

export function fail(payload) {
  throw new Error(`mix: ${payload}`)
}

export async function failLater() {
  await sleep(1)
  throw new TypeError('mix: later')
}

export const exit = (code) => process.exit(code)

export function loop() {
  for (;;);
}

export const uncloneable = () => ({ method() {} })

export async function report(count, context) {
  for (let i = 0; i < count; i++) {
    context.progress({ i, text: 'x'.repeat(i) })
    if (i % 10 === 0) await sleep(1)
  }
  return count
}

export async function* later(count) {
  for (let i = 0; i < count; i++) {
    yield 'v'.repeat(i % 700)
    if (i % 50 === 0) await sleep(1)
  }
}

export function* numbers(count) {
  for (let i = 0; i < count; i++) yield i
}

/** Waits for a command of its own. */
export const call = ({ lane, type, payload, options, follows }, context) =>
  alone(context, () => {
    const signal = follows ? { signal: context.signal } : {}
    return context.submit(lane, type, payload, { ...options, ...signal })
  })

/** Leaves one behind. */
export const leave = async ({ lane, type, payload, options }, context) => {
  await context.submit(lane, type, payload, { ...options, wait: false })
  return 'left'
}
