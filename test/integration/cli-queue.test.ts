// CLI queue: `corelane worker` and `corelane run --queue` as a shell runs them, on a real Redis.

import { randomUUID } from 'node:crypto'
import { PartitionConfig, Submitter } from 'corelane'
import { RedisDistributedQueue } from 'corelane/redis'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { within as withinMs } from '../support/deadline.ts'
import { keep } from '../support/pools.ts'
import { range } from '../support/range.ts'
import type { RedisProcess } from '../support/redis-process.js'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'
import { CliProcess, CliSession, type Ending, fixture, toLines } from './support/cli-process.ts'

const handlers = fixture('cli-handlers.js')
const PASSWORD = 'do-not-show-me'
const TAKES = 'takes commands of'
/** Where other work holds all cores, each of these processes takes seconds to start. */
const WAIT_MS = 50_000

const running: CliProcess[] = []
let redis: RedisProcess
let session: CliSession
/** Takes commands of `shared` for the tests that need any worker. */
let sharedWorker: CliProcess
const shared = newName()

afterEach(() => {
  for (const { child } of running.splice(0)) child.kill('SIGKILL')
})

const within = <T>(promise: Promise<T>, what: string): Promise<T> =>
  withinMs(promise, what, WAIT_MS)

/** A name of a queue that no other test uses. */
function newName(): string {
  return `queue-${randomUUID().slice(0, 8)}`
}

/** Starts the bin on the Redis of these tests. */
function start(words: readonly string[], nodeArgs: string[] = [], env = {}): CliProcess {
  const cli = new CliProcess(words, nodeArgs, { CORELANE_QUEUE_URL: redis.url, ...env })
  running.push(cli)
  return cli
}

const workerWords = (name: string) => ['worker', handlers, '--name', name, '--partitions', '1']

/** Runs a command that ends by itself. */
const end = (...words: string[]): Promise<Ending> => within(session.run(words), words.join(' '))

/** How commands end that no Redis is for, one after the other in a process of their own. */
async function endsOf(commands: readonly (readonly string[])[]): Promise<Ending[]> {
  const alone = new CliSession({})
  const endings: Ending[] = []
  try {
    for (const words of commands) endings.push(await alone.run(words))
  } finally {
    alone.child.kill('SIGKILL')
  }
  return endings
}

/** The words of a run that sends commands through a queue. */
const sending = (name: string, args: readonly string[]): readonly string[] =>
  ['run', '--queue', redis.url, '--name', name].concat(args)

/** Starts a worker and waits until it takes commands. */
async function startWorker(name: string, ...args: string[]): Promise<CliProcess> {
  const worker = start([...workerWords(name), ...args])
  await takesCommands(worker)
  return worker
}

async function takesCommands(worker: CliProcess): Promise<void> {
  await within(worker.says('stderr', TAKES), 'a worker that takes commands')
  expect(worker.stderr).toContain(TAKES)
}

/** Sends commands through the queue and waits for their results. */
const run = (name: string, commands: readonly object[], ...args: string[]): Promise<Ending> =>
  within(session.run(sending(name, args), commands), 'a run')

/** Runs `corelane queue`. */
const askQueue = (name: string, ...words: string[]): Promise<Ending> =>
  end('queue', ...words, '--name', name)

/** Opens a queue as a program does that says nothing of partitions, and something to fill it. */
async function openQueue(name: string) {
  const queue = keep(await RedisDistributedQueue.open({ url: redis.url, queue: name }))
  return { queue, submitter: keep(new Submitter(queue)) }
}

/** Ends a worker in order. */
async function stop(worker: CliProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<Ending> {
  worker.child.kill(signal)
  return within(worker.end(), 'the end of a worker')
}

describeWithRedis('the queue from the command line', () => {
  const absentUrl = `redis://:${PASSWORD}@127.0.0.1:1`
  /** Given up only after a while: the other tests run meanwhile. */
  let absent: Promise<Ending[]>

  beforeAll(async () => {
    const commands = [['run'], ['queue', 'stats'], ['dashboard', '--print'], ['worker', handlers]]
    absent = endsOf(commands.map((words) => [...words, '--queue', absentUrl]))
    redis = await startRedis({ password: PASSWORD })
    session = new CliSession({ CORELANE_QUEUE_URL: redis.url })
    const env = { CORELANE_QUEUE_URL: redis.url }
    // It lives as long as these tests.
    sharedWorker = new CliProcess(workerWords(shared), [], env, false, 0)
    await takesCommands(sharedWorker)
    return () => {
      for (const { child } of [session, sharedWorker]) child.kill('SIGKILL')
    }
  })

  test('two workers run what a run sends, a key in order, and it prints each result under its id', async () => {
    const name = newName()
    // Whoever is first says what the queue is; the others take it as it is.
    const ownKeys = ['--strategy', 'hash']
    const first = [...ownKeys, '--queue-strategy', 'hash', '--queue-partitions', '4']
    const workers = [await startWorker(name, ...first), await startWorker(name, ...ownKeys)]
    const commands = range(300).map((n) => ({
      id: n % 2 === 0 ? `text ${n}` : n,
      type: n < 100 ? 'echo' : 'follow',
      payload: { n, text: 'ä "quoted"', user: `user-${n % 7}` },
      lane: n >= 100 || n % 3 === 0 ? 'system' : 'prompt',
      priority: n === 0 ? 3 : undefined,
    }))
    const words = ['--ordered', '--key', 'user', '--allow-degraded']
    const { code, stderr, results } = await run(name, commands, ...words)
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(results.map(({ id, ok }) => ({ id, ok }))).toEqual(
      commands.map(({ id }) => ({ id, ok: true })),
    )
    for (const [at, { value, partition, durationMs }] of results.entries()) {
      expect(partition).toBeGreaterThanOrEqual(0)
      expect(durationMs).toBeGreaterThanOrEqual(0)
      if (at < 100) {
        expect(value).toEqual(commands[at]!.payload)
        continue
      }
      expect(value).toMatchObject({ n: at, key: `user-${at % 7}` })
      // What another worker has run is not known to this one; but none may come before.
      if (value.previous !== null) {
        expect(value.previous).toBeLessThan(at)
        expect(value.previous % 7).toBe(at % 7)
      }
    }
    const endings = await Promise.all(workers.map((worker) => stop(worker)))
    expect(endings.map((ending) => ending.code)).toEqual([0, 0])
    const done = endings.map((ending) => Number(/(\d+) completed/.exec(ending.stderr)![1]))
    expect(done[0]! + done[1]!).toBe(300)
    for (const ending of endings) {
      expect(ending.stdout).toBe('')
      expect(ending.stderr).not.toContain(PASSWORD)
    }
  })

  test('a worker serves a dashboard, and ends in order while it is looked at', async () => {
    const name = newName()
    const worker = await startWorker(name, '--dashboard', '0')
    await within(worker.says('stderr', '#token='), 'the address of the dashboard')
    const [url] = /http:\S+#token=\S+/.exec(worker.stderr)!
    const again = start(['worker', handlers, '--name', name, '--dashboard', new URL(url).port])
    const refused = await within(again.end(), 'a second dashboard')
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('EADDRINUSE')])
    const top = start(['top', url, '--json'])
    await within(top.says('stdout', '"prompt"'), 'a look')
    await within(top.says('stdout', '"workerCount":1'), 'a look at the queue')
    const { code } = await stop(worker)
    expect(code).toBe(0)
    expect(await within(top.end(), 'the end of top')).toMatchObject({ code: 0, stderr: '' })
  })

  test('a dashboard of a queue is served until a signal comes', async () => {
    const name = newName()
    const words = ['--queue', redis.url, '--name', name]
    const served = start(['dashboard', ...words, '--read-only', '--print'])
    await within(served.says('stdout', '#token='), 'its address')
    const url = new URL(served.stdout.trim())
    const authorization = `Bearer ${url.hash.slice('#token='.length)}`
    const news = await fetch(new URL('/api/events', url), { headers: { authorization } })
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of news.body!) {
      text += decoder.decode(chunk, { stream: true })
      if (/"queue":\{"waiting":0,.*\n/.test(text)) break
    }
    expect(text).not.toContain('"lanes":{')
    const post = { method: 'POST', headers: { authorization } }
    expect((await fetch(new URL('/api/queue/lanes/pause?of=a', url), post)).status).toBe(403)
    const refused = await end('dashboard', ...words, '--print', '--port', url.port)
    expect([refused.code, refused.stdout]).toEqual([2, ''])
    expect(refused.stderr).toMatch(/^corelane: listen EADDRINUSE.*\n$/)
    const { code: seen, stdout: screen } = await end('top', url.href, '--once')
    expect([seen, screen]).toEqual([0, expect.stringContaining('queue: 0 waiting, 0 leased')])
    const { code, stderr } = await stop(served)
    expect([code, stderr]).toEqual([0, expect.stringContaining(`the queue ${name} at redis://`)])
    expect(stderr).not.toContain(PASSWORD)
    expect((await end('dashboard', url.href, ...words)).stderr).toContain('or --queue')
  })

  test('a worker ends in order when npx, which passes no signal on, has ended', async () => {
    const name = newName()
    const words = ['worker', handlers, '--name', name, '--partitions', '1']
    // As npx does, this parent ends at the signal and leaves its child alone.
    const parent = `require('node:child_process').spawn(process.execPath, process.argv.slice(1), {
      stdio: 'inherit',
    })`
    const worker = start(words, ['--eval', parent], { npm_command: 'exec' })
    await within(worker.says('stderr', TAKES), 'a worker that takes commands')
    const { submitter } = await openQueue(name)
    expect(await within(submitter.submit('prompt', 'echo', 'before'), 'a result')).toBe('before')
    const { signal, stderr } = await stop(worker)
    expect(signal).toBe('SIGTERM')
    expect(stderr).toContain('corelane: npx has ended: finishing what runs')
    expect(stderr).toMatch(/corelane: 1 completed, 0 failed, .*\n$/)
  })

  test('dead commands of a queue are listed, run again and purged, and its counts are printed', async () => {
    const name = newName()
    const ask = (...words: string[]) => askQueue(name, ...words)
    const worker = await startWorker(name, '--retries', '1')
    const commands = ['a', 'b'].map((id) => ({ id, type: 'fail', payload: `why ${id}` }))
    await run(name, [{ ...commands[0]!, group: 'its own' }, commands[1]!], '--group', 'payload')
    const dead = (await ask('dead')).results as unknown as Record<string, unknown>[]
    expect(dead.map(({ type, payload, group }) => [type, payload, group]).sort()).toEqual([
      ['fail', 'why a', 'its own'],
      ['fail', 'why b', 'why b'],
    ])
    const said = { state: 'running', partitions: 1, held: 0, running: 0, pid: worker.child.pid }
    expect((await ask('workers')).results).toMatchObject([said])
    await stop(worker)
    expect((await ask('workers')).stdout).toBe('')
    const { code, results } = await ask('redrive', '--ids', String(dead[0]!.id))
    expect([code, results]).toEqual([0, [{ redriven: 1 }]])
    for (const [action, word] of [
      ['redrive', 'redriven'],
      ['purge', 'purged'],
    ] as const) {
      const none = await ask(action, '--ids', 'nobody')
      expect([none.code, none.results]).toEqual([1, [{ [word]: 0, unknown: ['nobody'] }]])
    }
    const stats = JSON.parse((await ask('stats', '--queue', redis.url)).stdout)
    expect(stats).toMatchObject({ waiting: 1, dead: 1, leased: 0 })
    expect(stats.byLane).toEqual({ query: { waiting: 1, delayed: 0, leased: 0, dead: 1 } })
    for (const [words, complaint] of [
      [['purge', '--all'], 'add --yes'],
      [['redrive'], 'needs either --ids or --all'],
      [['show'], 'show needs --ids'],
      [['pause', '--lane', 'a b'], 'corelane: '],
      [['shred'], 'there is no action "shred"; actions: stats, workers, pause, resume'],
    ] as const) {
      const refused = await ask(...words)
      expect([refused.code, refused.stdout]).toEqual([2, ''])
      expect(refused.stderr).toContain(complaint)
    }
    const [waiting] = (await ask('peek', '--max', '5')).results
    const { id, group } = dead[0]!
    expect(waiting).toMatchObject({ id, group, state: 'waiting', type: 'fail', retries: 0 })
    expect(waiting).toHaveProperty('payload')
    const shown = await ask('show', '--ids', `${waiting!.id},${dead[1]!.id},nobody`, '--redact')
    expect(shown.results).toMatchObject([
      { id, group, state: 'waiting' },
      { id: dead[1]!.id, state: 'dead', error: { code: 'E_TEST' } },
      { id: 'nobody', state: 'unknown' },
    ])
    expect(shown.stdout).not.toContain('"payload":')
    expect((await ask('cancel', '--ids', `${waiting!.id},nobody`)).results).toEqual([
      { id: waiting!.id, status: 'cancelled' },
      { id: 'nobody', status: 'unknown' },
    ])
    expect((await ask('peek', '--lane', 'prompt')).stdout).toBe('')
    const purged = await ask('purge', '--all', '--yes')
    expect([purged.stderr, purged.results]).toEqual(['', [{ purged: 1 }]])
    expect((await ask('dead')).stdout).toBe('')
  })

  test('a lane is paused and limited over all workers', async () => {
    const name = newName()
    const ask = (...words: string[]) => askQueue(name, ...words)
    const set = ['--concurrency', '3', '--rate', '5', '--window', '200']
    const limit = { laneId: 'slow', concurrency: 3, rate: { limit: 5, windowMs: 200 } }
    for (const [action, paused, words, limits] of [
      ['pause', ['slow'], set, [limit]],
      ['resume', [], ['--reset'], []],
    ] as const) {
      expect((await ask(action, '--lane', 'slow')).stderr).toBe('')
      expect((await ask('limit', '--lane', 'slow', ...words)).stderr).toBe('')
      const { stdout } = await ask('stats')
      expect(JSON.parse(stdout)).toMatchObject({ paused, limits })
    }
    const refused = await ask('limit', '--lane', 'slow', '--window', '5')
    expect([refused.code, refused.stdout]).toEqual([2, ''])
    expect(refused.stderr).toContain('limit needs --concurrency, --rate or --reset')
  })

  test('failures come back as they were thrown, and unknown types and lanes and priorities fail', async () => {
    const { code, results } = await run(
      shared,
      [
        { id: 'a', type: 'fail', payload: 'on purpose' },
        { id: 'b', type: 'nobody' },
        { id: 'c', type: 'unusual' },
        { id: 'd', type: 'echo', lane: 'nowhere' },
        { id: 'e', type: 'echo', priority: 3 },
      ],
      '--ordered',
    )
    expect(code).toBe(1)
    const [failed, unknown, unusual, lost, degraded] = results
    const cause = { message: 'the reason' }
    const error = { name: 'RangeError', message: 'on purpose', code: 'E_TEST', cause }
    expect(failed).toMatchObject({ id: 'a', ok: false, error })
    expect(unknown).toMatchObject({ id: 'b', ok: false, error: { code: 'CORELANE_UNKNOWN_TYPE' } })
    expect(unusual!.value).toMatchObject({ big: `${2n ** 70n}`, bytes: 'AQID', notANumber: null })
    expect(lost).toMatchObject({ id: 'd', line: 4, error: { code: 'CORELANE_UNKNOWN_LANE' } })
    expect(degraded).toMatchObject({ id: 'e', line: 5, error: { code: 'CORELANE_DEGRADED' } })
  })

  test('a drained worker finishes what runs, gives the rest back, and exits with 0', async () => {
    const name = newName()
    const { queue, submitter } = await openQueue(name)
    const worker = await startWorker(name)
    await within(submitter.submit('query', 'print', 'from a handler'), 'a command that prints')
    const slow = submitter.submit('query', 'linger', { ms: 1000, value: 'done' })
    await within(worker.says('stderr', 'lingering'), 'a command that runs')
    await Promise.all(range(20).map((n) => submitter.enqueue('query', 'echo', n)))
    const { code, stderr, stdout } = await stop(worker, 'SIGINT')
    expect(stderr).toContain('from a handler')
    expect(stderr).toContain('SIGINT: finishing what runs')
    expect(stderr).toContain('2 completed, 0 failed')
    expect(stdout).toBe('')
    expect(code).toBe(0)
    expect(await within(slow, 'what ran')).toBe('done')
    expect(await queue.counts()).toMatchObject({ waiting: 20, leased: 0, dead: 0 })
  })

  test('a command that takes its process down is dead-lettered alone', async () => {
    const name = newName()
    const neighbours = range(12).map((id) => ({ id, type: 'wait', payload: { ms: 20, value: id } }))
    const sent = run(name, [...neighbours, { id: 'killer', type: 'kill' }])
    let isOver = false
    let deaths = 0
    // As whatever keeps workers running would: one that died is started again.
    const keeping = (async () => {
      while (!isOver) {
        const worker = await startWorker(name, '--lease', '500', '--concurrency', '20')
        await Promise.race([worker.end(), sent])
        if (worker.child.signalCode === 'SIGKILL') deaths++
      }
    })()
    const { results } = await sent
    isOver = true
    await keeping
    const failed = results.filter(({ ok }) => !ok)
    expect(failed).toMatchObject([{ id: 'killer', error: { code: 'CORELANE_POISONED' } }])
    expect(results).toHaveLength(13)
    expect(deaths).toBe(3)
  })

  test('a second signal ends a worker whose handler never returns', async () => {
    const name = newName()
    const worker = await startWorker(name)
    const { submitter } = await openQueue(name)
    await submitter.enqueue('query', 'spin')
    await within(worker.says('stderr', 'spinning'), 'a command that runs')
    worker.child.kill('SIGTERM')
    await within(worker.says('stderr', 'a second signal ends at once'), 'the first signal')
    expect((await stop(worker, 'SIGINT')).signal).toBe('SIGINT')
  })

  test('a worker takes the lanes it is told to take, and --drain bounds how long they run on', async () => {
    const name = newName()
    const { queue, submitter } = await openQueue(name)
    // As `corelane worker` finds it, which says nothing of partitions either.
    expect([queue.strategy, queue.numPartitions]).toEqual(['balanced', 8])
    const worker = await startWorker(name, '--lanes', 'skill,query', '--drain', '100')
    await submitter.enqueue('prompt', 'echo')
    expect(await within(submitter.submit('skill', 'echo', 5), 'a result')).toBe(5)
    await submitter.enqueue('query', 'spin')
    await within(worker.says('stderr', 'spinning'), 'a command that runs')
    expect(await queue.counts()).toMatchObject({ byLane: { prompt: { waiting: 1, leased: 0 } } })
    const { code, stderr } = await stop(worker)
    expect(stderr).toContain('After 100 ms commands were left unfinished: 1 running')
    expect(code).toBe(0)
  })

  test('a run that is told to stop prints what is in flight', async () => {
    const sender = start(sending(shared, []))
    sender.child.stdin.write(toLines([{ id: 1, type: 'linger', payload: { ms: 300, value: 2 } }]))
    await within(sharedWorker.says('stderr', 'lingering'), 'a command that runs')
    sender.child.kill('SIGTERM')
    const { code, results } = await within(sender.end(), 'the run')
    expect(results).toMatchObject([{ id: 1, ok: true, value: 2 }])
    expect(code).toBe(143)
  })

  test('a program that says nothing of partitions meets such a worker in one queue', async () => {
    const { queue, submitter } = await openQueue(shared)
    expect([queue.strategy, queue.numPartitions]).toEqual(['balanced', 8])
    expect(await within(submitter.submit('prompt', 'echo', 5), 'a result')).toBe(5)
  })

  test('a payload that holds itself leaves the other commands their lines', async () => {
    const name = newName()
    const { submitter } = await openQueue(name)
    const ring: Record<string, unknown> = { n: 1 }
    ring.self = ring
    await within(submitter.enqueue('prompt', 'echo', ring), 'one that holds itself')
    await within(submitter.enqueue('prompt', 'echo', { n: 2 }), 'another')
    const { code, results } = await askQueue(name, 'peek')
    const texts = results.map((each) => JSON.stringify((each as { payload?: unknown }).payload))
    expect(texts.sort()).toEqual([expect.stringContaining('[Circular *1]'), '{"n":2}'])
    expect(code).toBe(0)
  })

  test.each([
    ['--key, where it keeps no order', ['--key', 'user'], 'a queue of strategy hash; queue-'],
    ['another shape', ['--queue-partitions', '5'], 'has partitions 3, and this call asks for 5'],
  ])('a queue refuses %s', async (_, args, complaint) => {
    const name = newName()
    const partitions = PartitionConfig.balanced(3)
    const made = await RedisDistributedQueue.open({ url: redis.url, queue: name, partitions })
    await made.close()
    const { code, stderr } = await run(name, [{ payload: { user: 1 } }], ...args)
    expect(stderr).toContain(complaint)
    expect(code).toBe(2)
  })

  test('a Redis that is not there ends each command, without a stack or the password', async () => {
    for (const { code, stderr, stdout } of await absent) {
      expect(stderr).toContain('unreachable: redis://127.0.0.1:1: connect ECONNREFUSED')
      expect(stderr).toContain('The queue "default" did not answer: connect ECONNREFUSED')
      expect(stderr).toContain('(redis://127.0.0.1:1)')
      expect(stderr).not.toContain(PASSWORD)
      expect(stderr).not.toMatch(/\n +at /)
      expect(stdout).toBe('')
      expect(code).toBe(2)
    }
  })
})

test('arguments that make no sense exit with 2 and say why', async () => {
  const url = 'redis://h'
  const complaints: [readonly string[], string][] = [
    [['worker', handlers], 'worker needs --queue, or a URL in CORELANE_QUEUE_URL'],
    [['worker', handlers, '--queue', url, '--concurrency', '0'], '--concurrency is 0'],
    [['worker', handlers, '--queue', url, '--lanes', 'skill,nope'], '--lanes has "nope"; lanes:'],
    [['run', handlers, '--queue', url], 'with --queue the workers have the handlers'],
    [['run', '--queue', url, '--retries', '5'], '--retries belongs to corelane worker'],
    [['run', '--queue', url, '--strategy', 'hash'], '--strategy is the queue'],
    [['run', '--queue', 'http://:secret@host'], '--queue is "http://***@host"'],
    [['run', '--queue', 'ops:secret@host'], '--queue is "***@host"'],
    [['run', '--queue', 'redis:/ops:secret@host'], '--queue is "***@host"'],
    [['run', '--queue', 'redis://a:b/secret@host:x'], '--queue is "redis://***@host:x"'],
    [['run', '--queue', 'redis://a:b@secret@host:x'], '--queue is "redis://***@host:x"'],
    [['run', '--queue', url, '--name', 'a b'], '--name is "a b"'],
    [['worker', handlers, '--partitions', 'x'], '--partitions is "x"; allowed: an integer from 1'],
    [
      ['queue', 'purge', '--all', '--yes', '--lane', 'a'],
      'purge takes no --lane; allowed: --queue',
    ],
    [['queue', 'cancel', '--all', '--ids', '7'], 'cancel takes no --all'],
    [['queue', 'stats', '--redact'], 'stats takes no --redact'],
    [['queue', 'pause', '--queue', url], 'pause needs --lane'],
    [['queue', 'show', '--queue', url], 'show needs --ids'],
    [['queue', 'limit', '--lane', 'a'], 'limit needs --concurrency, --rate or --reset'],
    [['queue', 'limit', '--lane', 'a', '--reset', '--window', '9'], '--window needs --rate'],
    [['queue', 'redrive', '--ids', '7', '--all'], 'redrive needs either --ids or --all'],
    [['queue', 'redrive', '--ids', '7,,8', '--queue', url], '--ids has ""; allowed: 1 to 128 of'],
    [['queue', 'pause', '--lane', 'a b', '--queue', url], '--lane is "a b"; allowed: 1 to 128 of'],
    [['queue', 'purge', '--all', '--queue', url], 'purge --all drops them for good: add --yes'],
  ]
  const endings = await within(endsOf(complaints.map(([args]) => args)), 'refusals')
  for (const [at, [args, complaint]] of complaints.entries()) {
    const { code, stdout, stderr } = endings[at]!
    expect(stderr).toContain(complaint)
    expect(stderr).not.toContain('secret')
    expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: '' })
  }
})

test('without the package redis the command line says what to install', async () => {
  const hook = `data:text/javascript,${encodeURIComponent(`
    export const resolve = (name, context, next) => {
      if (name !== 'redis') return next(name, context)
      throw Object.assign(new Error("Cannot find package 'redis'"), { code: 'ERR_MODULE_NOT_FOUND' })
    }`)}`
  const register = `import { register } from 'node:module'; register(${JSON.stringify(hook)})`
  const cli = new CliProcess(
    ['run', '--queue', 'redis://localhost'],
    ['--import', `data:text/javascript,${encodeURIComponent(register)}`],
  )
  cli.child.stdin.end()
  const { code, stderr } = await within(cli.end(), 'the end')
  expect(stderr).toContain('npm install redis')
  expect(code).toBe(2)
})
