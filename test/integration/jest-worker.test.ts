// The door for users of jest-worker, where it differs on purpose: see docs/piscina.md. What is the
// same on both is compared in test/environments/clients.test.ts.

import { Worker } from 'corelane/jest-worker'
import { expect, test } from 'vitest'
import { within } from '../support/deadline.ts'
import { fixture } from '../support/managers.ts'
import { flagOf, reasonOf, release, turns, until } from '../support/piscina.ts'

const farmOf = (workerGracefulExitTimeout: number) =>
  new Worker(fixture('farm.cjs').pathname, { numWorkers: 1, workerGracefulExitTimeout })

/** A call that runs until its flag is released. */
async function heldCall(farm: Worker) {
  const flag = new Int32Array(new SharedArrayBuffer(8))
  const call = reasonOf(farm.hold(flag))
  await until(() => Atomics.load(flag, 1) === 1)
  return { flag, call }
}

test('a farm that cannot be made leaves no thread behind', async () => {
  let count = 0
  const add = () => count++
  process.on('worker', add)
  expect(() => new Worker('/nowhere/farm.cjs')).toThrow('/nowhere/farm.cjs')
  const exposedMethods = ['end']
  expect(() => new Worker(fixture('farm.cjs').pathname, { exposedMethods })).toThrow('called end')
  // The event comes before timers.
  await turns()
  process.off('worker', add)
  expect(count).toBe(0)
})

test('a call that runs as its farm ends settles if it ends in time', async () => {
  const farm = farmOf(60_000)
  const { flag, call } = await heldCall(farm)
  const end = farm.end()
  release(flag)
  expect(await within(end, 'end')).toEqual({ forceExited: false })
  expect(await call).toEqual({ resolved: 'held' })
})

test('a call that does not end in time rejects, and so does one that waits', async () => {
  const farm = farmOf(20)
  const { call } = await heldCall(farm)
  const waiting = reasonOf(farm.hold(flagOf()))
  expect(await within(farm.end(), 'end')).toEqual({ forceExited: true })
  const reason = { message: expect.stringContaining('exited unexpectedly') }
  expect([await call, await waiting]).toMatchObject([reason, reason])
})

test('a call that names no export rejects, and so does a module that throws at load', async () => {
  const named = new Worker(fixture('farm.cjs').pathname, {
    exposedMethods: ['none'],
    numWorkers: 1,
  })
  expect(await reasonOf(named.none())).toMatchObject({ name: 'ConfigError' })
  const broken = new Worker(fixture('piscina/broken.mjs').pathname, {
    exposedMethods: ['any'],
    numWorkers: 1,
  })
  expect(await reasonOf(broken.any())).toMatchObject({ message: 'at load' })
  await Promise.all([named.end(), broken.end()])
})
