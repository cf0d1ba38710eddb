// Idle and loaded: a parked partition costs nothing and still serves whatever else lives in its
// thread; and what lives there gets its turns between commands under load.

import { connect } from 'node:net'
import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { open } from '../support/managers.ts'
import { range } from '../support/range.ts'

const one = { partitions: { count: 1 } } as const

interface Look {
  readonly ticks: number
  readonly port: number
}

/** Sends a line to a server and gives what comes back. */
function talk(port: number, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(line))
    socket.once('data', (data) => {
      resolve(String(data))
      socket.destroy()
    })
    socket.once('error', reject)
  })
}

test('timers of the handler module run while its partition is parked', async () => {
  const ticks = new Int32Array(new SharedArrayBuffer(4))
  const manager = await open('alive.js', { ...one, workerData: { ticks } })
  await within(manager.run('look'), 'look')
  await until(() => manager.stats().partitions[0]!.parked > 0, 'parked')
  const before = ticks[0]!
  await until(() => ticks[0]! > before + 10, 'ten ticks, with nothing that wakes the partition')
})

test('sockets of the handler module are served while its partition is parked', async () => {
  const manager = await open('alive.js', one)
  const { port } = (await within(manager.run('look'), 'look')) as Look
  await until(() => manager.stats().partitions[0]!.parked > 0, 'parked')
  for (let i = 0; i < 20; i++) {
    expect(await within(talk(port, `line ${i}`), 'the echo')).toBe(`line ${i}`)
  }
})

test.each(['burn', 'burnLater'])('timers and sockets get their turns too (%s)', async (type) => {
  const manager = await open('alive.js', one)
  const { port, ticks } = (await within(manager.run('look'), 'look')) as Look
  const all = range(6_000).map(() => manager.submit('prompt', type, 100))
  let isDone = false
  const done = Promise.all(all).then((results) => {
    isDone = true
    return results as number[]
  })
  expect(await within(talk(port, 'under load'), 'the echo')).toBe('under load')
  expect(isDone).toBe(false)
  const results = await within(done, 'all commands')
  expect(results.at(-1)).toBeGreaterThan(ticks + 10)
})

test('a parked partition answers a control call', async () => {
  const manager = await open('alive.js', { partitions: { count: 2 } })
  for (let i = 0; i < 20; i++) {
    const isParked = () => manager.stats().partitions.every(({ parked }) => parked > 0)
    await until(isParked, 'parked')
    expect(await within(manager.broadcast('look'), 'broadcast')).toHaveLength(2)
  }
})

test('idle partitions and their manager use next to no processor time', async () => {
  const manager = await open('values.js', { partitions: { count: 4 } })
  await within(manager.submitMany('query', 'echo', Array(2_000).fill({ some: 'work' })), 'work')
  await sleep(200)
  const before = process.cpuUsage()
  const idleMs = 1_000
  await sleep(idleMs)
  const { user, system } = process.cpuUsage(before)
  // One spinning thread alone would use all of it.
  expect((user + system) / 1000).toBeLessThan(idleMs / 4)
})

test('waiting for one long command uses next to no processor time on the main thread', async () => {
  const manager = await open('life.js', {
    partitions: { count: 2 },
    workerData: { words: new SharedArrayBuffer(64) },
  })
  const long = manager.run('sleep', 1_500)
  await sleep(200)
  const before = process.cpuUsage()
  await sleep(1_000)
  const { user, system } = process.cpuUsage(before)
  expect((user + system) / 1000).toBeLessThan(250)
  expect(await within(long, 'the long command')).toBe(1_500)
})

test('commands one at a time, each after the last, are never forgotten', async () => {
  const manager = await open('values.js', { partitions: { count: 2 } })
  for (let i = 0; i < 3_000; i++) {
    expect(await within(manager.run(i % 3 === 0 ? 'later' : 'echo', i), `command ${i}`)).toBe(i)
    // Every gap is another chance for a wake to be lost.
    if (i % 7 === 0) await new Promise((resolve) => setImmediate(resolve))
    if (i % 100 === 0) await sleep(2)
  }
})

test.skipIf(availableParallelism() < 2).each([
  ['one partition', one],
  ['balanced partitions', { partitions: { strategy: 'balanced' } }],
] as const)('short calls find their partition looking, not asleep (%s)', async (_name, options) => {
  const manager = await open('basic.js', options)
  const parks = () => manager.stats().partitions.reduce((sum, { parked }) => sum + parked, 0)
  const calls = 500
  // Where other programs hold all cores nobody spins; such a machine has quiet moments too.
  const end = performance.now() + 60_000
  for (let parked = calls; parked >= calls / 2; ) {
    expect(performance.now(), 'a round in which most calls cost no wake').toBeLessThan(end)
    const before = parks()
    for (let i = 0; i < calls; i++) await manager.run('noop')
    parked = parks() - before
  }
  // And an idle one sleeps: it does not look again and again.
  const before = parks()
  await sleep(300)
  expect(parks() - before).toBeLessThan(5)
})
