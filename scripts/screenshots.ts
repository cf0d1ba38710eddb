// Screenshots: writes the pictures of docs/pictures: the dashboard of a manager under load, on a
// wide screen and on a phone. It needs the build, and Chromium as the tests find it.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { LaneConfig, QueueManager, QueueMetrics, RateLimitConfig, RetryPolicy } from 'corelane'
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
const submit = (lane: 'mail' | 'reports' | 'web', type: string, payload: unknown) => {
  // Mails fail on purpose.
  manager.submit(lane, type, payload).catch(() => {})
}
const load = setInterval(() => {
  const wave = 3 + 2 * Math.sin(Date.now() / 2_000)
  for (let n = 0; n < wave; n++) submit('web', 'resize', 2 + (n % 5))
  if (wave > 4) submit('reports', 'render', 60)
}, 30)

const browser = new Browser()
await browser.open(url)
await browser.until("document.getElementById('state').dataset.live === 'yes'")
await sleep(LOAD_MS)
for (let n = 0; n < 3; n++) submit('mail', 'mail', { to: `user ${n}` })
await browser.until("document.getElementById('dead').childElementCount === 3")
for (const [name, width] of [
  ['dashboard', 1280],
  ['dashboard-phone', 480],
] as const) {
  await browser.picture(width, 860)
  // The charts draw themselves anew for a screen of another size.
  await sleep(1_000)
  writeFileSync(join(out, `${name}.png`), await browser.picture(width, 860))
}
clearInterval(load)
await browser.close()
await manager.close()
rmSync(handlers)
process.exit()
