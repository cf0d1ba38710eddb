// Goal: a queue of five members that is lifted keeps as much of the contract as it claims, and
// refuses the rest. Method: the published suite on the least queue that there can be, and what is
// special about lifting by hand.

import { type CommandEnvelope, type DistributedQueue, liftQueue } from 'corelane'
import { leftOutOfContract, type QueueContractOptions, queueContract } from 'corelane/testing'
import { expect, test } from 'vitest'
import { failure, until, within } from '../support/deadline.ts'
import { envelopeOf, resultOf } from '../support/envelopes.ts'
import { range } from '../support/range.ts'

/** The least queue: a list for each partition. */
class ListQueue implements DistributedQueue {
  readonly workerId: string
  readonly numPartitions: number
  readonly lists: CommandEnvelope[][]
  readonly completed: string[] = []
  asked = 0

  constructor(workerId = 'w1', lists: CommandEnvelope[][] = [[], []]) {
    this.workerId = workerId
    this.lists = lists
    this.numPartitions = lists.length
  }

  async enqueue(envelope: CommandEnvelope): Promise<void> {
    this.lists[envelope.partitionId]!.push(envelope)
  }

  async dequeue(partitionId: number): Promise<CommandEnvelope | null> {
    this.asked++
    return this.lists[partitionId]!.shift() ?? null
  }

  async complete({ commandId, success, error }: { commandId: string } & Ended): Promise<void> {
    this.completed.push(`${commandId} ${success} ${error?.code ?? ''}`.trim())
  }
}

interface Ended {
  readonly success: boolean
  readonly error?: { readonly code?: string | undefined } | undefined
}

const brokers = new Map<string, CommandEnvelope[][]>()
const engine: QueueContractOptions = {
  carriesClones: true,
  capabilities: liftQueue(new ListQueue()).capabilities,
  open: async ({ queue, workerId, strategy, numPartitions }) => {
    const lists = brokers.get(queue) ?? range(numPartitions).map(() => [])
    brokers.set(queue, lists)
    return liftQueue(new ListQueue(workerId, lists), { strategy })
  },
}

for (const { name, run } of queueContract(engine)) test.concurrent(name, run)

test('what it does not claim is listed with what it would take', () => {
  const leftOut = leftOutOfContract(engine)
  expect(leftOut.length).toBeGreaterThan(40)
  expect(leftOut.filter(({ needs }) => needs.length === 0)).toEqual([])
  expect(leftOut.find(({ name }) => name.startsWith('tokens keep'))?.needs).toEqual(['rates'])
})

let count = 0

function envelope(members: Partial<CommandEnvelope> = {}): CommandEnvelope {
  return envelopeOf(`c${count++}`, members)
}

const request = {
  partitions: [0, 1],
  lanes: [{ laneId: 'lane', max: 10, priority: 5, boost: [] }],
  max: 10,
  waitMs: 0,
}

test('it delivers at most once and says so', async () => {
  const least = new ListQueue()
  const queue = liftQueue(least)
  expect(queue.capabilities).toMatchObject({ delivery: 'at-most-once', delay: false })
  await queue.enqueue(envelope({ id: 'lost' }))
  const [delivery] = await queue.lease(request)
  expect(await queue.release([delivery!], { reason: 'crash' })).toEqual(['done'])
  expect(await queue.lease(request)).toEqual([])
  expect(least.completed).toEqual(['lost false CORELANE_POISONED'])
})

test('what it cannot do is refused', async () => {
  const queue = liftQueue(new ListQueue(), { strategy: 'hash' })
  await queue.enqueue(envelope())
  const [delivery] = await queue.lease(request)
  const reference = { commandId: delivery!.envelope.id, partitionId: 0 }
  const refusals = {
    key: queue.enqueue(envelope({ key: 'k' })),
    delay: queue.release([delivery!], { reason: 'retry', delayMs: 5 }),
    rate: queue.limits.takeTokens('lane', { limit: 1, windowMs: 1 }, 1),
    slots: queue.limits.takeSlots('lane', 1, ['a']),
    list: queue.dead.list(),
    redrive: queue.dead.redrive([reference]),
    drop: queue.dead.drop([reference]),
    counts: queue.counts(),
  }
  for (const [what, refusal] of Object.entries(refusals)) {
    expect((await failure(refusal, what)).code, what).toBe('CORELANE_DEGRADED')
  }
  expect((await queue.extend([delivery!])).lost).toEqual([])
})

test('commands of lanes that are not wanted wait for who wants them', async () => {
  const queue = liftQueue(new ListQueue())
  await queue.enqueueMany([
    envelope({ laneId: 'other', id: 'first' }),
    envelope({ id: 'second' }),
    envelope({ laneId: 'other', id: 'third' }),
  ])
  const given = await queue.lease(request)
  expect(given.map((delivery) => delivery.envelope.id)).toEqual(['second'])
  const lanes = [{ laneId: 'other', max: 5, priority: 5, boost: [] }]
  expect((await queue.dequeue(0))?.id).toBe('first')
  const others = await queue.lease({ ...request, lanes })
  expect(others.map((delivery) => delivery.envelope.id)).toEqual(['third'])
})

test('close gives back what was taken and not given out', async () => {
  const least = new ListQueue()
  const queue = liftQueue(least)
  await queue.enqueueMany([envelope({ laneId: 'other', id: 'kept' }), envelope()])
  expect(await queue.lease(request)).toHaveLength(1)
  expect(least.lists[0]).toEqual([])
  await queue.close()
  expect(least.lists[0]!.map(({ id }) => id)).toEqual(['kept'])
})

test('what close cannot give back takes no other with it', async () => {
  const least = new ListQueue()
  const queue = liftQueue(least)
  const ids = ['a', 'b', 'c']
  await queue.enqueueMany(ids.map((id) => envelope({ laneId: 'other', id })))
  expect(await queue.lease(request)).toEqual([])
  const enqueue = least.enqueue.bind(least)
  least.enqueue = (each) => {
    if (each.id !== 'b') return enqueue(each)
    throw new Error('no room')
  }
  expect((await failure(queue.close(), 'close')).message).toBe('no room')
  expect(least.lists[0]!.map(({ id }) => id)).toEqual(['a', 'c'])
})

/** A queue with the command `late`, which it gives out once it is told to answer. */
async function liftLate() {
  const least = new ListQueue()
  let answer = (): void => {}
  const dequeue = least.dequeue.bind(least)
  least.dequeue = (partitionId) =>
    new Promise((resolve) => {
      answer = () => resolve(dequeue(partitionId))
    })
  const queue = liftQueue(least)
  await queue.enqueue(envelope({ id: 'late' }))
  return { least, queue, answer: () => answer() }
}

test('a wait that is closed while the queue answers gives the command back', async () => {
  const { least, queue, answer } = await liftLate()
  const waiting = queue.lease({ ...request, partitions: [0], waitMs: 1000 })
  const order: string[] = []
  const closes = ['first', 'second'].map((which) => queue.close().then(() => order.push(which)))
  answer()
  expect(await within(waiting, 'the wait')).toEqual([])
  await within(Promise.all(closes), 'close')
  expect(order).toEqual(['first', 'second'])
  expect(least.lists[0]!.map(({ id }) => id)).toEqual(['late'])
})

test('a command that is dequeued while the queue is closed goes back', async () => {
  const { least, queue, answer } = await liftLate()
  const taken = queue.dequeue(0)
  const closing = queue.close()
  answer()
  expect(await within(taken, 'the answer')).toBe(null)
  await within(closing, 'close')
  expect(least.lists[0]!.map(({ id }) => id)).toEqual(['late'])
})

test('an empty queue is asked more and more seldom', async () => {
  const least = new ListQueue()
  const queue = liftQueue(least, { pollMs: 10, maxPollMs: 80 })
  const askedAt: number[] = []
  const dequeue = least.dequeue.bind(least)
  least.dequeue = (partitionId) => {
    askedAt.push(performance.now())
    return dequeue(partitionId)
  }
  const waiting = queue.lease({ ...request, partitions: [0], waitMs: 60_000 })
  await until(() => askedAt.length > 5, 'six questions')
  await queue.close()
  expect(await waiting).toEqual([])
  // A timer may be early by a millisecond, and late by any number.
  for (const [i, ms] of [10, 20, 40, 80, 80].entries()) {
    expect(askedAt[i + 1]! - askedAt[i]!).toBeGreaterThan(ms - 2)
  }
})

test('what another process enqueues is found, though nobody tells', async () => {
  const least = new ListQueue()
  const queue = liftQueue(least)
  const waiting = queue.lease({ ...request, waitMs: 10_000 })
  await until(() => least.asked > 4, 'it asks')
  least.lists[1]!.push(envelope({ id: 'silent', partitionId: 1 }))
  const [delivery] = await within(waiting, 'the command')
  expect(delivery!.envelope.id).toBe('silent')
})

test('what cannot be read ends as a failure if it has an id, and hurts nobody', async () => {
  const least = new ListQueue()
  const strange = [{ id: 'half' }, { id: '../etc' }, 'text', 7, { ...envelope(), laneId: '{x}' }]
  least.lists[0]!.push(...(strange as CommandEnvelope[]), envelope({ id: 'good' }))
  const queue = liftQueue(least)
  const given = await queue.lease(request)
  expect(given.map((delivery) => delivery.envelope.id)).toEqual(['good'])
  expect(least.completed[0]).toBe('half false CORELANE_INVALID_ENVELOPE')
  expect(least.completed).toHaveLength(2)
})

test('a completion that the queue refused can be repeated', async () => {
  const least = new ListQueue()
  const queue = liftQueue(least)
  await queue.enqueue(envelope({ id: 'twice' }))
  const [delivery] = await queue.lease(request)
  const complete = least.complete.bind(least)
  least.complete = async () => {
    throw new Error('no connection')
  }
  const completion = [{ delivery: delivery!, result: resultOf('twice') }]
  expect((await failure(queue.completeMany(completion), 'completion')).message).toBe(
    'no connection',
  )
  least.complete = complete
  expect(await queue.completeMany(completion)).toEqual(['done'])
  expect(await queue.completeMany(completion)).toEqual(['stale'])
})

test('an enqueue that the queue refused can be repeated', async () => {
  const least = new ListQueue()
  const queue = liftQueue(least)
  const enqueue = least.enqueue.bind(least)
  least.enqueue = async () => {
    throw new Error('no connection')
  }
  const command = envelope()
  await failure(queue.enqueueMany([command]), 'enqueue')
  expect(await queue.look([{ commandId: command.id, partitionId: 0 }])).toEqual([
    { state: 'unknown' },
  ])
  least.enqueue = enqueue
  expect(await queue.enqueueMany([command])).toEqual(['accepted'])
  expect(await queue.enqueueMany([command])).toEqual(['duplicate'])
})

test('an id is no duplicate of one that the queue is about to refuse', async () => {
  const least = new ListQueue()
  let refuse = (): void => {}
  least.enqueue = () =>
    new Promise((_, reject) => {
      refuse = () => reject(new Error('no connection'))
    })
  const queue = liftQueue(least)
  const command = envelope()
  const calls = [queue.enqueueMany([command]), queue.enqueueMany([command])]
  refuse()
  for (const call of calls) {
    expect((await failure(call, 'enqueue')).message).toBe('no connection')
  }
  least.enqueue = async () => {}
  expect(await queue.enqueueMany([command])).toEqual(['accepted'])
})

test('what is remembered is bounded', async () => {
  const queue = liftQueue(new ListQueue(), { maxKnown: 2 })
  const commands = [envelope(), envelope(), envelope()]
  await queue.enqueueMany(commands)
  const states = await queue.look(commands.map(({ id }) => ({ commandId: id, partitionId: 0 })))
  expect(states.map(({ state }) => state)).toEqual(['unknown', 'pending', 'pending'])
})

test.each([
  [{ pollMs: 0 }, 'pollMs'],
  [{ strategy: 'custom' as const }, 'strategy'],
  [{ maxKnown: -1 }, 'maxKnown'],
])('bad options are refused: %o', (options, option) => {
  expect(() => liftQueue(new ListQueue(), options)).toThrow(option)
})

test('a queue without partitions or with a bad name is refused', () => {
  expect(() => liftQueue(new ListQueue('w1', []))).toThrow('numPartitions')
  expect(() => liftQueue(new ListQueue('{w}'))).toThrow('workerId')
})
