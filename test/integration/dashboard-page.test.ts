// Dashboard page: the states of the page in a browser. Goal: an operator sees that nothing has
// happened yet, that the manager has ended, that the connection is lost, or that the token is
// missing. Method: real servers, a proxy that falls silent, headless Chromium.

import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Dashboard, DashboardOptions, QueueManager, QueueManagerOptions } from 'corelane'
import { LocalDistributedQueue, QueueMetrics, RetryPolicy } from 'corelane'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { Browser, describeWithBrowser } from '../support/browser.ts'
import { failure } from '../support/deadline.ts'
import { FlakyProxy } from '../support/flaky-proxy.js'
import { open } from '../support/managers.ts'

const elastic = { min: 1, max: 3, idleTimeoutMs: 60_000 }
const state = "document.getElementById('state')?.textContent"
const undone: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const undo of undone.splice(0)) await undo()
})

describeWithBrowser('the page', () => {
  let browser: Browser

  beforeAll(() => {
    browser = new Browser()
    return () => browser.close()
  })

  async function serve(
    options?: DashboardOptions,
    given: QueueManagerOptions = { partitions: elastic },
  ): Promise<[QueueManager, Dashboard]> {
    const metrics = QueueMetrics.local()
    const manager = await open('survival.js', { lanes: { api: {} }, metrics, ...given })
    const dashboard = await manager.serveDashboard({ intervalMs: 100, ...options })
    undone.push(
      () => browser.open('about:blank'),
      () => dashboard.close(),
    )
    return [manager, dashboard]
  }

  async function browse(url: string): Promise<void> {
    await browser.open(url)
    await browser.until(`${state} === 'live'`)
  }

  test('shows nothing in place of zeros where nothing has happened', async () => {
    const [, dashboard] = await serve()
    await browse(dashboard.url)
    await browser.until("document.querySelectorAll('#lanes tr').length === 1")
    const cells = "[...document.querySelector('#lanes tr').children].map((one) => one.textContent)"
    expect(await browser.evaluate(`${cells}.slice(0, 10).join()`)).toBe('api,0,0,–,0,0,–,–,–,–')
    const shown = (id: string) => browser.evaluate(`!document.getElementById('${id}').hidden`)
    expect(await shown('redrive-all')).toBe(false)
    expect(await shown('purge-all')).toBe(false)
    const rows = "[...document.querySelectorAll('#partitions tr')].map(({ hidden }) => hidden)"
    expect(await browser.evaluate(`${rows}.join()`)).toBe('false,true,true')
    const dormant = "document.getElementById('dormant').textContent"
    expect(await browser.evaluate(dormant)).toBe('(2 more are dormant)')
  })

  test('its charts say what was measured, when, and that nothing was', async () => {
    const [manager, dashboard] = await serve()
    await browser.open('about:blank')
    await browser.open(dashboard.url)
    const record = `window.texts = {}; const { fillText } = CanvasRenderingContext2D.prototype
      CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
        (texts[this.canvas.id] ??= []).push(text)
        fillText.call(this, text, ...place)
      }`
    await browser.until(`${state} === 'live'`)
    await browser.evaluate(record)
    const says = (chart: string, text: RegExp) =>
      browser.until(`(texts['${chart}'] ?? []).some((text) => ${text}.test(text))`)
    await says('latency', /^nothing measured$/)
    await says('throughput', /^0 now, /)
    await says('throughput', /^18\.0 s ago$/)
    await manager.submit('api', 'echo', 1)
    await says('latency', /^[\d.]+ now, [\d.]+ at most$/)
    await says('latency', /^nothing now, [\d.]+ at most$/)
    await browser.evaluate(
      "document.getElementById('latency').dispatchEvent(new PointerEvent('pointermove'))",
    )
    await says('latency', /^[\d.]+ at [\d:]+/)
  })

  test('names the four runs of a partition that have taken longest', async () => {
    const [manager, dashboard] = await serve({}, { partitions: 1, concurrencyPerPartition: 8 })
    const left = new AbortController()
    const { signal } = left
    const runs = ['a', 'b', 'c', 'd', 'e', 'f'].map((group) =>
      manager.submit('api', 'wait', { ms: 60_000 }, { group, signal }),
    )
    await browse(dashboard.url)
    const shown = "document.querySelector('#partitions td.text')?.textContent"
    const words = ['a', 'b', 'c', 'd'].map((group) => `api.wait of ${group} [^,]*`)
    await browser.until(`/^${words.join(', ')}$/.test(${shown})`)
    const headers = { authorization: `Bearer ${dashboard.token}` }
    const { body } = await fetch(new URL('/api/events', dashboard.url), { headers })
    let news = ''
    for await (const chunk of body!) {
      news += Buffer.from(chunk).toString()
      if (news.includes('\n\n')) break
    }
    const [partition] = JSON.parse(news.slice('data: '.length, news.indexOf('\n\n'))).partitions
    expect([partition.running, partition.runs.length]).toEqual([6, 4])
    left.abort()
    await Promise.allSettled(runs)
  })

  test('says that the manager has ended, and that a profile finds no program', async () => {
    const [manager, dashboard] = await serve()
    await browse(dashboard.url)
    await browser.until("document.querySelector('#partitions button')?.hidden === false")
    const button = "document.querySelector('#partitions button')"
    await manager.close()
    const host = "document.getElementById('host').textContent"
    await browser.until(`${host}.startsWith('the manager is closed, load ')`)
    await dashboard.close()
    await browser.until(`${state} === 'The program does not answer.'`)
    await browser.evaluate(`${button}.click()`)
    const profile = "document.getElementById('profile-at').textContent"
    await browser.until(`${profile} === 'The program does not answer.' && !${button}.disabled`)
  })

  test('says that a silent connection is lost, and connects again', async () => {
    const [, dashboard] = await serve()
    const { port, hash } = new URL(dashboard.url)
    const proxy = await FlakyProxy.open(Number(port))
    undone.push(() => proxy.close())
    await browse(`http://127.0.0.1:${proxy.port}/${hash}`)
    const short =
      'window.sets = 0; window.setTimeout = ((set) => (call) => { window.sets++; return set(call, 1_000) })(setTimeout)'
    await browser.evaluate(short)
    await browser.until('window.sets > 0')
    proxy.dropAll()
    await browser.until(`${state} === 'The connection was lost; connecting again.'`)
    proxy.pass()
    await browser.until(`${state} === 'live'`)
  })

  test('works below a path that a proxy takes off', async () => {
    const [, dashboard] = await serve()
    const { port, hash } = new URL(dashboard.url)
    const proxy = createServer((from, to) => {
      if (!from.url!.startsWith('/ops/corelane/')) {
        to.writeHead(404).end()
        return
      }
      const path = from.url!.slice('/ops/corelane'.length)
      const { method, headers } = from
      const asked = request({ port, path, method, headers }, (answer) => {
        to.writeHead(answer.statusCode!, answer.headers)
        answer.pipe(to)
      })
      asked.on('error', () => to.destroy())
      from.pipe(asked)
    })
    await once(proxy.listen(0, '127.0.0.1'), 'listening')
    undone.push(async () => {
      proxy.closeAllConnections()
      await new Promise((resolve) => proxy.close(resolve))
    })
    const { port: proxied } = proxy.address() as AddressInfo
    await browse(`http://127.0.0.1:${proxied}/ops/corelane/${hash}`)
    const pause = "document.querySelector('#lanes button')"
    await browser.until(`${pause} !== null`)
    await browser.evaluate(`${pause}.click()`)
    await browser.until(`${pause}.textContent === 'Resume'`)
  })

  test('says that the token is missing, and shows no empty tables', async () => {
    const [, dashboard] = await serve()
    await browser.open(dashboard.url.replace(/#.*/, ''))
    await browser.until(`${state}?.startsWith('The token')`)
    const shown = "[...document.querySelectorAll('section')].some(({ hidden }) => !hidden)"
    expect(await browser.evaluate(shown)).toBe(false)
  })

  test('is used by a keyboard, and every control has a name of its own', async () => {
    const queue = LocalDistributedQueue.auto()
    undone.push(() => queue.close())
    const [manager, dashboard] = await serve({ queue })
    const terms = { laneId: 'api', commandType: 'echo', payload: 1, retryCount: 0, createdAt: 1 }
    const letters = ['one', 'two'].map((id) => ({ ...terms, id, partitionId: 0, version: 1 }))
    await queue.enqueueMany(letters)
    const lanes = [{ laneId: 'api', max: 2, priority: 5, boost: [] }]
    for (const delivery of await queue.lease({ partitions: [0], lanes, max: 2, waitMs: 0 })) {
      const { id: commandId, partitionId } = delivery.envelope
      const ended = { commandId, partitionId, workerId: 'by hand', durationMs: 1, completedAt: 1 }
      await queue.deadLetter(delivery, 'failed', { ...ended, success: false, retryCount: 0 })
    }
    const retry = RetryPolicy.fixed(1, 0)
    for (const id of ['one', 'two']) {
      await failure(manager.submit('api', 'alwaysFails', 1, { id, retry }), 'it')
    }
    await browse(dashboard.url)
    const letterRows = "document.querySelectorAll('#dead tr, #queue-dead tr').length"
    await browser.until(`${letterRows} === 4`)
    const roles = ['button', 'link', 'searchbox']
    const controls = (await browser.accessible()).filter(({ role }) => roles.includes(role))
    const names = controls.map(({ name }) => name.trim())
    expect(names).toContain('Purge one of the queue')
    expect(names).toEqual([...new Set(names)])

    const name =
      "document.activeElement.getAttribute('aria-label') ?? (document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"
    const focus = async (of: string) =>
      browser.evaluate(
        `[...document.querySelectorAll('button')].find((one) => (one.getAttribute('aria-label') ?? one.textContent) === '${of}').focus()`,
      )
    const reached = new Set<unknown>()
    for (let tabs = 0; tabs < 40; tabs++) {
      await browser.press('Tab')
      reached.add(await browser.evaluate(name))
    }
    expect(names.filter((one) => !reached.has(one))).toEqual([])

    await focus('Purge one')
    await browser.press('Enter')
    await browser.until(`${letterRows} === 3`)
    expect(await browser.evaluate(name)).toBe('Purge two')
    await browser.press('Enter')
    await browser.until(`${letterRows} === 2`)
    const place = "document.activeElement.querySelector('h2')?.textContent.split(' (')[0]"
    expect(await browser.evaluate(place)).toBe('Dead letters')
    await focus('Purge all of the queue')
    await browser.press('Enter')
    await browser.until("document.getElementById('queue-purge-all').hidden")
    expect(await browser.evaluate(place)).toBe('Dead letters of the queue')
    await focus('Profile partition 0')
    await browser.press('Enter')
    await browser.until("document.getElementById('profile-file').href.startsWith('blob:')")
    expect(await browser.evaluate(name)).toBe('Profile partition 0')
  })

  test('asks for no second limit when the first is cancelled', async () => {
    const queue = LocalDistributedQueue.auto()
    undone.push(() => queue.close())
    await queue.lanes.pause('api')
    const [, dashboard] = await serve({ queue })
    await browse(dashboard.url)
    const change = "document.querySelector('#queue-lanes tr button:nth-of-type(2)')"
    await browser.until(`${change} !== null`)
    const asked = 'window.asked = 0; window.prompt = () => { window.asked++; return null }'
    await browser.evaluate(`${asked}; ${change}.click()`)
    expect(await browser.evaluate('window.asked')).toBe(1)
  })
})
