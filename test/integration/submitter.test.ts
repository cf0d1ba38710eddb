// Goal: a submitter hands in what it is given whatever the queue does, and each promise settles
// once with what the command came to. Method: the engine of this process and a real worker; faults
// are put between the submitter and the queue.

import {
  commandInfo,
  type DistributedQueue,
  type LeasedQueue,
  type LocalDistributedQueue,
  PartitionConfig,
  type QueueIncident,
  Submitter,
} from 'corelane'
import { expect, test } from 'vitest'
import { block, failure, refused, rejection, until, within } from '../support/deadline.ts'
import { Ledger } from '../support/ledger.ts'
import { openQueue, openSubmitter, openWorker, withFaults } from '../support/pools.ts'
import { runProgram } from '../support/programs.ts'
import { range } from '../support/range.ts'

const one = PartitionConfig.single()
const hash = PartitionConfig.hash(4)

async function openAll(ledger = new Ledger(10)): Promise<LocalDistributedQueue> {
  const queue = openQueue(hash)
  await openWorker(queue, { ledger })
  return queue
}

test('results arrive, and errors as they were thrown', async () => {
  const submitter = openSubmitter(await openAll())
  const payload = { list: [1, 'two', null], at: new Date(5), bytes: new Uint8Array([1, 2]) }
  expect(await within(submitter.submit('query', 'echo', payload), 'a result')).toEqual(payload)
  const error = await failure(submitter.submit('query', 'rich'), 'a failure')
  expect(error).toBeInstanceOf(RangeError)
  expect(error).toMatchObject({ code: 'E_RICH', detail: { list: [1, 'two'] } })
  expect(error.message).toBe('the failure')
  expect(error.stack).toContain('distributed.js')
  expect(error.cause).toBeInstanceOf(TypeError)
  const info = (error as unknown as Record<symbol, unknown>)[commandInfo]
  expect(info).toMatchObject({ lane: 'query', type: 'rich', attempt: 1 })
  const several = await failure(submitter.submit('query', 'anyOf', ['a', 'b']), 'several')
  expect(several).toBeInstanceOf(AggregateError)
  expect(several).toMatchObject({ errors: [{ message: 'a' }, { message: 'b' }] })
  const text = await failure(submitter.submit('query', 'throwsText'), 'a text')
  expect(text).toMatchObject({ thrown: 'a bare string' })
  await until(() => submitter.stats().pending === 0, 'nothing is pending')
})

test('enqueue tells whether the queue had the command, and one id is one command', async () => {
  const ledger = new Ledger(10)
  const queue = await openAll(ledger)
  const submitter = openSubmitter(queue)
  const first = await within(submitter.enqueue('query', 'mark', 1, { id: 'the-id' }), 'first')
  expect(first).toEqual({ id: 'the-id', status: 'accepted' })
  const again = await within(submitter.enqueue('query', 'mark', 1, { id: 'the-id' }), 'again')
  expect(again).toEqual({ id: 'the-id', status: 'duplicate' })
  const twice = [0, 1].map(() => submitter.submit('query', 'mark', 2, { id: 'other' }))
  expect(await within(Promise.all(twice), 'both')).toEqual([2, 2])
  // It has ended: nothing is announced any more, and its result is still there.
  const later = openSubmitter(queue, { sweepMs: 20 })
  expect(await within(later.submit('query', 'mark', 2, { id: 'other' }), 'later')).toBe(2)
  const many = await within(
    submitter.enqueueMany([
      { lane: 'query', type: 'mark', payload: 3 },
      { lane: 'query', type: 'mark', payload: 4, key: 'a', id: 'four' },
    ]),
    'many',
  )
  expect(many.map(({ status }) => status)).toEqual(['accepted', 'accepted'])
  expect(many[1]!.id).toBe('four')
  await until(() => ledger.started === 4, 'all have run')
  expect(ledger.allRuns(5)).toEqual([0, 1, 1, 1, 1])
})

test('a balanced queue gets runs of commands by turn, round robin one at a time', async () => {
  const places = async (partitions: PartitionConfig): Promise<number[]> => {
    const queue = openQueue(partitions)
    const seen: number[] = []
    const watched = withFaults<LeasedQueue>(queue, {
      enqueueMany: (envelopes) => {
        seen.push(...envelopes.map(({ partitionId }) => partitionId))
        return queue.enqueueMany(envelopes)
      },
    })
    const submitter = openSubmitter(watched)
    const all = range(128).map((i) => submitter.enqueue('query', 'echo', i))
    await within(Promise.all(all), 'all of them')
    return seen
  }
  const runs = await places(PartitionConfig.balanced(4))
  for (let at = 0; at < 128; at += 32) {
    expect(new Set(runs.slice(at, at + 32)).size).toBe(1)
  }
  expect(new Set(runs).size).toBe(4)
  const turns = await places(PartitionConfig.roundRobin(4))
  for (let at = 0; at < 128; at += 4) expect(new Set(turns.slice(at, at + 4)).size).toBe(4)
})

test('wrong commands are refused one by one, and the others go through', async () => {
  const queue = await openAll()
  const refusing = withFaults<LeasedQueue>(queue, {
    enqueueMany: async (envelopes) => {
      if (envelopes.some(({ payload }) => payload === 'bad')) {
        throw Object.assign(new Error('bad'), { code: 'CORELANE_ENVELOPE_TOO_LARGE' })
      }
      return queue.enqueueMany(envelopes)
    },
  })
  const submitter = openSubmitter(refusing)
  const bad = failure(submitter.submit('query', 'echo', 'bad'), 'bad')
  const good = [1, 2, 3].map((value) => submitter.submit('query', 'echo', value))
  expect(await within(Promise.all(good), 'the good ones')).toEqual([1, 2, 3])
  expect((await bad).code).toBe('CORELANE_ENVELOPE_TOO_LARGE')
  await refused(submitter.submit('no lane', 'echo'), 'CORELANE_INVALID_ENVELOPE')
  await refused(submitter.submit('query', '../echo'), 'CORELANE_INVALID_ENVELOPE')
  for (const [lane, type] of [
    ['', 'echo'],
    ['query', ''],
  ] as const) {
    await refused(openSubmitter(queue).submit(lane, type), 'CORELANE_INVALID_ENVELOPE')
  }
  const wrong = { priority: 300 }
  await refused(submitter.submit('query', 'echo', 1, wrong), 'CORELANE_INVALID_OPTION')
  const keyless = openSubmitter(openQueue(PartitionConfig.roundRobin(2)))
  const keyed = keyless.submit('query', 'echo', 1, { key: 'a' })
  await refused(keyed, 'CORELANE_INVALID_ENVELOPE')
})

test('enqueueMany rejects with what is wrong with its list, and leaves no rejection behind', async () => {
  const submitter = openSubmitter(openQueue(one))
  const refusal = async (list: unknown) => failure(submitter.enqueueMany(list as never), 'a list')
  for (const list of [undefined, null, 5, {}]) {
    expect((await refusal(list)).message).toMatch(/^enqueueMany\.commands is .+; allowed: commands/)
  }
  expect(await refusal([null])).toMatchObject({ code: 'CORELANE_INVALID_ENVELOPE' })
  // An unhandled rejection of the first would fail this file.
  function* half() {
    yield { lane: 'no lane', type: 'echo' }
    throw new RangeError('half-way')
  }
  expect(await refusal(half())).toMatchObject({ message: 'half-way' })
})

test('while the queue is down submits are kept, until their time is over', async () => {
  const queue = await openAll()
  let isDown = true
  const calls: number[] = []
  const shaky = withFaults<LeasedQueue>(queue, {
    enqueueMany: async (envelopes) => {
      calls.push(envelopes.length)
      // The second call is carried out, and only its answer is lost.
      if (calls.length === 2) await queue.enqueueMany(envelopes)
      if (isDown) throw new Error('connection lost')
      return queue.enqueueMany(envelopes)
    },
  })
  const incidents: QueueIncident[] = []
  const onIncident = (incident: QueueIncident) => void incidents.push(incident)
  const submitter = openSubmitter(shaky, { onIncident, sweepMs: 50 })
  const results = [1, 2, 3].map((value) => submitter.submit('query', 'echo', value))
  // No answer has come to any call, and the results come all the same.
  expect(await within(Promise.all(results), 'the results')).toEqual([1, 2, 3])
  expect(calls.slice(0, 2)).toEqual([3, 3])
  const before = calls.length
  const last = submitter.submit('query', 'echo', 4)
  await until(() => calls.length > before + 1, 'it is tried again')
  isDown = false
  expect(await within(last, 'the last')).toBe(4)
  expect(incidents[0]).toMatchObject({ what: 'queue-failed', error: new Error('connection lost') })
  const never = withFaults<LeasedQueue>(queue, { enqueueMany: () => new Promise(() => {}) })
  const hasty = openSubmitter(never, { timeoutMs: 40, sweepMs: 10 })
  await refused(hasty.submit('query', 'echo', 1), 'CORELANE_QUEUE_UNAVAILABLE')
})

test('what a command has waited for the queue is taken off its deadline', async () => {
  const queue = openQueue(one)
  let isDown = true
  const sent: (number | undefined)[] = []
  const shaky = withFaults<LeasedQueue>(queue, {
    enqueueMany: async (envelopes) => {
      for (const { deadline, createdAt } of envelopes) {
        sent.push(deadline === undefined ? undefined : deadline - createdAt)
      }
      if (isDown) throw new Error('connection lost')
      return queue.enqueueMany(envelopes)
    },
  })
  const submitter = openSubmitter(shaky)
  const all = submitter.enqueueMany([
    { lane: 'query', type: 'echo', deadlineMs: 100 },
    { lane: 'query', type: 'echo', deadlineMs: 60_000 },
    { lane: 'query', type: 'echo' },
  ])
  await until(() => sent.length >= 12, 'it is tried again')
  isDown = false
  await within(all, 'all')
  // The first call comes some milliseconds after the submit on a busy machine, hence the bounds.
  expect(sent[0]).toBeLessThanOrEqual(100)
  expect(sent[1]).toBeGreaterThan(30_000)
  // The fourth call comes after pauses of at least 25, 50 and 100 ms: nothing is left of 100 ms.
  expect(sent.at(-3)).toBe(0)
  expect(sent.at(-2)).toBeLessThanOrEqual(60_000 - 175)
  expect(sent.at(-1)).toBeUndefined()
})

test('a result whose announcement is lost is looked up', async () => {
  const queue = await openAll()
  const silent = withFaults<LeasedQueue>(queue, { announce: async () => async () => {} })
  const submitter = openSubmitter(silent, { sweepMs: 20 })
  const results = [1, 2, 3].map((value) => submitter.submit('query', 'echo', value))
  expect(await within(Promise.all(results), 'the results')).toEqual([1, 2, 3])
  expect(submitter.stats()).toMatchObject({ swept: 3, ended: 3, reenqueued: 0, pending: 0 })
})

test('what the queue has accepted and lost is enqueued again', async () => {
  const ledger = new Ledger(4)
  const queue = await openAll(ledger)
  let losses = 2
  const forgetful = withFaults<LeasedQueue>(queue, {
    enqueueMany: async (envelopes) =>
      losses-- > 0 ? envelopes.map(() => 'accepted' as const) : queue.enqueueMany(envelopes),
  })
  const incidents: QueueIncident[] = []
  const onIncident = (incident: QueueIncident) => void incidents.push(incident)
  const submitter = openSubmitter(forgetful, { sweepMs: 20, onIncident })
  const lost = submitter.submit('query', 'mark', 1, { id: 'lost' })
  expect(await within(lost, 'the lost one')).toBe(1)
  expect(submitter.stats().reenqueued).toBe(2)
  expect(incidents).toEqual(new Array(2).fill({ what: 'commands-lost', commandIds: ['lost'] }))
  expect(ledger.runs(1)).toBe(1)
})

test('what may have ended long ago is not run again, and what cannot have is', async () => {
  const ledger = new Ledger(4)
  const queue = await openAll(ledger)
  let isCutOff = false
  const isLost = new Set<string>()
  const faulty = withFaults<LeasedQueue>(queue, {
    resultTtlMs: 400,
    announce: async () => async () => {},
    look: async (commands) => {
      if (isCutOff) throw new Error('connection lost')
      const states = await queue.look(commands)
      return states.map((state, i) =>
        isLost.has(commands[i]!.commandId) ? { state: 'unknown' } : state,
      )
    },
  })
  const submitter = openSubmitter(faulty, { sweepMs: 20 })
  isLost.add('ended')
  isCutOff = true
  const ended = failure(submitter.submit('query', 'mark', 1, { id: 'ended' }), 'the one that ended')
  await until(() => ledger.runs(1) === 1, 'it has run')
  await new Promise((resolve) => setTimeout(resolve, 450))
  isCutOff = false
  expect(await ended).toMatchObject({
    code: 'CORELANE_RESULT_EXPIRED',
    details: { id: 'ended', resultTtlMs: 400 },
  })
  expect(submitter.stats().reenqueued).toBe(0)
  // Looked up in time, again and again: what is unknown then was lost.
  isLost.add('lost')
  const lost = submitter.submit('query', 'mark', 2, { id: 'lost' })
  await until(() => submitter.stats().reenqueued > 0, 'it is enqueued again')
  isLost.clear()
  expect(await within(lost, 'the one that was lost')).toBe(2)
  expect(ledger.allRuns(3)).toEqual([0, 1, 1])
})

test('a command that takes longer than results are kept is looked up often enough', async () => {
  const ledger = new Ledger(4)
  const queue = await openAll(ledger)
  const spans: number[] = []
  let lastMs = performance.now()
  const silent = withFaults<LeasedQueue>(queue, {
    resultTtlMs: 200,
    announce: async () => async () => {},
    look: (commands) => {
      spans.push(performance.now() - lastMs)
      lastMs = performance.now()
      return queue.look(commands)
    },
  })
  const submitter = openSubmitter(silent, { sweepMs: 1000 })
  const result = submitter.submit('query', 'gate', 1)
  await until(() => spans.length > 8, 'nine looks')
  ledger.openGate()
  expect(await within(result, 'its result')).toBe(1)
  // Four in the time for which results are kept; sixteen times that is left to a busy machine.
  expect(spans.toSorted((a, b) => a - b)[4]).toBeLessThan(800)
})

test('two submitters of one id run it once, however short results are kept', async () => {
  const queue = openQueue(hash, { resultTtlMs: 100 })
  const { ledger } = await openWorker(queue)
  const first = openSubmitter(queue).submit('query', 'gate', 1, { id: 'a' })
  await until(() => ledger.runs(1) === 1, 'it runs')
  let looks = 0
  const counted = withFaults<LeasedQueue>(queue, {
    look: (commands) => {
      looks++
      return queue.look(commands)
    },
  })
  const submitter = openSubmitter(counted, { sweepMs: 50 })
  // It has the result, or learns that it came too late for it.
  const second = Promise.allSettled([submitter.submit('query', 'gate', 1, { id: 'a' })])
  await until(() => looks > 3, 'it was looked up several times')
  ledger.openGate()
  expect(await within(first, 'the first')).toBe(1)
  await within(second, 'the second')
  expect(submitter.stats().reenqueued).toBe(0)
  expect(ledger.allRuns(2)).toEqual([0, 1])
})

test('past the bound submits wait their turn', async () => {
  const queue = await openAll()
  const submitter = openSubmitter(queue, { maxPending: 3 })
  const results = range(10).map((i) => submitter.submit('query', 'echo', i))
  expect(submitter.stats()).toMatchObject({ pending: 3, waiting: 7 })
  expect(await within(Promise.all(results), 'all')).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

test('a signal and a time-out are heeded while a submit waits for room', async () => {
  const queue = openQueue(hash)
  const submitter = openSubmitter(queue, { maxPending: 1, timeoutMs: 60, sweepMs: 10 })
  const open = submitter.submit('query', 'echo', 1)
  await until(() => submitter.stats().unaccepted === 0, 'the queue has the first')
  const controller = new AbortController()
  const { signal } = controller
  const aborted = failure(submitter.submit('query', 'echo', 2, { signal }), 'the aborted one')
  const late = failure(submitter.submit('query', 'echo', 3), 'the late one')
  expect(submitter.stats()).toMatchObject({ pending: 1, waiting: 2 })
  controller.abort(new Error('the client went away'))
  expect((await aborted).message).toContain('waiting for room')
  expect(submitter.stats()).toMatchObject({ pending: 1, waiting: 1 })
  expect((await late).code).toBe('CORELANE_QUEUE_UNAVAILABLE')
  expect(submitter.stats()).toMatchObject({ pending: 1, waiting: 0 })
  // Neither of the two was ever sent.
  expect((await queue.counts()).waiting).toBe(1)
  await openWorker(queue)
  expect(await within(open, 'the first')).toBe(1)
  expect(await within(submitter.submit('query', 'echo', 4), 'another')).toBe(4)
  expect(submitter.stats()).toMatchObject({ ended: 2, pending: 0, waiting: 0 })
})

test('the time of a submit that has followed another counts from its own call', async () => {
  const queue = openQueue(hash)
  const never = withFaults<LeasedQueue>(queue, { enqueueMany: () => new Promise(() => {}) })
  const submitter = openSubmitter(never, { timeoutMs: 200, sweepMs: 10 })
  const controller = new AbortController()
  const { signal } = controller
  const ends: string[] = []
  const submit = (name: string, id: string, options = {}) =>
    rejection(submitter.submit('query', 'echo', 1, { id, ...options }), name).then((reason) => {
      ends.push(name)
      return reason
    })
  const all = [submit('the first', 'a', { signal }), submit('its follower', 'a')]
  block(1)
  all.push(submit('a younger one', 'b'))
  // The follower comes after the younger one now.
  controller.abort()
  for (const [i, code] of ['ABORTED', 'QUEUE_UNAVAILABLE', 'QUEUE_UNAVAILABLE'].entries()) {
    expect(await all[i]).toMatchObject({ code: `CORELANE_${code}` })
  }
  expect(ends).toEqual(['the first', 'its follower', 'a younger one'])
})

test('two submits of one id share its result and nothing else', async () => {
  const queue = openQueue(hash)
  const submitter = openSubmitter(queue)
  const [first, second] = [new AbortController(), new AbortController()]
  const submit = (signal?: AbortSignal) =>
    submitter.submit('query', 'echo', 'shared', { id: 'a', signal })
  const leader = rejection(submit(first.signal), 'the first')
  const follower = rejection(submit(second.signal), 'the second')
  const third = submit()
  const outcome = submitter.execute('query', 'echo', 'shared', { id: 'a' })
  await until(() => submitter.stats().unaccepted === 0, 'the queue has it')
  second.abort()
  expect(await follower).toMatchObject({ code: 'CORELANE_ABORTED' })
  first.abort()
  expect(await leader).toMatchObject({ code: 'CORELANE_ABORTED' })
  await openWorker(queue)
  expect(await within(third, 'the third')).toBe('shared')
  expect(await within(outcome, 'its outcome')).toMatchObject({ ok: true, value: 'shared' })
  const closing = failure(submitter.submit('query', 'never', 0, { id: 'b' }), 'the one')
  const other = failure(submitter.submit('query', 'never', 0, { id: 'b' }), 'the other')
  await submitter.close()
  expect([(await closing).code, (await other).code]).toEqual(
    Array(2).fill('CORELANE_SUBMITTER_CLOSED'),
  )
})

test('a cancel ends every submit of its id, also before the queue has one', async () => {
  const queue = openQueue(hash)
  const submitter = openSubmitter(queue)
  const all = ['first', 'second', 'third'].map((which) =>
    rejection(submitter.submit('query', 'echo', which, { id: 'a' }), which),
  )
  expect(await submitter.cancel('a')).toBe('cancelled')
  for (const each of all) expect(await each).toMatchObject({ code: 'CORELANE_ABORTED' })
  // What was to be sent before is sent by now.
  await submitter.enqueue('query', 'echo', 1)
  expect(await queue.counts()).toMatchObject({ waiting: 1, leased: 0 })
  expect(submitter.stats()).toMatchObject({ pending: 0, unaccepted: 0, waiting: 0 })
})

test('a signal cancels what the queue has taken though its answer was lost', async () => {
  const queue = openQueue(hash)
  const controller = new AbortController()
  let calls = 0
  const faulty = withFaults<LeasedQueue>(queue, {
    enqueueMany: async (envelopes) => {
      const statuses = await queue.enqueueMany(envelopes)
      if (calls++ === 0) throw new Error('the answer is lost')
      return statuses
    },
  })
  const onIncident = ({ what }: QueueIncident) => {
    if (what === 'queue-failed') controller.abort()
  }
  const submitter = openSubmitter(faulty, { onIncident })
  const options = { id: 'a', signal: controller.signal }
  const submit = submitter.submit('query', 'echo', 1, options)
  await refused(submit, 'CORELANE_ABORTED')
  await submitter.close()
  const found = await queue.commands!.find('a')
  expect(found).toMatchObject({ state: 'ended', result: { error: { code: 'CORELANE_ABORTED' } } })
})

test('a signal leaves a command alone that is submitted again while its first call is under way', async () => {
  const queue = openQueue(hash)
  const controller = new AbortController()
  let answer: (() => void) | undefined
  const slow = withFaults<LeasedQueue>(queue, {
    enqueueMany: async (envelopes) => {
      const statuses = await queue.enqueueMany(envelopes)
      await new Promise<void>((resolve) => {
        if (answer === undefined) answer = resolve
        else resolve()
      })
      return statuses
    },
  })
  const submitter = openSubmitter(slow)
  const submit = (options = {}) => submitter.submit('query', 'echo', 1, { id: 'a', ...options })
  const first = rejection(submit({ signal: controller.signal }), 'the first')
  await until(() => answer !== undefined, 'the queue has it')
  controller.abort()
  expect(await first).toMatchObject({ code: 'CORELANE_ABORTED' })
  const second = submit()
  answer!()
  await openWorker(queue)
  expect(await within(second, 'the second')).toBe(1)
})

test('a signal leaves the command of another alone, whose queue was full meanwhile', async () => {
  const queue = openQueue(hash, { maxPending: 1 })
  await openSubmitter(queue).enqueue('query', 'echo', 1, { id: 'a' })
  const controller = new AbortController()
  const onIncident = ({ what }: QueueIncident) => {
    if (what === 'queue-failed') controller.abort()
  }
  const submitter = openSubmitter(queue, { onIncident })
  const { signal } = controller
  const both = ['a', 'b'].map((id) => submitter.submit('query', 'echo', 1, { id, signal }))
  for (const each of both) await refused(each, 'CORELANE_ABORTED')
  await submitter.close()
  expect(await queue.commands!.find('a')).toMatchObject({ state: 'waiting' })
})

test('what was lost has all its time again to be accepted', async () => {
  const queue = await openAll()
  const timeoutMs = 400
  const startMs = performance.now()
  const isOld = () => performance.now() - startMs > 2 * timeoutMs
  const forgetful = withFaults<LeasedQueue>(queue, {
    enqueueMany: async (envelopes) =>
      isOld() ? queue.enqueueMany(envelopes) : envelopes.map(() => 'accepted' as const),
    look: async (commands) =>
      isOld() ? queue.look(commands) : commands.map(() => ({ state: 'pending' as const })),
  })
  const submitter = openSubmitter(forgetful, { sweepMs: 20, timeoutMs })
  expect(await within(submitter.submit('query', 'echo', 1), 'it')).toBe(1)
  expect(submitter.stats().reenqueued).toBe(1)
})

test('a signal and close reject what is open', async () => {
  const queue = openQueue(hash)
  const submitter = openSubmitter(queue, { maxPending: 2 })
  const controller = new AbortController()
  const { signal } = controller
  const aborted = rejection(submitter.submit('query', 'echo', 1, { signal }), 'the aborted one')
  const open = failure(submitter.submit('query', 'echo', 2), 'the open one')
  const waiting = failure(submitter.submit('query', 'echo', 3), 'the waiting one')
  controller.abort(new Error('enough'))
  expect(await aborted).toMatchObject({ code: 'CORELANE_ABORTED', cause: new Error('enough') })
  await refused(submitter.submit('query', 'echo', 4, { signal }), 'CORELANE_ABORTED')
  await submitter.close()
  expect([(await open).code, (await waiting).code]).toEqual(
    new Array(2).fill('CORELANE_SUBMITTER_CLOSED'),
  )
  await refused(submitter.submit('query', 'echo', 5), 'CORELANE_SUBMITTER_CLOSED')
})

test('a second close settles with the first', async () => {
  const queue = openQueue(hash)
  const order: string[] = []
  const faulty = withFaults<LeasedQueue>(queue, {
    announce: async () => async () => {
      await new Promise(setImmediate)
      order.push('announcements end')
    },
  })
  const submitter = openSubmitter(faulty)
  const open = failure(submitter.submit('query', 'echo', 1), 'the open one')
  await until(() => submitter.stats().unaccepted === 0, 'the queue has it')
  const closes = ['first', 'second'].map((which) => submitter.close().then(() => order.push(which)))
  await within(Promise.all(closes), 'both')
  expect(order).toEqual(['announcements end', 'first', 'second'])
  await open
})

test('close waits for no announcement that does not begin, which ends once it has', async () => {
  const queue = openQueue(hash)
  const ended: string[] = []
  const incidents: unknown[] = []
  let begin: (() => void) | undefined
  const faulty = withFaults<LeasedQueue>(queue, {
    announce: () =>
      new Promise((resolve) => {
        begin = () => resolve(async () => void ended.push('results'))
      }),
    commands: withFaults(queue.commands!, {
      onProgress: async () => async () => {
        ended.push('progress')
        throw new Error('unreachable')
      },
    }),
  })
  const onIncident = ({ what, error }: QueueIncident) => {
    if (what === 'queue-failed') incidents.push(error)
  }
  const submitter = openSubmitter(faulty, { onIncident })
  const open = failure(submitter.submit('query', 'echo', 1, { onProgress: () => {} }), 'it')
  await until(() => begin !== undefined, 'the queue is asked to announce')
  await within(submitter.close(), 'close')
  expect((await open).code).toBe('CORELANE_SUBMITTER_CLOSED')
  expect([ended, incidents]).toEqual([['progress'], [new Error('unreachable')]])
  begin!()
  await until(() => ended.length === 2, 'announcements end')
})

test('five members are enough: the same object serves submitter and worker', async () => {
  const waiting: Parameters<DistributedQueue['enqueue']>[0][] = []
  const least: DistributedQueue = {
    numPartitions: 1,
    workerId: 'least',
    enqueue: async (envelope) => void waiting.push(envelope),
    dequeue: async () => waiting.shift() ?? null,
    complete: async () => {},
  }
  await openWorker(least, { pool: { allowDegraded: true } })
  const submitter = openSubmitter(least)
  expect(await within(submitter.submit('query', 'echo', 'x'), 'a result')).toBe('x')
  expect((await failure(submitter.submit('query', 'alwaysFails', 1), 'it')).message).toBe('no: 1')
  const keyed = new Submitter(least, { allowDegraded: true })
  expect(await within(keyed.submit('query', 'echo', 2, { priority: 1 }), 'it')).toBe(2)
  await keyed.close()
})

test('a process lives as long as something is outstanding, and no longer', async () => {
  const ending = await runProgram(`
    const { LocalDistributedQueue, Submitter, WorkerPool } = await import('corelane')
    const handlers = new URL('./test/fixtures/survival.js', 'file://' + process.cwd() + '/')
    const manager = QueueManager.create({ handlers, partitions: { count: 1 } })
    const queue = LocalDistributedQueue.auto()
    const pool = new WorkerPool(queue, manager)
    await pool.start()
    const submitter = new Submitter(queue)
    submitter.submit('query', 'wait', { ms: 300 }).then(async (result) => {
      console.log(result)
      await pool.drain()
    })
  `)
  expect(ending).toMatchObject({ code: 0, signal: null, stdout: 'slept\n', stderr: '' })
})
