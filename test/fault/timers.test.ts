// Timers: commands that are delayed or may be late, while they are retried or lose their
// partition. Goal: each ends once, and none is forgotten.

import { PartitionConfig } from 'corelane'
import { expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { moduleOf, open, openLedger } from '../support/managers.ts'

const handlers = moduleOf(`
  export function second(payload, context) {
    if (context.attempt < 2) throw new Error('the first attempt fails')
    return payload
  }
  export const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))`)

const options = {
  handlers,
  partitions: PartitionConfig.single(),
  lanes: { strict: { onDeadline: 'reject', retry: { retries: 3, delayMs: 20 } } },
} as const

test('a command that succeeds on its second attempt is not late afterwards', async () => {
  const manager = await open('values.js', options)
  const result = manager.submit('strict', 'second', 7, { deadlineMs: 1500 })
  expect(await within(result, 'the second attempt')).toBe(7)
  await within(manager.submit('strict', 'wait', 1600), 'the time until its deadline is over')
  expect(manager.stats()).toMatchObject({ submitted: 2, completed: 2, failed: 0, retried: 1 })
})

test('a command whose second attempt waits past its deadline is late once', async () => {
  const manager = await open('values.js', options)
  const late = failure(manager.submit('strict', 'second', 7, { deadlineMs: 150 }), 'late')
  const long = manager.submit('strict', 'wait', 400)
  expect((await late).code).toBe('CORELANE_DEADLINE_EXCEEDED')
  await within(long, 'the long one')
  expect(manager.stats()).toMatchObject({ submitted: 2, completed: 1, failed: 1, retried: 1 })
})

test('a command that is delayed until after its partition was given up rejects with the cause', async () => {
  const { ledger, manager } = await openLedger(2, { partitions: PartitionConfig.single() })
  ledger.failsToLoad = true
  const killer = failure(manager.run('die', { index: 0, how: 'exit' }), 'the deadly command')
  // A busy machine takes its time to give it up: what is due before that waits for the thread.
  const delayed = [5_000, 10_000, 20_000, 35_000].map((delayMs) => {
    return manager.run('mark', 1, { delayMs })
  })
  for (const one of delayed) one.catch(() => {})
  await killer
  await until(() => manager.stats().partitions[0]!.state === 'failed', 'it is given up', 30_000)
  const { queued } = manager.stats()
  const error = await failure(delayed.at(-queued)!, 'the next one')
  expect(error.code).toBe('CORELANE_HANDLERS_FAILED')
  expect(manager.stats()).toMatchObject({ queued: queued - 1 })
})
