// Contract moves: what cases of the contract do with a queue, and see of it.
// Owns: nothing.

import assert from 'node:assert/strict'
import type { QueueCounts } from '../../model/queue-standing.ts'
import { isErrorValue } from '../../wire/families.ts'
import type {
  CommandState,
  Delivery,
  LeasedQueue,
  SettleStatus,
} from '../contract/distributed-queue.ts'
import type { CommandEnvelope, CommandResult } from '../contract/envelope.ts'
import { failureOf, matches, referenceTo, successOf } from './contract-stage.ts'

export async function complete(
  queue: LeasedQueue,
  delivery: Delivery,
  value?: unknown,
): Promise<SettleStatus> {
  const result = successOf(delivery, queue, value)
  return (await queue.completeMany([{ delivery, result }]))[0]!
}

export function deadLetter(
  queue: LeasedQueue,
  delivery: Delivery,
  reason = 'x',
  message = 'x',
): Promise<SettleStatus> {
  return queue.deadLetter(delivery, reason, failureOf(delivery, queue, message))
}

/** Sees that a worker has no say in a delivery, or has none any more. */
export async function stale(queue: LeasedQueue, delivery: Delivery): Promise<void> {
  assert.deepEqual((await queue.extend([delivery])).lost, [delivery.fence])
  assert.deepEqual(await queue.start([delivery]), ['stale'])
  const result = failureOf(delivery, queue, 'too late')
  assert.deepEqual(await queue.completeMany([{ delivery, result }]), ['stale'])
  for (const reason of ['retry', 'unstarted', 'crash'] as const) {
    assert.deepEqual(await queue.release([delivery], { reason }), ['stale'])
  }
  assert.equal(await queue.deadLetter(delivery, 'too late', result), 'stale')
}

export async function stateOf(queue: LeasedQueue, command: CommandEnvelope): Promise<CommandState> {
  return (await queue.look([referenceTo(command)]))[0]!
}

/** The result of a command, which has ended. */
export async function endOf(queue: LeasedQueue, command: CommandEnvelope): Promise<CommandResult> {
  const known = await stateOf(queue, command)
  if (known.state !== 'ended') assert.fail(`${command.id} is ${known.state}`)
  return known.result
}

export async function holds(queue: LeasedQueue, expected: Partial<QueueCounts>): Promise<void> {
  matches(await queue.counts(), expected)
}

/** Completes commands, and is sure that each completion counted. */
export async function finish(queue: LeasedQueue, deliveries: readonly Delivery[]): Promise<void> {
  const completions = deliveries.map((delivery) => ({
    delivery,
    result: successOf(delivery, queue, delivery.envelope.id),
  }))
  const done = deliveries.map(() => 'done')
  assert.deepEqual(await queue.completeMany(completions), done)
}

/**
 * Sees that something is refused, with an error of a code.
 *
 * @param codes - One of which its error is to have; none: any error will do.
 */
export async function refused(
  what: string,
  promise: Promise<unknown>,
  ...codes: string[]
): Promise<void> {
  let error: unknown
  try {
    await promise
  } catch (reason) {
    error = reason
  }
  assert.ok(isErrorValue(error), `${what} was not refused`)
  const { code } = error as Error & { code?: string }
  assert.ok(
    codes.length === 0 || codes.includes(String(code)),
    `${what} was refused with ${code}: ${error.message}`,
  )
}
