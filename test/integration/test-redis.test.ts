// Test Redis: what tests of the queue rely on. A server keeps its files over a kill, is silent
// while frozen, and never outlives the process that started it; the proxy loses what it is told to
// lose.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { FlakyProxy } from '../support/flaky-proxy.js'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'

/** A connection that says lines and collects what it hears. */
function dial(port: number) {
  const socket = connect(port, '127.0.0.1')
  const line = { heard: '', isClosed: false }
  socket.setEncoding('utf8').on('data', (text: string) => {
    line.heard += text
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    line.isClosed = true
  })
  const say = (text: string) => socket.write(`${text}\r\n`)
  return { line, say, end: () => socket.destroy() }
}

/** What a port answers, once that has some text in it. */
async function ask(port: number, words: string, expected: string): Promise<string> {
  const { line, say, end } = dial(port)
  say(words)
  try {
    await until(() => line.heard.includes(expected), `${words}: ${expected}`)
    return line.heard
  } finally {
    end()
  }
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describeWithRedis('the Redis of the tests', () => {
  test('a server ends with its process, even if that one is killed', async () => {
    const path = join(import.meta.dirname, '../support/redis-process.js')
    const script = `
      const { RedisProcess } = await import(${JSON.stringify(path)})
      console.log((await RedisProcess.start()).pid)
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script])
    const [text] = await within(once(child.stdout, 'data'), 'a pid')
    const pid = Number(String(text))
    expect(isAlive(pid)).toBe(true)
    child.kill('SIGKILL')
    await until(() => !isAlive(pid), 'the end of the server')
  })

  test('the proxy can be silent, cut connections, refuse them, and be slow', async () => {
    const redis = await startRedis()
    await using proxy = await FlakyProxy.open(redis.port)
    const silent = dial(proxy.port)
    silent.say('SET b 1')
    await until(() => silent.line.heard === '+OK\r\n', 'a reply')
    proxy.dropAll()
    silent.say('SET b 2')
    await until(() => proxy.droppedBytes > 0, 'a request that is dropped')
    await ask(redis.port, 'GET b', '$1\r\n1')
    expect(silent.line.isClosed).toBe(false)
    expect(proxy.cut()).toBe(1)
    await until(() => silent.line.isClosed, 'a cut connection')
    proxy.refuse()
    const refused = dial(proxy.port)
    await until(() => refused.line.isClosed, 'a refused connection')
    proxy.pass()
    proxy.delay(50)
    const sentAt = performance.now()
    await ask(proxy.port, 'GET b', '$1\r\n1')
    expect(performance.now() - sentAt).toBeGreaterThan(95)
  })
})
