// Managers: makes queue managers that are closed after each test, and watches that nothing in them
// causes an unhandled rejection on the main thread.

import { QueueManager, type QueueManagerOptions } from 'corelane'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'
import { within } from './deadline.ts'
import { Ledger } from './ledger.ts'

const opened: QueueManager[] = []
const unhandled: unknown[] = []

const watch = (reason: unknown) => void unhandled.push(reason)
process.on('unhandledRejection', watch)
// The process may go on to another file, which has a watch of its own.
afterAll(() => void process.off('unhandledRejection', watch))

/** The URL of a handler module in `test/fixtures`. */
export function fixture(name: string): URL {
  return new URL(`../fixtures/${name}`, import.meta.url)
}

/** The URL of a handler module with a text of its own, for modules of a few lines. */
export function moduleOf(text: string): string {
  return `data:text/javascript,${encodeURIComponent(text)}`
}

/** Options for test/fixtures/life.js, whose `setup` and `teardown` do what is said. */
export function lifeOf(does: { setup?: string; teardown?: string } = {}) {
  return { workerData: { ...new Ledger(0).workerData, ...does } }
}

/** Makes a manager that is closed after the test. */
export function create(handlers: string, options: QueueManagerOptions = {}): QueueManager {
  const manager = QueueManager.create({ handlers: fixture(handlers), ...options })
  opened.push(manager)
  return manager
}

/** Makes and starts one. */
export async function open(
  handlers: string,
  options: QueueManagerOptions = {},
): Promise<QueueManager> {
  const manager = create(handlers, options)
  await within(manager.start(), `start of ${handlers}`)
  return manager
}

/** Makes and starts a manager for the tests of a file that leave it as it was; gives it in each. */
export function share(handlers: string, options: QueueManagerOptions = {}): () => QueueManager {
  const manager = QueueManager.create({ handlers: fixture(handlers), ...options })
  beforeAll(() => within(manager.start(), `start of ${handlers}`))
  afterAll(() => within(manager.close(), 'close after the tests'))
  return () => manager
}

/** Makes and starts a manager whose handlers write down so many commands. */
export async function openLedger(entries: number, options: QueueManagerOptions = {}) {
  const ledger = new Ledger(entries)
  const manager = await open('ledger.js', { workerData: ledger.workerData, ...options })
  return { ledger, manager }
}

afterEach(async () => {
  const closing = opened.splice(0).map((manager) => manager.close().catch(() => {}))
  await within(Promise.all(closing), 'close after the test')
  // Rejections are reported after the microtasks of their turn.
  await new Promise((resolve) => setImmediate(resolve))
  expect(unhandled.splice(0)).toEqual([])
})
