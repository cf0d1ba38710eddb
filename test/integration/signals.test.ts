// Signals: a service receives a signal. Goal: the first signal refuses new commands, finishes those
// in flight, closes, and ends the process as the signal would have; the second ends it at once. The
// application's own listeners keep their say. Method: services in processes of their own that print
// what happens, and real signals.

import { type ChildProcess, fork, type StdioOptions } from 'node:child_process'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { fixture } from '../support/managers.ts'
import { type Ending, runProgram } from '../support/programs.ts'

const require = createRequire(import.meta.url)

class Service {
  readonly #process: ChildProcess
  readonly exited: Promise<{ code: number | null; signal: string | null }>
  said = ''

  constructor(ms: number, count: number, drainTimeoutMs: number, runner: readonly string[] = []) {
    const [file, ...given] = [
      ...runner,
      fileURLToPath(fixture('signals-service.js')),
      ...[ms, count, drainTimeoutMs].map(String),
    ]
    const stdio = ['ignore', 'pipe', 'inherit', 'ipc'] as StdioOptions
    this.#process = fork(file!, given, { stdio, execArgv: [] })
    this.#process.stdout!.on('data', (text) => {
      this.said += text
    })
    this.exited = new Promise((resolve) => {
      this.#process.once('close', (code, signal) => resolve({ code, signal }))
    })
    services.push(this.#process)
  }

  words(word: string): number {
    return this.said.split('\n').filter((line) => line === word).length
  }

  async says(word: string): Promise<void> {
    await until(() => this.words(word) > 0, `the service says ${word}`)
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name)
  }

  /** Submits commands until one is refused: it has seen its signal. */
  async refuses(): Promise<void> {
    await until(() => {
      this.#process.send('submit')
      return this.words('CORELANE_CLOSED') > 0
    }, 'a new command is refused')
  }

  end(): Promise<{ code: number | null; signal: string | null }> {
    return within(this.exited, 'the end of the service')
  }
}

const services: ChildProcess[] = []

afterEach(() => {
  for (const service of services.splice(0)) service.kill('SIGKILL')
})

// Of SIGINT it is shown with several managers.
test('at SIGTERM a service finishes what is in flight, refuses what is new, and ends by the signal', async () => {
  const service = new Service(100, 10, 15_000)
  await service.says('ready')
  service.signal('SIGTERM')
  await service.refuses()
  expect(await service.end()).toEqual({ code: null, signal: 'SIGTERM' })
  expect(service.words('done')).toBe(10)
})

test('what does not finish in time is dropped, and the service ends by the signal all the same', async () => {
  const service = new Service(60_000, 3, 100)
  await service.says('ready')
  service.signal('SIGTERM')
  expect(await service.end()).toEqual({ code: null, signal: 'SIGTERM' })
  expect(service.words('done')).toBe(0)
  expect(service.words('CORELANE_COMMAND_DROPPED')).toBe(3)
})

test('a second signal ends the service at once', async () => {
  const service = new Service(60_000, 1, 60_000)
  await service.says('ready')
  service.signal('SIGTERM')
  await service.refuses()
  service.signal('SIGINT')
  expect(await service.end()).toEqual({ code: null, signal: 'SIGINT' })
  expect(service.words('CORELANE_COMMAND_DROPPED')).toBe(0)
})

// tsx listens in the process that it starts, too, and hides that from the application.
test('under tsx a service ends as it does under node', async () => {
  const service = new Service(0, 1, 15_000, [require.resolve('tsx/cli')])
  await service.says('ready')
  service.signal('SIGTERM')
  expect(await service.end()).toEqual({ code: 143, signal: null })
})

const head = `
const { closeOnSignals } = await import('corelane')
const { setTimeout: sleep } = require('node:timers/promises')
const say = (word) => process.stdout.write(word + '\\n')
const start = async () => {
  const manager = QueueManager.create({ handlers: ${JSON.stringify(fixture('life.js').href)},
    partitions: { count: 1 }, workerData: { words: new SharedArrayBuffer(64) } })
  await manager.start()
  return manager
}
const work = (manager, ms) =>
  manager.run('sleep', ms).then(() => say('done'), (error) => say(error.code))
const signal = (name) => process.kill(process.pid, name)
process.on('exit', (code) => say('exit ' + code))
`

/** Runs a service and gives how it ended and the words that it printed, in order. */
async function runService(body: string): Promise<Ending & { readonly said: string[] }> {
  const ending = await runProgram(head + body)
  return { ...ending, said: ending.stdout.trim().split('\n') }
}

test('exit listeners run before the process ends by the signal', async () => {
  const { signal, said } = await runService(`
    closeOnSignals(await start())
    signal('SIGTERM')
    setInterval(() => {}, 1000)`)
  expect(signal).toBe('SIGTERM')
  expect(said).toEqual(['exit 143'])
})

test('a process ends when the last of its managers has finished', async () => {
  const { signal, said } = await runService(`
    const [idle, busy, slow] = await Promise.all([start(), start(), start()])
    for (const manager of [idle, busy, slow]) closeOnSignals(manager)
    work(slow, 400)
    work(busy, 200)
    signal('SIGINT')`)
  expect(signal).toBe('SIGINT')
  expect(said).toEqual(['done', 'done', 'exit 130'])
})

test('a signal that comes twice at once, as by npm in a terminal, comes once', async () => {
  const { signal, said } = await runService(`
    const manager = await start()
    closeOnSignals(manager)
    work(manager, 100)
    for (const _ of [1, 2]) process.emit('SIGINT', 'SIGINT', 2)`)
  expect(signal).toBe('SIGINT')
  expect(said).toEqual(['done', 'exit 130'])
})

test('a second signal that ends no process by itself, as in the first one of a container', async () => {
  const { code, signal, said } = await runService(`
    const manager = await start()
    closeOnSignals(manager, { signals: ['SIGWINCH'] })
    work(manager, 60_000)
    setInterval(() => {}, 1000)
    signal('SIGWINCH')
    setTimeout(() => signal('SIGWINCH'), 600)`)
  expect({ code, signal }).toEqual({ code: 156, signal: null })
  expect(said).toEqual(['exit 156'])
})

test('managers that do not know the signal are left alone', async () => {
  const { signal, said } = await runService(`
    const other = await start()
    closeOnSignals(other, { signals: ['SIGUSR2'] })
    closeOnSignals(await start(), { signals: ['SIGHUP'] })
    process.once('exit', () => say(other.stats().state))
    setInterval(() => {}, 1000)
    signal('SIGHUP')`)
  expect(signal).toBe('SIGHUP')
  expect(said).toEqual(['exit 129', 'running'])
})

test("the application's listener is called once, and ends the process itself", async () => {
  const { code, said } = await runService(`
    closeOnSignals(await start())
    const server = setInterval(() => {}, 1000)
    process.on('SIGTERM', (name, number) => {
      say(name + ' ' + number)
      setTimeout(() => { say('drained'); clearInterval(server); process.exitCode = 3 }, 300)
    })
    signal('SIGTERM')`)
  expect(code).toBe(3)
  expect(said).toEqual(['SIGTERM 15', 'drained', 'exit 3'])
})

test('a second signal is left to a listener that ends the process', async () => {
  const { code, said } = await runService(`
    closeOnSignals(await start())
    setInterval(() => {}, 1000)
    let calls = 0
    process.on('SIGINT', () => {
      say('called')
      if (++calls === 2) process.exit(9)
    })
    setTimeout(() => signal('SIGINT'), 300)
    signal('SIGINT')`)
  expect(code).toBe(9)
  expect(said).toEqual(['called', 'called', 'exit 9'])
})

test.each(['before', 'after'])('promises of listeners installed %s are awaited', async (order) => {
  const { code, signal, said } = await runService(`
      const manager = await start()
      const server = setInterval(() => {}, 1000)
      const listen = () => process.once('SIGTERM', async () => {
        clearInterval(server)
        await sleep(100)
        await work(manager, 50)
        await sleep(100)
        work(manager, 100)
        say('served')
      })
      if (${order === 'before'}) listen()
      closeOnSignals(manager)
      if (${order === 'after'}) listen()
      await sleep(20)
      signal('SIGTERM')`)
  expect({ code, signal }).toEqual({ code: 0, signal: null })
  expect(said).toEqual(['done', 'served', 'done', 'exit 0'])
})

test('a listener that raises the signal again once it has finished, as Nest does, ends no command', async () => {
  const { code, signal, said } = await runService(`
    const manager = await start()
    closeOnSignals(manager)
    const server = setInterval(() => {}, 1000)
    process.once('SIGTERM', async () => {
      await sleep(600)
      clearInterval(server)
      work(manager, 300)
      signal('SIGTERM')
    })
    process.once('SIGTERM', () => sleep(700))
    signal('SIGTERM')`)
  expect({ code, signal }).toEqual({ code: 0, signal: null })
  expect(said).toEqual(['done', 'exit 0'])
})

test('a promise that does not settle in time holds up no manager, and a second signal ends it', async () => {
  const { signal, said } = await runService(`
    const manager = await start()
    closeOnSignals(manager, { drainTimeoutMs: 100 })
    process.on('SIGTERM', () => new Promise(() => {}))
    setInterval(() => {}, 1000)
    manager.closed.then(() => { say('closed'); signal('SIGINT') })
    signal('SIGTERM')`)
  expect(signal).toBe('SIGINT')
  expect(said).toEqual(['closed'])
})

test('with everything done a process that stays alive is ended', async () => {
  const { code, said } = await runService(`
    closeOnSignals(await start(), { drainTimeoutMs: 300 })
    process.once('SIGTERM', async () => say('finished'))
    setTimeout(() => say('answered'), 100)
    setInterval(() => {}, 1000)
    signal('SIGTERM')`)
  expect(code).toBe(0)
  expect(said).toEqual(['finished', 'answered', 'exit 0'])
})

test('a listener whose promise rejects fails as it would without a manager', async () => {
  const { code, stderr } = await runService(`
    closeOnSignals(await start())
    process.once('SIGTERM', async () => { throw new Error('the database is gone') })
    setInterval(() => {}, 1000)
    signal('SIGTERM')`)
  expect(code).toBe(1)
  expect(stderr).toContain('the database is gone')
})

test('listeners are found and removed by their own names, and are as before in the end', async () => {
  const { signal, said } = await runService(`
    const first = () => say('first')
    const twice = () => say('twice')
    process.on('SIGTERM', first)
    process.once('SIGTERM', twice)
    process.on('SIGTERM', twice)
    const before = process.rawListeners('SIGTERM')
    const watchers = process.listenerCount('newListener')
    const manager = await start()
    closeOnSignals(manager)
    process.once('SIGTERM', first)
    await sleep(10)
    const [, ...named] = process.listeners('SIGTERM')
    say(named.map((each) => [first, twice].indexOf(each)).join())
    process.off('SIGTERM', first)
    process.emit('SIGTERM', 'SIGTERM', 15)
    await manager.closed
    await sleep(10)
    const after = process.rawListeners('SIGTERM')
    say(after.length + ' ' + (after[0] === before[0]) + ' ' + (after[1] === before[2]))
    say(process.listenerCount('newListener') - watchers)
    process.removeAllListeners('SIGTERM')
    setInterval(() => {}, 1000)
    signal('SIGTERM')`)
  expect(signal).toBe('SIGTERM')
  expect(said).toEqual(['0,1,1,0', 'first', 'twice', 'twice', '2 true true', '0'])
})

test('listeners of signal-exit do not keep the process, and hear of its end', async () => {
  const { code, said } = await runService(`
    require(${JSON.stringify(require.resolve('signal-exit'))}).onExit(() => say('cleaned up'))
    closeOnSignals(await start())
    setInterval(() => {}, 1000)
    signal('SIGTERM')`)
  expect(code).toBe(143)
  expect(said).toEqual(['exit 143', 'cleaned up'])
})
