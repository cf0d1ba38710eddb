// Dashboard: who may see and change what, over HTTP and in a browser. Goal: nothing without the
// token, nothing from other pages or names, nothing changed where it is read-only; the page shows
// what happens and acts. Method: a real server, requests with forged headers, headless Chromium.

import { request, Server } from 'node:http'
import { networkInterfaces } from 'node:os'
import { text } from 'node:stream/consumers'
import { inspect } from 'node:util'
import {
  type Dashboard,
  type DashboardOptions,
  type LocalDistributedQueue,
  PartitionConfig,
  type QueueManager,
  QueueMetrics,
  RetryPolicy,
  serveDashboard,
} from 'corelane'
import { afterEach, beforeAll, expect, test, vi } from 'vitest'
import { Browser, describeWithBrowser } from '../support/browser.ts'
import { failure, rejection, until, within } from '../support/deadline.ts'
import { create, moduleOf, open, share } from '../support/managers.ts'
import { openPool, openQueue, openSubmitter, withFaults } from '../support/pools.ts'
import { runProgram } from '../support/programs.ts'
import { range } from '../support/range.ts'

const hasIPv6 = Object.values(networkInterfaces()).some((all) =>
  all?.some(({ family }) => family === 'IPv6'),
)
const undone: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const undo of undone.splice(0)) await undo()
})

function opened(dashboard: Dashboard): Dashboard {
  undone.push(() => dashboard.close())
  return dashboard
}

const lanes = { api: {}, other: { maxConcurrency: 1 } }
const base = { partitions: 1, concurrencyPerPartition: 2, lanes }
const shared = share('survival.js', { ...base, metrics: QueueMetrics.local() })

async function start(options?: DashboardOptions, given?: QueueManager) {
  const manager = given ?? (await open('survival.js', { ...base, metrics: QueueMetrics.local() }))
  const dashboard = await manager.serveDashboard({ intervalMs: 100, ...options })
  return [manager, opened(dashboard)] as const
}

/** For tests that leave the manager as it was. */
const startShared = (options?: DashboardOptions) => start(options, shared())

interface Answer {
  readonly status: number
  readonly body: string
  readonly headers: Readonly<Record<string, unknown>>
}

/** The answer to a request whose headers are as given. */
function ask(
  { url, token }: Dashboard,
  path: string,
  method = 'GET',
  headers: Record<string, string> = { authorization: `Bearer ${token}` },
): Promise<Answer> {
  const answered = new Promise<Answer>((resolve, reject) => {
    const asked = request(new URL(path, url), { method, headers }, (response) => {
      const { statusCode, headers: given } = response
      text(response).then((body) => resolve({ status: statusCode!, body, headers: given }), reject)
    })
    asked.on('error', reject).end()
  })
  return within(answered, `${method} ${path}`)
}

async function deadLetter(manager: QueueManager, payload: unknown, id = 'dead-one'): Promise<void> {
  const retry = RetryPolicy.fixed(1, 0)
  await failure(manager.submit('api', 'alwaysFails', payload, { retry, id }), 'it')
}

test('it listens on loopback, and its page holds no data and loads nothing', async () => {
  const [, dashboard] = await startShared()
  expect(dashboard.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/#token=[\da-f]{48}$/)
  const { status, body, headers } = await ask(dashboard, '/', 'GET', {})
  expect(status).toBe(200)
  expect(headers['content-security-policy']).toContain("default-src 'none'")
  expect(body).not.toContain('api/lanes')
  expect(body.replaceAll('http://www.w3.org', '')).not.toMatch(/https?:\/\//)
  expect(body).not.toContain(dashboard.token)
})

test('HEAD is answered as GET without the body, and other methods with those that there are', async () => {
  const [manager, dashboard] = await startShared()
  for (const path of ['/', '/api/dead', '/api/events']) {
    const { status, body, headers } = await ask(dashboard, path, 'HEAD')
    expect([path, status, body]).toEqual([path, 200, ''])
    if (path === '/api/events') expect(headers['content-type']).toBe('text/event-stream')
    else {
      const whole = await ask(dashboard, path)
      for (const name of ['content-type', 'cache-control', 'content-length'])
        expect([path, name, headers[name]]).toEqual([path, name, whole.headers[name]])
    }
    for (const method of ['POST', 'DELETE', 'OPTIONS']) {
      const refused = await ask(dashboard, path, method)
      expect([path, method, refused.status]).toEqual([path, method, 405])
      expect(refused.headers.allow).toBe('GET, HEAD')
    }
  }
  expect((await ask(dashboard, '/api/dead', 'HEAD', {})).status).toBe(401)
  for (const method of ['GET', 'HEAD', 'PUT']) {
    const refused = await ask(dashboard, '/api/lanes/pause?of=api', method)
    expect([method, refused.status, refused.headers.allow]).toEqual([method, 405, 'POST'])
  }
  expect(manager.lane('api').isPaused).toBe(false)
})

test('without the token nothing is told and nothing changes', async () => {
  const [manager, dashboard] = await startShared()
  for (const token of [undefined, 'x', 'x'.repeat(48)]) {
    const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {}
    for (const [method, path] of [
      ['GET', '/api/events'],
      ['GET', '/api/dead'],
      ['POST', '/api/lanes/pause?of=api'],
      ['POST', '/api/dead/purgeAll'],
    ]) {
      expect((await ask(dashboard, path!, method, headers)).status).toBe(401)
    }
  }
  expect(manager.lane('api').isPaused).toBe(false)
})

test('a name that was made to point here and a page of another site are refused', async () => {
  const [, dashboard] = await startShared()
  const authorization = `Bearer ${dashboard.token}`
  const rebound = { authorization, host: 'evil.example:80' }
  expect((await ask(dashboard, '/', 'GET', rebound)).status).toBe(421)
  const foreign = { authorization, origin: 'http://evil.example' }
  expect((await ask(dashboard, '/api/lanes/pause?of=api', 'POST', foreign)).status).toBe(403)
  const own = { authorization, origin: new URL(dashboard.url).origin }
  expect((await ask(dashboard, '/api/dead', 'GET', own)).status).toBe(200)
})

test('what ends TLS before it may pass its name on, or have another', async () => {
  const [, dashboard] = await startShared({ hosts: ['Board.example'] })
  const authorization = `Bearer ${dashboard.token}`
  const status = async (headers: Record<string, string>) =>
    (await ask(dashboard, '/api/dead', 'GET', { authorization, ...headers })).status
  const origin = 'https://board.example'
  expect(await status({ host: 'board.example', origin })).toBe(200)
  expect(await status({ origin })).toBe(200)
  expect(await status({ host: 'board.example', origin: 'https://localhost' })).toBe(403)
  expect(await status({ host: 'board.example', origin: 'null' })).toBe(403)
})

test.runIf(hasIPv6)('it answers to an address of IPv6 that it listens on', async () => {
  const [, dashboard] = await startShared({ host: '::', token: 'shown' })
  expect(dashboard.url).toMatch(/^http:\/\/\[::\]:\d+/)
  expect((await ask(dashboard, '/api/dead')).status).toBe(200)
})

test('the limits of a lane are changed, and those that it cannot have are refused', async () => {
  const [manager, dashboard] = await start()
  const path = '/api/lanes/concurrency?of=other&max='
  expect((await ask(dashboard, `${path}2`, 'POST')).status).toBe(200)
  expect(manager.stats().lanes.other!.maxConcurrency).toBe(2)
  for (const max of ['3', '', 'x']) {
    const { status, body } = await ask(dashboard, path + max, 'POST')
    expect([status, body.includes('an integer from 1 to 2')]).toEqual([400, true])
  }
  expect((await ask(dashboard, '/api/lanes/rate?of=other&limit=1', 'POST')).status).toBe(400)
})

test('lanes are paused and resumed, dead letters redriven and purged', async () => {
  const [manager, dashboard] = await start()
  expect((await ask(dashboard, '/api/lanes/pause?of=api', 'POST')).status).toBe(200)
  expect(manager.lane('api').isPaused).toBe(true)
  expect((await ask(dashboard, '/api/lanes/resume?of=api', 'POST')).status).toBe(200)
  expect(manager.lane('api').isPaused).toBe(false)
  await deadLetter(manager, { secret: 'payload' })
  const [letter] = JSON.parse((await ask(dashboard, '/api/dead')).body)
  expect(letter).toMatchObject({ id: 'dead-one', lane: 'api', attempts: 2 })
  expect(letter.payload).toContain('secret')
  expect((await ask(dashboard, '/api/dead/redrive?of=dead-one', 'POST')).status).toBe(200)
  await until(() => manager.stats().submitted === 2, 'the redriven one')
  await until(() => manager.deadLetters.size === 1, 'its second death')
  const purged = await ask(dashboard, '/api/dead/purge?of=dead-one', 'POST')
  expect(JSON.parse(purged.body)).toEqual({ purged: 1 })
  for (const [method, path, status] of [
    ['POST', '/api/dead/redrive?of=dead-one', 404],
    ['POST', '/api/lanes/pause?of=nowhere', 404],
    ['POST', '/api/lanes/explode?of=api', 404],
    ['GET', '/api/lanes/pause?of=api', 405],
    ['GET', '/etc/passwd', 404],
    ['POST', '/api/lanes/pause?of=%', 404],
    ['POST', '/api/lanes/pause', 404],
  ] as const) {
    expect((await ask(dashboard, path, method)).status).toBe(status)
  }
})

test('no id of a dead letter stands for others, and none is lost in an address', async () => {
  const [manager, dashboard] = await start()
  const post = async (act: string, id: string) =>
    (await ask(dashboard, `/api/dead/${act}?of=${encodeURIComponent(id)}`, 'POST')).body
  const ids = ['*', '..', 'a/b?c=%2A&d']
  for (const id of ['kept', ...ids]) await deadLetter(manager, id, id)
  expect(await post('redrive', '*')).toBe('{"done":true}')
  await until(() => manager.stats().failed === 5, 'its second death')
  expect(manager.stats().submitted).toBe(5)
  for (const id of ids) expect([id, await post('purge', id)]).toEqual([id, '{"purged":1}'])
  expect((await ask(dashboard, '/api/dead/purge', 'POST')).body).toBe('{"purged":0}')
  expect((await ask(dashboard, '/api/dead/redrive', 'POST')).status).toBe(404)
  expect(manager.deadLetters.list().map(({ id }) => id)).toEqual(['kept'])
})

test('a connection that cannot be accepted ends nothing', async () => {
  const listen = vi.spyOn(Server.prototype, 'listen')
  const [, dashboard] = await startShared()
  const [server] = listen.mock.contexts as Server[]
  listen.mockRestore()
  for (let i = 0; i < 2; i++) {
    server!.emit('error', Object.assign(new Error('accept ENFILE'), { code: 'ENFILE' }))
  }
  expect((await ask(dashboard, '/api/dead')).status).toBe(200)
})

test('a dead letter that cannot be shown by itself keeps no other from being shown', async () => {
  const [manager, dashboard] = await start()
  const refuses = () => {
    throw new Error('not shown')
  }
  await deadLetter(manager, Object.assign(Object.create({ [inspect.custom]: refuses }), { own: 1 }))
  await deadLetter(manager, 'another')
  const { status, body } = await ask(dashboard, '/api/dead')
  expect(status).toBe(200)
  expect(JSON.parse(body).map(({ payload }: { payload: string }) => payload)).toEqual([
    expect.stringContaining('own: 1'),
    "'another'",
  ])
})

test('a second close settles with the first', async () => {
  const [, dashboard] = await startShared()
  await ask(dashboard, '/api/dead')
  const order: string[] = []
  const closes = ['first', 'second'].map((which) => dashboard.close().then(() => order.push(which)))
  await within(Promise.all(closes), 'both')
  expect(order).toEqual(['first', 'second'])
})

test('a page that is open keeps no process alive', async () => {
  const { code, signal, stdout, stderr } = await runProgram(
    `const { QueueMetrics } = await import('corelane')
     const { connect } = await import('node:net')
     const handlers = ${JSON.stringify(moduleOf('export const echo = (value) => value'))}
     const manager = QueueManager.create({ handlers, partitions: 1, metrics: QueueMetrics.local() })
     const { url, token } = await manager.serveDashboard({ intervalMs: 100 })
     const page = connect(Number(new URL(url).port), '127.0.0.1').unref()
     page.write('GET /api/events HTTP/1.1\\r\\nHost: localhost\\r\\n' +
       'Authorization: Bearer ' + token + '\\r\\n\\r\\n')
     const news = new Promise((resolve) => page.on('data', (text) => /data:/.test(text) && resolve()))
     await manager.run('echo', 1)
     const awake = setInterval(() => {}, 1000)
     await news
     clearInterval(awake)
     await manager.close()
     console.log('closed')`,
  )
  expect(stderr).toBe('')
  expect({ code, signal, stdout }).toEqual({ code: 0, signal: null, stdout: 'closed\n' })
})

test('a partition is profiled, and one that is not there is refused', async () => {
  const [manager, dashboard] = await startShared()
  const spinning = manager.submit('api', 'spin', { ms: 300 })
  const { status, body } = await ask(dashboard, '/api/partitions/profile?of=0&ms=50', 'POST')
  expect(status).toBe(200)
  const { nodes, samples, timeDeltas } = JSON.parse(body)
  expect([nodes.length > 0, samples.length]).toEqual([true, timeDeltas.length])
  for (const query of ['of=9', 'of=x', 'of=0&ms=5', 'ms=50']) {
    const path = `/api/partitions/profile?${query}`
    expect([path, (await ask(dashboard, path, 'POST')).status]).toEqual([path, 400])
  }
  await spinning
})

test('a dashboard that is read-only and redacts shows no payload and changes nothing', async () => {
  const [manager, dashboard] = await start({ readOnly: true, redactPayloads: true })
  await deadLetter(manager, { secret: 'payload' })
  const { body } = await ask(dashboard, '/api/dead')
  expect(body).toContain('(redacted)')
  expect(body).not.toContain('secret')
  expect((await ask(dashboard, '/api/lanes/pause?of=api', 'POST')).status).toBe(403)
  expect(manager.lane('api').isPaused).toBe(false)
  expect((await ask(dashboard, '/api/partitions/profile?of=0', 'POST')).status).toBe(403)
})

test('it needs a token beyond loopback, and a manager with metrics', async () => {
  const manager = create('basic.js', { metrics: QueueMetrics.local() })
  const open = rejection(manager.serveDashboard({ host: '0.0.0.0' }), 'a dashboard for all')
  expect(String(await open)).toMatch(/serveDashboard.token/)
  const bare = rejection(create('basic.js').serveDashboard(), 'a dashboard of nothing')
  expect(String(await bare)).toMatch(/QueueMetrics.local/)
})

/** A queue with a dead command and one that waits, and its dashboard. */
async function startQueue(): Promise<[LocalDistributedQueue, Dashboard]> {
  const queue = openQueue(PartitionConfig.roundRobin(2))
  const manager = await open('survival.js', { partitions: 1, lanes: { api: {} } })
  await openPool(queue, manager)
  const submitter = openSubmitter(queue)
  const bad = { secret: '<img src=x onerror=document.title="hacked">' }
  await failure(submitter.submit('api', 'alwaysFails', bad, { id: 'dead-one' }), 'a death')
  await queue.lanes.pause('api')
  await submitter.enqueue('api', 'echo', 1)
  return [queue, opened(await serveDashboard({ queue, intervalMs: 100 }))]
}

const ACTS = [
  'lanes/resume?of=api',
  'lanes/pause?of=other',
  'lanes/concurrency?of=api&max=2',
  'lanes/rate?of=api&limit=5',
  'dead/redrive?of=dead-one',
  'dead/purgeAll',
].map((act) => `/api/queue/${act}`)

async function isUntouched(queue: LocalDistributedQueue): Promise<void> {
  expect(await queue.lanes.paused()).toEqual(['api'])
  expect(await queue.lanes.limits()).toEqual([])
  expect(await queue.counts()).toMatchObject({ waiting: 1, dead: 1 })
}

test('nothing of a queue changes without the token, by other pages or where it is read-only', async () => {
  const [queue, dashboard] = await startQueue()
  const authorization = `Bearer ${dashboard.token}`
  for (const act of ACTS) {
    expect((await ask(dashboard, act, 'POST', {})).status).toBe(401)
    expect((await ask(dashboard, act, 'POST', { authorization: 'Bearer x' })).status).toBe(401)
    for (const [headers, status] of [
      [{ origin: 'http://evil.example' }, 403],
      [{ host: 'evil.example:80' }, 421],
    ] as const) {
      const all = { authorization, ...headers }
      expect((await ask(dashboard, act, 'POST', all)).status).toBe(status)
    }
    expect((await ask(dashboard, act)).status).toBe(405)
  }
  expect((await ask(dashboard, '/api/queue/dead', 'GET', {})).status).toBe(401)
  await isUntouched(queue)
  const readOnly = opened(await serveDashboard({ queue, readOnly: true, redactPayloads: true }))
  for (const act of ACTS) expect((await ask(readOnly, act, 'POST')).status).toBe(403)
  const { body } = await ask(readOnly, '/api/queue/dead')
  expect([body.includes('(redacted)'), body.includes('img')]).toEqual([true, false])
  await isUntouched(queue)
})

test('lanes of a queue are paused and limited, its dead letters redriven and purged', async () => {
  const [queue, dashboard] = await startQueue()
  const post = async (act: string) => (await ask(dashboard, `/api/queue/${act}`, 'POST')).status
  expect(await post('lanes/pause?of=other')).toBe(200)
  expect(await queue.lanes.paused()).toEqual(['api', 'other'])
  expect(await post('lanes/resume?of=other')).toBe(200)
  expect(await queue.lanes.paused()).toEqual(['api'])
  expect(await post('lanes/concurrency?of=api&max=2')).toBe(200)
  expect(await post('lanes/rate?of=api&limit=5&windowMs=50')).toBe(200)
  const rate = { limit: 5, windowMs: 50 }
  expect(await queue.lanes.limits()).toEqual([{ laneId: 'api', concurrency: 2, rate }])
  expect(await post('lanes/concurrency?of=api&max=')).toBe(200)
  expect(await post('lanes/rate?of=api&limit=')).toBe(200)
  expect(await queue.lanes.limits()).toEqual([])
  for (const [act, status] of [
    ['lanes/concurrency?of=api&max=0', 400],
    ['lanes/concurrency?of=api', 400],
    ['lanes/rate?of=api&limit=x', 400],
    ['lanes/rate?of=api', 400],
    ['lanes/pause?of=%7Bx%7D', 400],
    ['lanes/explode?of=api', 404],
    ['partitions/profile?of=0', 404],
  ] as const) {
    expect([act, await post(act)]).toEqual([act, status])
  }
  const [letter] = JSON.parse((await ask(dashboard, '/api/queue/dead')).body)
  expect(letter).toMatchObject({ id: 'dead-one', lane: 'api', type: 'alwaysFails', attempts: 1 })
  expect(letter.error).toMatch(/^failed: /)
  expect(letter.payload).toContain('secret')
  expect(await post('dead/redrive?of=dead-one')).toBe(200)
  expect(await queue.counts()).toMatchObject({ waiting: 2, dead: 0 })
  expect(await post('dead/redrive?of=dead-one')).toBe(404)
  // A list from before it is not given again.
  expect((await ask(dashboard, '/api/queue/dead')).body).toBe('[]')
  await queue.lanes.resume('api')
  await expect.poll(async () => (await queue.counts()).dead, { timeout: 20_000 }).toBe(1)
  const purged = await ask(dashboard, '/api/queue/dead/purgeAll', 'POST')
  expect(JSON.parse(purged.body)).toEqual({ purged: 1 })
  const [, other] = await startShared()
  expect((await ask(other, '/api/queue/lanes/pause?of=api', 'POST')).status).toBe(404)
  expect((await ask(other, '/api/queue/dead')).status).toBe(404)
  expect((await ask(dashboard, '/api/lanes/pause?of=api', 'POST')).status).toBe(404)
  expect((await ask(dashboard, '/api/dead')).status).toBe(404)
})

/** Follows a page's news until something holds of one. */
async function news(
  { url, token }: Dashboard,
  holds: (news: { readonly queue?: Record<string, unknown> }) => boolean,
): Promise<void> {
  const left = new AbortController()
  const headers = { authorization: `Bearer ${token}` }
  const { body } = await fetch(new URL('/api/events', url), { headers, signal: left.signal })
  let rest = ''
  const decoder = new TextDecoder()
  for await (const chunk of body!) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n\n')
    rest = parts.pop()!
    if (parts.some((part) => holds(JSON.parse(part.slice(6))))) break
  }
  left.abort()
}

test('a queue is read once a second however many pages are open, and goes on after a fault', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(2))
  let reads = 0
  let lists = 0
  let fault: Error | undefined = new Error('the broker is away')
  const counted = withFaults(queue, {
    counts: async () => {
      reads++
      if (fault !== undefined) throw fault
      return queue.counts()
    },
    dead: {
      ...queue.dead,
      list: (max) => {
        lists++
        return queue.dead.list(max)
      },
    },
  })
  const dashboard = opened(await serveDashboard({ queue: counted, intervalMs: 100 }))
  expect(reads).toBe(0)
  const begun = performance.now()
  const failing = (all: { readonly queue?: Record<string, unknown> }) =>
    String(all.queue?.error).includes('the broker is away')
  await within(Promise.all([1, 2, 3, 4].map(() => news(dashboard, failing))), 'the fault')
  fault = undefined
  const working = (all: { readonly queue?: Record<string, unknown> }) =>
    all.queue?.error === undefined && all.queue?.waiting === 0
  for (let n = 0; n < 3; n++) {
    await within(Promise.all([1, 2, 3, 4].map(() => news(dashboard, working))), 'its end')
  }
  await Promise.all(range(8).map(() => ask(dashboard, '/api/queue/dead')))
  // A timer may be early by a part of a millisecond.
  const most = Math.ceil((performance.now() - begun) / 999) + 1
  expect(reads).toBeGreaterThanOrEqual(2)
  expect(reads).toBeLessThanOrEqual(most)
  expect(lists).toBeLessThanOrEqual(most)
})

test('a queue that rejects with nothing is answered by 500, and ends nothing', async () => {
  const queue = openQueue(PartitionConfig.roundRobin(1))
  const failing = Object.assign(Object.create(queue), {
    dead: { list: () => Promise.reject(undefined) },
  })
  const dashboard = opened(await serveDashboard({ queue: failing }))
  const answer = await within(ask(dashboard, '/api/queue/dead'), 'the answer')
  expect(answer.status).toBe(500)
})

test('a dashboard shows a manager or a queue, and no other thing', async () => {
  const nothing = rejection(serveDashboard({} as never), 'a dashboard of nothing')
  expect(await nothing).toMatchObject({ code: 'CORELANE_INVALID_OPTION' })
  const least = { numPartitions: 1, workerId: 'w' }
  const five = rejection(serveDashboard({ queue: least as never }), 'a dashboard of five members')
  expect(String(await five)).toMatch(/a queue that workers share/)
})

describeWithBrowser('in a browser', () => {
  let browser: Browser

  beforeAll(() => {
    browser = new Browser()
    return () => browser.close()
  })

  async function browse(dashboard: Dashboard): Promise<void> {
    // It leaves the page: a dashboard that closes waits for none.
    undone.unshift(() => browser.open('about:blank'))
    await browser.open(dashboard.url)
    await browser.until("document.getElementById('state')?.textContent === 'live'")
  }

  test('the page updates, filters, pauses and resumes a lane, and redrives a dead letter', async () => {
    const [manager, dashboard] = await start({ environment: 'staging' })
    await browse(dashboard)
    const environment = "document.getElementById('environment').textContent"
    expect(await browser.evaluate(environment)).toBe('staging')
    await within(manager.submit('api', 'spin', { ms: 5 }), 'one')
    const cells = "[...document.querySelectorAll('#lanes tr')].map((row) => row.textContent)"
    expect(await browser.evaluate(`${cells}.length`)).toBe(2)
    await browser.evaluate("document.querySelector('#lanes button').click()")
    await until(() => manager.lane('api').isPaused, 'the pause')
    await browser.until(`${cells}[0].includes('(paused)')`)
    const waiting = manager.submit('api', 'echo', 1, { group: '<b>tenant</b>' })
    await browser.until(`${cells}[0].startsWith('api (paused)10')`)
    const group = "document.querySelector('#groups td.text')"
    expect(await browser.evaluate(`${group}.textContent`)).toBe('<b>tenant</b>')
    await browser.evaluate("document.querySelector('#lanes button').click()")
    expect(await within(waiting, 'the waiting one')).toBe(1)
    await browser.until("document.getElementById('waiting').hidden")
    const limit = '[aria-label="Change the limits of lane other"]'
    await browser.evaluate(`window.prompt = () => '2', document.querySelector('${limit}').click()`)
    await until(() => manager.lanes[1]!.maxConcurrency === 2, 'the limit')
    await browser.until(`${cells}[1].includes('max 2')`)
    // The second has the same id.
    for (const payload of ['<img src=x onerror=document.title="hacked">', 1]) {
      await deadLetter(manager, payload, '*')
    }
    await browser.until("document.querySelectorAll('#dead tr').length === 2")
    expect(await browser.evaluate("document.querySelectorAll('img').length")).toBe(0)
    await browser.evaluate("document.querySelector('#dead button').click()")
    await until(() => manager.stats().failed === 3, 'the redriven one')
    expect(manager.stats().submitted).toBe(5)
    await browser.until("document.getElementById('feed').textContent.includes('dead_lettered')")
    await browser.evaluate(
      "{ const box = document.getElementById('filter'); box.value = 'oth'; box.dispatchEvent(new Event('input')) }",
    )
    await browser.until(`${cells}.length === 1 && location.search === '?lane=oth'`)
    expect(await browser.evaluate('document.title')).toBe('corelane')
  })

  test('the page shows a queue and its workers, pauses, limits and redrives', async () => {
    const [queue, dashboard] = await startQueue()
    await browse(dashboard)
    const textOf = (id: string) => `document.getElementById('${id}').textContent`
    await browser.until("document.querySelectorAll('#queue-lanes tr').length === 1")
    expect(await browser.evaluate(textOf('queue-lanes'))).toMatch(/^api \(paused\)10011Resume/)
    expect(await browser.evaluate(textOf('queue-counts'))).toBe('1 waiting, 0 leased, 0 delayed')
    expect(await browser.evaluate(textOf('queue-workers'))).toContain('running')
    expect(await browser.evaluate(textOf('queue-workers-count'))).toBe('(1)')
    const isShown = (of: string) =>
      `[...document.querySelectorAll('[data-of=${of}]')].map(({ hidden }) => !hidden).join()`
    expect(await browser.evaluate(isShown('lanes'))).not.toContain('true')
    expect(await browser.evaluate(isShown('queue'))).not.toContain('false')
    await browser.until("document.querySelectorAll('#queue-dead tr').length === 1")
    expect(await browser.evaluate("document.querySelectorAll('img').length")).toBe(0)
    expect(await browser.evaluate('document.title')).toBe('corelane')
    // Answers are for the concurrency, then for the rate.
    const limit = '[aria-label="Change the limits of lane api on all workers"]'
    const prompt = "const given = ['2', '7']; window.prompt = () => given.shift()"
    await browser.evaluate(`{ ${prompt}; document.querySelector('${limit}').click() }`)
    await browser.until(`${textOf('queue-lanes')}.includes('max 2, 7 in 1000 ms')`)
    await browser.evaluate("document.querySelector('#queue-dead button').click()")
    await browser.until("document.querySelectorAll('#queue-dead tr').length === 0")
    await browser.evaluate("document.querySelector('#queue-lanes button').click()")
    await browser.until(`!${textOf('queue-lanes')}.includes('(paused)')`)
    expect(await queue.lanes.paused()).toEqual([])
    // It dies again.
    await browser.until("document.querySelectorAll('#queue-dead tr').length === 1")
    await browser.evaluate("document.getElementById('queue-purge-all').click()")
    await browser.until(`${textOf('queue-dead-count')} === '(0)'`)
    expect((await queue.counts()).dead).toBe(0)
  })

  test('the page profiles a partition, and draws what took its time', async () => {
    const [manager, dashboard] = await startShared()
    await browse(dashboard)
    let isOver = false
    const work = Promise.all(
      [1, 2, 3, 4].map(async () => {
        while (!isOver) await manager.submit('api', 'churn', { ms: 20 })
      }),
    )
    await browser.until("document.querySelector('#partitions button')?.hidden === false")
    await browser.evaluate("document.querySelector('#partitions button').click()")
    await browser.until("document.querySelectorAll('#functions tr').length > 0")
    isOver = true
    await work
    const names =
      "[...document.querySelectorAll('#functions tr')].map((row) => row.children[0].textContent)"
    expect(await browser.evaluate(names)).toContain('fib')
    const pixels =
      "document.getElementById('flames').getContext('2d').getImageData(2, 2, 1, 1).data[3]"
    expect(await browser.evaluate(pixels)).toBe(255)
    await browser.picture(480, 860)
    const flames = "document.getElementById('flames')"
    await browser.until(`${flames}.width === ${flames}.clientWidth * devicePixelRatio`)
    const file = "document.getElementById('profile-file')"
    expect(await browser.evaluate(`[${file}.download, ${file}.href.slice(0, 5)].join()`)).toBe(
      'partition-0.cpuprofile,blob:',
    )
  })
})
