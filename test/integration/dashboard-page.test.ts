// Dashboard page: the states of the page in a browser. Goal: an operator sees that nothing has
// happened yet, that the manager has ended, that the connection is lost, or that the token is
// missing. Method: real servers, a proxy that falls silent, headless Chromium.

import type { Dashboard, DashboardOptions, QueueManager } from 'corelane'
import { QueueMetrics } from 'corelane'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { Browser, describeWithBrowser } from '../support/browser.ts'
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

  async function serve(options?: DashboardOptions): Promise<[QueueManager, Dashboard]> {
    const metrics = QueueMetrics.local()
    const manager = await open('survival.js', { partitions: elastic, lanes: { api: {} }, metrics })
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

  test('says that the token is missing, and shows no empty tables', async () => {
    const [, dashboard] = await serve()
    await browser.open(dashboard.url.replace(/#.*/, ''))
    await browser.until(`${state}?.startsWith('The token')`)
    const shown = "[...document.querySelectorAll('section')].some(({ hidden }) => !hidden)"
    expect(await browser.evaluate(shown)).toBe(false)
  })
})
