// Signals: a service is told to end. Goal: the first signal refuses new commands, finishes those in
// flight, closes, and ends the process as the signal would have; the second ends it at once.
// Method: a service in a process of its own that says what happens.

import { type ChildProcess, fork } from 'node:child_process'
import { afterEach, expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { fixture } from '../support/managers.ts'

class Service {
  readonly #process: ChildProcess
  readonly exited: Promise<{ code: number | null; signal: string | null }>
  said = ''

  constructor(ms: number, count: number, drainTimeoutMs: number) {
    const file = fixture('lanes-service.js')
    const given = [ms, count, drainTimeoutMs].map(String)
    this.#process = fork(file, given, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'], execArgv: [] })
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

  send(word: string): void {
    this.#process.send(word)
  }

  end(): Promise<{ code: number | null; signal: string | null }> {
    return within(this.exited, 'the end of the service')
  }
}

const services: ChildProcess[] = []

afterEach(() => {
  for (const service of services.splice(0)) service.kill('SIGKILL')
})

test.each(['SIGTERM', 'SIGINT'] as const)(
  'at %s a service finishes what is in flight, refuses what is new, and ends by the signal',
  async (name) => {
    const service = new Service(100, 10, 15_000)
    await service.says('ready')
    service.signal(name)
    await until(() => {
      service.send('submit')
      return service.words('CORELANE_CLOSED') > 0
    }, 'a new command is refused')
    expect(await service.end()).toEqual({ code: null, signal: name })
    expect(service.words('done')).toBe(10)
  },
)

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
  await until(() => {
    service.send('submit')
    return service.words('CORELANE_CLOSED') > 0
  }, 'the first signal has been seen')
  service.signal('SIGTERM')
  expect(await service.end()).toEqual({ code: null, signal: 'SIGTERM' })
  expect(service.words('CORELANE_COMMAND_DROPPED')).toBe(0)
})

test('once the handlers are taken away a signal has its usual effect', async () => {
  const service = new Service(60_000, 1, 60_000)
  await service.says('ready')
  service.send('remove')
  await service.says('removed')
  service.signal('SIGTERM')
  expect(await service.end()).toEqual({ code: null, signal: 'SIGTERM' })
  expect(service.words('CORELANE_COMMAND_DROPPED')).toBe(0)
})
