// Handlers of the crash campaign: they keep the ledger, and some of them end their thread.

import { execSync } from 'node:child_process'
import { pbkdf2Sync } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { workerData } from 'node:worker_threads'
import { brotliCompressSync } from 'node:zlib'
import { CrashLedger } from './crash-ledger.js'

const { native, exitBase } = workerData
const ledger = new CrashLedger(workerData)
if (ledger.takeStillborn()) throw new Error('campaign: stillborn')

/** Gives its payload back. */
export function work(payload, context) {
  ledger.enter(payload.index, context.attempt)
  for (const end = performance.now() + payload.us / 1000; performance.now() < end; );
  ledger.leave(payload.index, payload.key)
  return payload
}

/** The same, later. */
export async function later(payload, context) {
  ledger.enter(payload.index, context.attempt)
  if (payload.us > 500) await sleep(payload.us / 1000)
  else await null
  ledger.leave(payload.index, payload.key)
  return payload
}

/** Fails on its first so many attempts. */
export function flaky(payload, context) {
  ledger.enter(payload.index, context.attempt)
  if (context.attempt <= payload.times) throw new RangeError(`command ${payload.index} fails`)
  ledger.leave(payload.index, payload.key)
  return payload
}

const overflow = () => overflow() + 1

const never = () => new Promise(() => {})

/** Ends its thread after its own end: what runs or waits there then is hit. */
const afterwards = {
  'throw in a timer': ({ ms }) => {
    setTimeout(() => {
      throw new Error('campaign: throw in a timer')
    }, ms)
  },
  'throw in an immediate': () => {
    setImmediate(() => {
      // Something other than an error may be thrown, too.
      throw 'campaign: throw in an immediate'
    })
  },
  'unhandled rejection': ({ ms }) => {
    void sleep(ms).then(() => {
      throw new Error('campaign: unhandled rejection')
    })
  },
  'stack overflow outside': ({ ms }) => {
    setTimeout(() => {
      overflow()
    }, ms)
  },
  'exit in a timer': ({ ms, kind }) => {
    setTimeout(() => process.exit(exitBase + kind), ms)
  },
}

/** Ends its thread while it runs. */
const meanwhile = {
  'process.exit': ({ kind }) => process.exit(exitBase + kind),
  'exit after an await': async ({ kind, ms }) => {
    await sleep(ms)
    process.exit(exitBase + kind)
  },
  'throw beside a promise': ({ ms }) => {
    setTimeout(() => {
      throw new Error('campaign: throw beside a promise')
    }, ms)
    return never()
  },
  'heap limit': () => {
    const kept = []
    for (;;) kept.push(Array.from({ length: 2_000 }, () => kept.length))
  },
  'exit, then a stillborn': ({ kind }) => {
    ledger.addStillborn(1)
    process.exit(exitBase + kind)
  },
}

/** One of those, by name. */
export function die(payload, context) {
  ledger.enter(payload.index, context.attempt)
  const { how } = payload
  if (how in meanwhile) return meanwhile[how](payload)
  afterwards[how](payload)
  ledger.leave(payload.index, payload.key)
  return payload
}

/** Makes a handler that runs longer than it may. */
function slow(run) {
  return async (payload, context) => {
    ledger.enter(payload.index, context.attempt)
    await run(payload)
    ledger.leave(payload.index, payload.key)
    return payload
  }
}

export const loop = slow(() => {
  for (;;);
})
export const regexp = slow(() => /^(a+)+$/.test(`${'a'.repeat(40)}b`))
export const wedge = slow(() => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
})
export const deaf = slow(never)
export const brotli = slow(() => brotliCompressSync(textOf(native.brotliBytes)))
export const pbkdf2 = slow(() => pbkdf2Sync('word', 'salt', native.pbkdf2Rounds, 64, 'sha512'))
export const exec = slow(() => execSync(`sleep ${native.ms / 1000}`))
/** Ends by its caller's signal. */
export const victim = slow((payload) => {
  if (payload.sleeps) return never()
  for (;;);
})

/** Bytes that do not repeat soon. */
function textOf(bytes) {
  const text = Buffer.alloc(bytes)
  for (let at = 0, state = 1; at < bytes; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) | 0
    text[at] = 97 + ((state >>> 16) % 26)
  }
  return text
}
