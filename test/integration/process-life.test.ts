// Process life: a process stays alive while commands are in flight, and ends by itself when it is
// idle, whether its manager was closed or not.

import { expect, test } from 'vitest'
import { fixture, moduleOf } from '../support/managers.ts'
import { runProgram } from '../support/programs.ts'

const life = JSON.stringify(fixture('life.js').href)
const values = JSON.stringify(fixture('values.js').href)

const head = `
const create = (handlers, options) => QueueManager.create({
  handlers, partitions: { count: 1 }, workerData: { words: new SharedArrayBuffer(64) }, ...options,
})
`

async function outputOf(script: string): Promise<string> {
  const ending = await runProgram(head + script)
  expect(ending).toMatchObject({ code: 0, signal: null, stderr: '' })
  return ending.stdout.trim()
}

test('a process ends by itself when its manager is idle and was not closed', async () => {
  const output = await outputOf(`
    const manager = create(${values}, { partitions: { count: 2 } })
    await manager.start()
    console.log(await manager.run('echo', 'done'))`)
  expect(output).toBe('done')
})

test('a process ends by itself when its manager was only created', async () => {
  expect(await outputOf(`create(${values}); console.log('created')`)).toBe('created')
})

test('a process stays alive while a manager starts, and ends by itself when it only started', async () => {
  const output = await outputOf(`create(${values}).start().then(() => console.log('started'))`)
  expect(output).toBe('started')
})

test('a process ends by itself where there was no memory for the rings of a thread', async () => {
  const output = await outputOf(`
    const Memory = SharedArrayBuffer
    globalThis.SharedArrayBuffer = class extends Memory {
      constructor(bytes, options) {
        if (bytes > 2 ** 20) throw new RangeError('Array buffer allocation failed')
        super(bytes, options)
      }
    }
    create(${values}).start().catch((error) => console.log(error.code, error.message))`)
  expect(output).toMatch(/^CORELANE_INVALID_OPTION .*ringBytes/)
})

test('a process stays alive for a command that came before its threads and a shutdown', async () => {
  const output = await outputOf(`
    const manager = create(${values})
    manager.run('echo', 'ran').then(console.log)
    manager.shutdown()`)
  expect(output).toBe('ran')
})

test('a process stays alive while commands are in flight, awaited or not', async () => {
  const output = await outputOf(`
    const manager = create(${life}, { partitions: { count: 2 } })
    await manager.start()
    for (const ms of [30, 300]) manager.run('sleep', ms).then((slept) => console.log(slept))`)
  expect(output.split('\n').sort()).toEqual(['30', '300'])
})

test('a process stays alive for a command after streams that were left', async () => {
  const module = `data:text/javascript,${encodeURIComponent(
    'export function* three() { yield 1; yield 2; yield 3 }',
  )}`
  const output = await outputOf(`
    const manager = create(${JSON.stringify(module)})
    await manager.start()
    for (let i = 0; i < 50; i++) for await (const _ of manager.stream('query', 'three')) break
    for await (const value of manager.stream('query', 'three')) console.log(value)`)
  expect(output).toBe('1\n2\n3')
})

test('a process stays alive for the queued commands of a thread that died', async () => {
  const output = await outputOf(`
    const manager = create(${life})
    await manager.start()
    manager.run('exit').catch((error) => console.log(error.code))
    manager.run('sleep', 20).then((slept) => console.log(slept))`)
  expect(output).toBe('CORELANE_PARTITION_LOST\n20')
})

test('a process stays alive during a broadcast, a drain and a close', async () => {
  const output = await outputOf(`
    const manager = create(${life}, { partitions: { count: 2 } })
    await manager.start()
    manager.broadcast('sleep', 100).then((slept) => {
      console.log(slept.join())
      manager.run('sleep', 100)
      manager.drain().then(() => {
        console.log('drained')
        manager.close().then(() => console.log('closed'))
      })
    })`)
  expect(output).toBe('100,100\ndrained\nclosed')
})

test('a process ends by itself after start failed', async () => {
  const output = await outputOf(`
    create('file:///no/such/module.js').start().catch((error) => console.log(error.code))`)
  expect(output).toBe('CORELANE_HANDLERS_FAILED')
})

test('a process ends by itself after a partition was given up, and is warned of it', async () => {
  const module = `data:text/javascript,${encodeURIComponent(
    // Later than it says that it is loaded: a module that does not load is another failure.
    'setTimeout(() => process.exit(3), 100); export const echo = (payload) => payload',
  )}`
  const { code, stdout, stderr } = await runProgram(`${head}
    const manager = create(${JSON.stringify(module)})
    await manager.start()
    const timer = setInterval(async () => {
      if (manager.stats().partitions[0].state !== 'failed') return
      clearInterval(timer)
      console.log(await manager.run('echo').catch((error) => error.code))
    }, 20)`)
  expect([code, stdout]).toEqual([0, 'CORELANE_PARTITION_LOST\n'])
  expect(stderr.match(/CorelaneWarning: /g)).toHaveLength(2)
  expect(stderr).toContain('subscribe to queue.partition.lost')
  expect(stderr).toContain('subscribe to queue.partition.failed')
})

test('a start and a plain command load no CommonJS package', async () => {
  const output = await outputOf(`
    const manager = create(${values})
    await manager.start()
    await manager.run('echo', { plain: [1, 'two'] })
    const loaded = () => Object.keys(require('node:module')._cache).join()
    console.log('before:', loaded())
    manager.stats()
    while (!/os-utils/.test(loaded())) await new Promise(setImmediate)
    console.log('after: os-utils')`)
  expect(output).toBe('before: \nafter: os-utils')
})

test('comlink is loaded by the first call to a thread, os-utils by the first stats', async () => {
  const url = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`
  const hooks = url(`
    import { writeSync } from 'node:fs'
    export async function resolve(specifier, context, next) {
      const [name] = /^(?:comlink|os-utils)\\b/.exec(specifier) ?? []
      if (name !== undefined) writeSync(1, name + '\\n')
      return next(specifier, context)
    }`)
  const preload = url(`
    import { register } from 'node:module'
    import { isMainThread } from 'node:worker_threads'
    if (isMainThread) register(${JSON.stringify(hooks)})`)
  const script = `${head}
    const say = (line) => require('node:fs').writeSync(1, line + '\\n')
    for (const door of ['handler', 'jest-worker', 'piscina', 'prometheus', 'testing']) {
      await import('corelane/' + door)
    }
    const manager = create(${values})
    say('created')
    await manager.start()
    await manager.run('echo', 1)
    say('ran')
    await manager.broadcast('echo', 1)
    manager.stats()
    await manager.close()`
  const ending = await runProgram(script, undefined, ['--import', preload])
  expect(ending).toMatchObject({ code: 0, signal: null })
  const lines = ending.stdout.trim().split('\n')
  // comlink is two modules.
  expect(lines).toEqual(['created', 'ran', 'comlink', 'comlink', 'os-utils'])
})

test('an uncaught error in the main thread still ends a process with a busy manager', async () => {
  const ending = await runProgram(`${head}
    const manager = create(${life})
    await manager.start()
    manager.run('sleep', 60_000)
    setTimeout(() => { throw new Error('main is broken') }, 50)`)
  expect(ending.code).toBe(1)
  expect(ending.stderr).toContain('main is broken')
})

test('threads start in a process that was told --input-type', async () => {
  const output = await outputOf(`
    const { execFileSync } = require('node:child_process')
    const script = \`
      import { QueueManager } from 'corelane'
      const manager = QueueManager.create({ handlers: ${values}, partitions: { count: 1 } })
      await manager.start()
      console.log(await manager.run('echo', 'done'))
      await manager.close()\`
    const options = { encoding: 'utf8' }
    console.log(execFileSync('node', ['--input-type=module', '--eval', script], options).trim())`)
  expect(output).toBe('done')
})

const later = JSON.stringify(
  moduleOf(`
    export const timer = () => { setTimeout(() => { throw new RangeError('thrown later') }) }
    export const floating = () => { void Promise.reject(new RangeError('thrown later')) }
    export const ended = (ms) => new Promise((resolve) => setTimeout(resolve, ms))`),
)

test.each([
  ['a timer of a handler throws', 'timer', 'queue.partition.lost'],
  ['a promise of a handler floats and rejects', 'floating', 'queue.partition.rejection'],
])('%s: a warning of the process, once', async (_, type, event) => {
  const script = `
    const manager = create(${later})
    await manager.start()
    const warned = new Promise((resolve) => process.once('warning', resolve))
    const alive = setInterval(() => {}, 1_000)
    await manager.run('${type}')
    // A command that ran meanwhile would reject with the loss, and that would be no news.
    await warned
    await manager.run('${type}')
    await new Promise((resolve) => setTimeout(resolve, 250))
    clearInterval(alive)
    await manager.close()
    console.log('closed')`
  const { code, stdout, stderr } = await runProgram(head + script)
  expect([code, stdout]).toEqual([0, 'closed\n'])
  expect(stderr.match(/CorelaneWarning: /g)).toHaveLength(1)
  expect(stderr).toContain(`subscribe to ${event}`)
  // The stack, where node carried the error from the thread or corelane did.
  expect(stderr).toMatch(/RangeError.*: thrown later\n +at .*data:text/)
})

test('a failure that a subscription gets is no warning, nor is one that a command rejects with', async () => {
  const output = await outputOf(`
    const manager = create(${later}, { concurrencyPerPartition: 2 })
    await manager.start()
    const events = manager.subscribe({ events: ['queue.partition.rejection'] })
    // The news comes after the result, and nothing that is in flight keeps the process alive.
    const alive = setInterval(() => {}, 1_000)
    await manager.run('floating')
    console.log((await events.next()).value.error.message)
    clearInterval(alive)
    await events.return()
    const running = manager.run('ended', 60_000).catch((error) => console.log(error.code))
    await Promise.all([running, manager.run('timer')])
    await manager.close()`)
  expect(output).toBe('thrown later\nCORELANE_PARTITION_LOST')
})

test('a profile does not keep a process alive whose manager was closed', async () => {
  const output = await outputOf(`
    const manager = create(${values})
    await manager.start()
    const profile = manager.profilePartition(0, { durationMs: 60_000 }).catch(({ code }) => code)
    await manager.run('echo', 1)
    await manager.close()
    console.log(await profile)`)
  expect(output).toBe('CORELANE_PARTITION_LOST')
})
