// Profiles: what takes a thread's time, through the public door, with real threads.

import { Worker } from 'node:worker_threads'
import { expect, onTestFinished, test } from 'vitest'
import { within } from '../support/deadline.ts'
import { create, moduleOf } from '../support/managers.ts'

const HANDLERS = moduleOf(`
  // By calls: V8 11 does not name loops that it compiled while they ran.
  const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2))
  export function burn(ms) { const end = performance.now() + ms; while (performance.now() < end) fib(20) }
  export function die(ms) { burn(ms); process.exit(3) }
  export const echo = (x) => x`)

const managerOf = (partitions: number) => create('values.js', { handlers: HANDLERS, partitions })

/** A profile, in part. */
interface Profile {
  readonly nodes: { readonly id: number; readonly callFrame: { readonly functionName: string } }[]
  readonly samples: number[]
}

/** Names of the functions that samples fell into. */
function sampled(json: string): (string | undefined)[] {
  const { nodes, samples }: Profile = JSON.parse(json)
  const names = new Map(nodes.map(({ id, callFrame }) => [id, callFrame.functionName]))
  return samples.map((id) => names.get(id))
}

test('a profile names the handler that runs, and its results come meanwhile', async () => {
  const manager = managerOf(1)
  let isOver = false
  const work = (async () => {
    while (!isOver) await manager.run('burn', 5)
  })()
  const profile = await within(manager.profilePartition(0, { durationMs: 200 }), 'the profile')
  isOver = true
  await work
  expect(sampled(profile)).toContain('fib')
})

test('threads that do nothing are profiled, two at once and one twice', async () => {
  const manager = managerOf(2)
  const options = { durationMs: 50 }
  const profiles = await within(
    Promise.all([0, 1, 1].map((index) => manager.profilePartition(index, options))),
    'the profiles',
  )
  for (const profile of profiles) expect(JSON.parse(profile).samples.length).toBeGreaterThan(0)
  expect(await manager.run('echo', 1)).toBe(1)
})

test('a thread that dies meanwhile rejects its profile', async () => {
  const manager = managerOf(1)
  await manager.start()
  const profile = manager.profilePartition(0, { durationMs: 20_000 })
  const dying = manager.run('die', 50).catch((error) => error)
  await expect(within(profile, 'the profile')).rejects.toMatchObject({
    code: 'CORELANE_PARTITION_LOST',
  })
  expect(await dying).toMatchObject({ code: 'CORELANE_PARTITION_LOST' })
  expect(await manager.run('echo', 2)).toBe(2)
})

// Node 20 has no such method; later ones reject so from the end of the thread until its exit.
const notRunning = () =>
  Promise.reject(Object.assign(new Error(), { code: 'ERR_WORKER_NOT_RUNNING' }))
const threads: { startCpuProfile?: () => Promise<unknown> } = Worker.prototype as never

test.each([
  { moment: 'start', start: notRunning },
  { moment: 'end', start: async () => ({ stop: notRunning }) },
])(
  'a thread that is just ending at the $moment of a profile rejects it as lost',
  async ({ start }) => {
    const { startCpuProfile } = threads
    threads.startCpuProfile = start
    onTestFinished(() => {
      if (startCpuProfile === undefined) delete threads.startCpuProfile
      else threads.startCpuProfile = startCpuProfile
    })
    const manager = managerOf(1)
    await manager.start()
    const profile = manager.profilePartition(0, { durationMs: 10 })
    const dying = manager.run('die', 100).catch(() => {})
    await expect(within(profile, 'the profile')).rejects.toMatchObject({
      code: 'CORELANE_PARTITION_LOST',
    })
    await dying
  },
)

test('a profile of no partition, and one without an end, are refused', async () => {
  const manager = managerOf(1)
  for (const index of [1, -1, 0.5, Number.NaN, 'x' as unknown as number]) {
    await expect(manager.profilePartition(index)).rejects.toThrow(/index of a partition that has/)
  }
  for (const durationMs of [0, 60_001, Number.NaN]) {
    await expect(manager.profilePartition(0, { durationMs })).rejects.toThrow(/durationMs/)
  }
})
