// Examples: the service of docs/services.md does what the page says. Method: its files are cut out
// of the page and run as they stand, in a process of their own, with requests and real signals.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { createServer } from 'node:net'
import { afterAll, expect, test } from 'vitest'
import { within } from '../support/deadline.ts'
import { describeWithTools } from '../support/locked-packages.ts'
import { makeFolder, PAGE_TOOLS, writeFiles } from '../support/pages.ts'

const folder = makeFolder('services')
writeFiles('docs/services.md', folder)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function freePort(): Promise<number> {
  const server = createServer().listen(0)
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

interface Asked {
  /** Resolves when the service has the request. */
  readonly received: Promise<void>
  /** Status and body; `undefined` if the service accepts no connection. */
  readonly answer: Promise<string | undefined>
}

function ask(port: number, width: number, agent?: Agent): Asked {
  const headers = { expect: '100-continue' }
  const request = get({ port, path: `/?width=${width}`, headers, ...(agent && { agent }) })
  return {
    received: new Promise((resolve) => request.once('continue', () => resolve())),
    answer: new Promise((resolve) => {
      request.once('error', () => resolve(undefined))
      request.once('response', (response) => {
        let text = `${response.statusCode} `
        response.setEncoding('utf8').on('data', (chunk) => {
          text += chunk
        })
        response.once('end', () => resolve(text))
      })
    }),
  }
}

/** Asks again and again until an answer is as it should be. */
async function askUntil(isFine: (answer: string | undefined) => boolean, port: number) {
  for (;;) {
    const answer = await ask(port, 4).answer
    if (isFine(answer)) return answer
  }
}

describeWithTools(PAGE_TOOLS, () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    'at %s the HTTP server answers what it has, refuses what is new, and exits with 0',
    async (signal) => {
      const port = await freePort()
      const child = spawn(process.execPath, ['service.mjs'], {
        cwd: folder,
        env: { ...process.env, PORT: String(port) },
        stdio: ['ignore', 'inherit', 'inherit'],
      })
      const exited = once(child, 'exit')
      const agent = new Agent({ keepAlive: true })
      try {
        const first = await within(
          askUntil((answer) => answer !== undefined, port),
          'an answer',
        )
        expect(first).toBe('200 {"width":4,"height":3}')
        const slow = [ask(port, 800), ask(port, 1000, agent)]
        for (const { received } of slow) await within(received, 'a request is received')
        child.kill(signal)
        await within(
          askUntil((answer) => answer === undefined, port),
          'a connection is refused',
        )
        const answers = Promise.all(slow.map(({ answer }) => answer))
        expect(await within(answers, 'the slow answers')).toEqual([
          '200 {"width":800,"height":600}',
          '200 {"width":1000,"height":750}',
        ])
        expect(await within(exited, 'the end of the service')).toEqual([0, null])
      } finally {
        agent.destroy()
        child.kill('SIGKILL')
      }
    },
  )
})
