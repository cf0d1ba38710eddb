// Handlers of the mix campaign: all ways to end, to wait and to print back.

import { setTimeout as sleep } from 'node:timers/promises'

export const echo = (payload) => payload
export const bytes = (count) => new Uint8Array(count)
export const text = (count) => 'é'.repeat(count)

export function busy(ms) {
  const endMs = performance.now() + ms
  while (performance.now() < endMs);
  return ms
}

export const nap = (ms) => sleep(ms, ms)
export const politeNap = (ms, { signal }) => sleep(ms, ms, { signal })

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
export const call = ({ lane, type, payload }, context) => context.submit(lane, type, payload)

/** Leaves one behind. */
export const leave = async ({ lane, type, payload }, context) => {
  await context.submit(lane, type, payload, { wait: false })
  return 'left'
}
