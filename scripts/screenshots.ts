// Screenshots: writes the pictures of docs/pictures: the dashboard of a manager under load, on a
// wide screen and on a phone, and that of a queue. It needs the build, and Chromium as the tests
// find it.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  LaneConfig,
  LocalDistributedQueue,
  QueueManager,
  QueueMetrics,
  RateLimitConfig,
  RetryPolicy,
  Submitter,
  serveDashboard,
  WorkerPool,
} from 'corelane'
import { Browser } from '../test/support/browser.ts'

const LOAD_MS = 20_000
const out = join(import.meta.dirname, '../docs/pictures')
const handlers = join(import.meta.dirname, '../.cache/screenshots.mjs')
mkdirSync(out, { recursive: true })
writeFileSync(
  handlers,
  `export const resize = (ms) => { const end = performance.now() + ms; while (performance.now() < end); }
   export const render = resize
   export const mail = () => { throw new Error('mailbox unavailable') }`,
)

const manager = new QueueManager({
  handlers,
  partitions: 4,
  metrics: QueueMetrics.local(),
  lanes: {
    web: new LaneConfig(),
    reports: new LaneConfig(1, 2),
    mail: new LaneConfig()
      .withRateLimit(RateLimitConfig.perSecond(20))
      .withRetryPolicy(RetryPolicy.fixed(1, 0)),
  },
})
await manager.start()
const { url } = await manager.serveDashboard({ environment: 'staging', intervalMs: 250 })
async function take(name: string, width: number, height: number): Promise<void> {
  await browser.picture(width, height)
  // The charts draw themselves anew for a screen of another size.
  await sleep(1_000)
  writeFileSync(join(out, `${name}.png`), await browser.picture(width, height))
}
const submit = (lane: 'mail' | 'reports' | 'web', type: string, payload: unknown) => {
  // Mails fail on purpose.
  manager.submit(lane, type, payload).catch(() => {})
}
const load = setInterval(() => {
  const wave = 3 + 2 * Math.sin(Date.now() / 2_000)
  for (let n = 0; n < wave; n++) submit('web', 'resize', 3 + 2 * (n % 5))
  if (wave > 4) submit('reports', 'render', 60)
}, 30)

const browser = new Browser()
await browser.open(url)
await browser.until("document.getElementById('state').dataset.live === 'yes'")
await sleep(LOAD_MS)
for (let n = 0; n < 3; n++) submit('mail', 'mail', { to: `user ${n}` })
await browser.until("document.getElementById('dead').childElementCount === 3")
await browser.evaluate("document.querySelector('#partitions button').click()")
await browser.until("document.querySelectorAll('#functions tr').length > 0")
await take('dashboard', 1280, 1700)
await take('dashboard-phone', 480, 860)
clearInterval(load)
await manager.close()

const lanes = ['thumbs', 'reports', 'mail']
const queue = new LocalDistributedQueue(undefined, { leaseMs: 3_000 })
const managers = [1, 2, 3].map(() => {
  const retry = RetryPolicy.fixed(1, 0)
  const [thumbs, reports, mail] = [{}, {}, { retry }]
  return new QueueManager({ handlers, partitions: 2, lanes: { thumbs, reports, mail } })
})
const pools = managers.map((one, n) => new WorkerPool(queue.asWorker(`images-${n + 1}`), one))
await Promise.all(pools.map((pool) => pool.start()))
await queue.lanes.setConcurrency('reports', 2)
await queue.lanes.setRateLimit('mail', { limit: 20, windowMs: 1_000 })
const submitter = new Submitter(queue)
for (let n = 0; n < 3; n++) submitter.submit('mail', 'mail', { to: `user ${n}` }).catch(() => {})
for (const lane of lanes.slice(0, 2)) {
  for (let n = 0; n < 600; n++) submitter.submit(lane, 'render', 40).catch(() => {})
}
const shown = await serveDashboard({ queue, environment: 'staging', intervalMs: 250 })
await browser.open('about:blank')
await browser.open(shown.url)
await browser.until("document.querySelectorAll('#queue-dead tr').length === 3")
await browser.until("document.getElementById('queue-workers').textContent.includes('reports')")
// The second beat of each worker says what it has.
await sleep(2_000)
await take('dashboard-queue', 1280, 900)
await browser.close()
await Promise.all([submitter.close(), ...pools.map((pool) => pool.close())])
await Promise.all(managers.map((one) => one.close()))
rmSync(handlers)
process.exit()
