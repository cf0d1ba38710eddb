// Suspects: commands that may have killed their thread run by themselves next. Goal: what waits to
// run by itself holds nothing up for ever, and is not held up, whatever is ahead of it. Method: a
// command that is more urgent than the suspects holds their next thread, so that they wait; then
// another comes.

import { PartitionConfig } from 'corelane'
import { expect, test } from 'vitest'
import { within } from '../support/deadline.ts'
import { fixture, moduleOf, openLedger } from '../support/managers.ts'

const LOST = { retryLost: true }
const INNOCENT = 0
const KILLER = 1
const HELD = 2
const URGENT = 3
const OTHER = 4

const handlers = moduleOf(`
  import { die, mark, softGate } from '${fixture('ledger.js')}'
  export { die, mark, softGate }
  export function pass(index, context) {
    mark(index, context)
    return context.attempt > 1 ? index : new Promise(() => {})
  }`)

test.each([
  ['its own lane', 'own', 'own'],
  ['another lane', 'own', 'above'],
  ['another lane where its own is limited', 'limited', 'above'],
  ['its own lane that is limited', 'limited', 'limited'],
  ['a lane between where its own is limited', 'limited', 'own'],
])('a suspect and a more urgent command of %s both run', async (_, lane, urgentLane) => {
  const { ledger, manager } = await openLedger(5, {
    handlers,
    partitions: PartitionConfig.single(),
    concurrencyPerPartition: 2,
    lanes: {
      above: { priority: 1 },
      own: { priority: 2, retry: LOST },
      limited: { priority: 3, maxConcurrency: 1, retry: LOST },
      beside: { priority: 4, retry: LOST },
    },
  })
  const innocent = manager.submit(lane, 'pass', INNOCENT)
  const deadly = { index: KILLER, how: 'exit after', blockMs: 100 }
  const killer = manager.submit('beside', 'die', deadly).then(
    () => 'done',
    (error: { code: string }) => error.code,
  )
  await ledger.waitForStarts(2)
  const held = manager.submit('above', 'softGate', HELD)
  await ledger.waitForStarts(3)
  const urgent = manager.submit(urgentLane, 'mark', URGENT, { priority: 0 })
  const other = manager.submit('above', 'mark', OTHER)
  await new Promise((resolve) => setImmediate(resolve))
  ledger.openGate()
  const all = Promise.all([innocent, held, urgent, other])
  expect(await within(all, 'all but the killer', 8_000)).toEqual([INNOCENT, HELD, URGENT, OTHER])
  expect(await within(killer, 'the killer')).toBe('CORELANE_PARTITION_LOST')
  expect(ledger.allRuns(5)).toEqual([2, 3, 1, 1, 1])
  expect(manager.stats()).toMatchObject({ queued: 0, running: 0, deadLetters: 1 })
})
