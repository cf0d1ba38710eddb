// Types of a manager: compiled, never run. Payloads and results come from the handler module; a
// line under @ts-expect-error must fail to compile, and tsc complains if it does not.

import {
  type ChunkOf,
  type Cloned,
  type CommandContext,
  type CommandOptions,
  type CommandOutcome,
  type HandlerName,
  handlersAt,
  LaneError,
  type LaneEvent,
  type PayloadOf,
  QueueManager,
  QueueManagerBuilder,
  type ResultOf,
  RetryPolicy,
  type RunName,
  type StreamName,
} from 'corelane'
import { defineHandlers, move } from 'corelane/handler'

/** A module as its own file would export it. */
const handlers = {
  double: (n: number) => n * 2,
  later: async (text: string): Promise<{ length: number }> => ({ length: text.length }),
  nothing: () => 'no payload',
  maybe: (n?: number) => n ?? null,
  withContext: (size: { width: number }, context: CommandContext) => `${context.id} ${size.width}`,
  moved: (length: number) => move(new Uint8Array(length)),
  movedLater: async () => move({ bytes: new Uint8Array(1) }, []),
  orUndefined: (n: number | undefined) => n === undefined,
  async *chunks(count: number): AsyncGenerator<{ i: number }, string> {
    for (let i = 0; i < count; i++) yield { i }
    return 'end'
  },
  *syncChunks() {
    yield 'a'
  },
  list: (_: number): number[] => [],
  promises: (): Promise<number>[] => [],
  laterChunks: async () => new Set<boolean>(),
  setup: (context: { partition: number }) => context.partition,
  teardown: () => {},
  version: 5,
}
type Module = typeof handlers

/** Two types are the same, neither way looser. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function same<A, B>(_: Same<A, B>): void {}

const manager = QueueManager.create<Module>({ handlers: './module.js' })

// Only functions are handlers, and setup and teardown are none.
same<
  HandlerName<Module>,
  | 'double'
  | 'later'
  | 'nothing'
  | 'maybe'
  | 'withContext'
  | 'moved'
  | 'movedLater'
  | 'orUndefined'
  | 'chunks'
  | 'syncChunks'
  | 'list'
  | 'promises'
  | 'laterChunks'
>(true)
same<ChunkOf<Module, 'chunks'>, { i: number }>(true)
same<ChunkOf<Module, 'syncChunks'>, string>(true)
same<ChunkOf<Module, 'list'>, number>(true)
same<ChunkOf<Module, 'promises'>, number>(true)
same<ChunkOf<Module, 'laterChunks'>, boolean>(true)
same<ChunkOf<Module, 'double'>, unknown>(true)
same<PayloadOf<Module, 'double'>, number>(true)
same<PayloadOf<Module, 'withContext'>, { width: number }>(true)
same<ResultOf<Module, 'later'>, { length: number }>(true)
same<ResultOf<Module, 'moved'>, Uint8Array<ArrayBuffer>>(true)
same<ResultOf<Module, 'movedLater'>, { bytes: Uint8Array<ArrayBuffer> }>(true)

async function submits(): Promise<void> {
  const doubled = await manager.submit('query', 'double', 21)
  same<typeof doubled, number>(true)
  const later = await manager.submit('query', 'later', 'text', { key: 'k', priority: 0 })
  same<typeof later, { length: number }>(true)
  const nothing = await manager.submit('query', 'nothing')
  same<typeof nothing, string>(true)
  const maybe = await manager.submit('query', 'maybe')
  same<typeof maybe, number | null>(true)
  await manager.submit('query', 'maybe', 5)
  await manager.submit('query', 'orUndefined')
  await manager.submit('query', 'orUndefined', undefined)
  const moved = await manager.submit('query', 'moved', 8)
  same<typeof moved, Uint8Array<ArrayBuffer>>(true)
  const sized = await manager.submit('query', 'withContext', { width: 3 })
  same<typeof sized, string>(true)

  // @ts-expect-error: no such handler
  await manager.submit('query', 'triple', 1)
  // @ts-expect-error: setup is no handler
  await manager.submit('query', 'setup', { partition: 1 })
  // @ts-expect-error: a member that is no function is no handler
  await manager.submit('query', 'version')
  // @ts-expect-error: the payload is a number
  await manager.submit('query', 'double', '21')
  // @ts-expect-error: the payload is missing
  await manager.submit('query', 'double')
  // @ts-expect-error: a member of the payload is missing
  await manager.submit('query', 'withContext', {})
  // @ts-expect-error: no such option
  await manager.submit('query', 'double', 1, { retries: 3 })
  // @ts-expect-error: a key is a string
  await manager.submit('query', 'double', 1, { key: 5 })
  // @ts-expect-error: submit names its lane before the type
  await manager.submit('query', 'double', 1, { lane: 'skill' })
  // @ts-expect-error: the result is a number
  const text: string = await manager.submit('query', 'double', 1)
  void text
}

async function runs(): Promise<void> {
  const doubled = await manager.run('double', 21, { lane: 'skill', priority: 1, group: 'tenant' })
  // @ts-expect-error: a group is a string
  await manager.run('double', 21, { group: 7 })
  same<typeof doubled, number>(true)
  same<Awaited<ReturnType<typeof manager.run<'movedLater'>>>, { bytes: Uint8Array<ArrayBuffer> }>(
    true,
  )
  await manager.run('nothing')
  // @ts-expect-error: no such handler
  await manager.run('triple', 1)
  // @ts-expect-error: the payload is a number
  await manager.run('double', null)
  // @ts-expect-error: the payload is missing
  await manager.run('later')
}

async function executes(): Promise<void> {
  const outcome = await manager.execute('query', 'later', 'text', { key: 'k' })
  same<typeof outcome, CommandOutcome<{ length: number }>>(true)
  if (outcome.ok) same<typeof outcome.value, { length: number }>(true)
  else same<typeof outcome.error, unknown>(true)
  same<typeof outcome.info.partition, number>(true)
  const moved = await manager.execute('query', 'moved', 8)
  if (moved.ok) same<typeof moved.value, Uint8Array<ArrayBuffer>>(true)
  // @ts-expect-error: an outcome may be a failure
  void outcome.value
  // @ts-expect-error: the payload is a number
  await manager.execute('query', 'double', '21')
  // @ts-expect-error: no such handler
  await manager.execute('query', 'triple', 1)
}

async function many(): Promise<void> {
  const all = await manager.submitMany('query', 'later', ['a', 'b'])
  same<typeof all, { length: number }[]>(true)
  await manager.submitMany('query', 'double', new Set([1, 2]), { priority: 3 })
  // @ts-expect-error: payloads are numbers
  await manager.submitMany('query', 'double', ['a'])
  // @ts-expect-error: no such handler
  await manager.submitMany('query', 'triple', [1])

  async function* source() {
    yield 1
  }
  for await (const doubled of manager.map('query', 'double', source(), { concurrency: 2 })) {
    same<typeof doubled, number>(true)
  }
  for await (const bytes of manager.map('query', 'moved', [1, 2], { ordered: false })) {
    same<typeof bytes, Uint8Array<ArrayBuffer>>(true)
  }
  // @ts-expect-error: items are strings, payloads are numbers
  manager.map('query', 'double', ['a'])
  // @ts-expect-error: a transfer list belongs to one command
  manager.map('query', 'double', [1], { transferList: [] })
  // @ts-expect-error: no such option
  manager.map('query', 'double', [1], { parallel: 2 })
}

async function streams(): Promise<void> {
  for await (const chunk of manager.stream('query', 'chunks', 3, { timeoutMs: 5 })) {
    same<typeof chunk, { i: number }>(true)
  }
  for await (const chunk of manager.stream('query', 'syncChunks')) same<typeof chunk, string>(true)
  for await (const chunk of manager.stream('query', 'list', 1)) same<typeof chunk, number>(true)
  // @ts-expect-error: the payload is a number
  manager.stream('query', 'chunks', 'three')
  // @ts-expect-error: the payload is missing
  manager.stream('query', 'chunks')
  // @ts-expect-error: no such handler
  manager.stream('query', 'triple')
}

async function proxies(): Promise<void> {
  const api = manager.handlers()
  same<Awaited<ReturnType<typeof api.double>>, number>(true)
  const length = await api.later('text', { lane: 'skill' })
  same<typeof length, { length: number }>(true)
  await api.nothing()
  await api.maybe()
  same<Awaited<ReturnType<typeof api.moved>>, Uint8Array<ArrayBuffer>>(true)
  // @ts-expect-error: no such handler
  await api.triple(1)
  // @ts-expect-error: setup is no handler
  await api.setup({ partition: 1 })
  // @ts-expect-error: the payload is a number
  await api.double('21')
  // @ts-expect-error: the payload is missing
  await api.double()
  // @ts-expect-error: handlers cannot be replaced
  api.double = async () => 1
}

async function broadcasts(): Promise<void> {
  const lengths = await manager.broadcast('later', 'text', { sticky: true })
  same<typeof lengths, { length: number }[]>(true)
  await manager.broadcast('nothing')
  // @ts-expect-error: the payload is a number
  await manager.broadcast('double', 'text')
  // @ts-expect-error: no such handler
  await manager.broadcast('triple')
}

function* source(): Generator<number> {
  yield 1
}

// A module in a file of its own, named by typeof import.
async function modules(): Promise<void> {
  const typed = QueueManager.create<typeof import('../fixtures/typed.ts')>({
    handlers: './typed.ts',
  })
  const twice = await typed.run('twice', 2)
  same<typeof twice, number>(true)
  // @ts-expect-error: the payload is an array of strings
  await typed.run('join', 'a')

  const untyped = QueueManager.create({ handlers: './unknown.js' })
  await untyped.run('anything', { at: 'all' })
  await untyped.run('anything')
  const later = untyped.handlers<Module>()
  const given: unknown = 1
  const anything = JSON.parse('1')
  const optional = given as { a: number } | undefined
  await untyped.run('anything', given, { lane: 'query' })
  await untyped.run('anything', anything)
  await untyped.run('anything', optional)
  await untyped.submit('query', 'anything', [1, { a: new Map([[1, new Date()]]) }], { key: 'a' })
  await untyped.submitMany('query', 'anything', [1, 'a', given])
  await untyped.submitMany('query', 'anything', new Set([1]))
  untyped.map('query', 'anything', [1, 2], { settle: true })
  untyped.stream('query', 'anything', 'a', { timeoutMs: 1 })
  await untyped.broadcast('anything', { level: 'debug' }, { sticky: true })
  // @ts-expect-error: a function does not cross
  await untyped.run('anything', () => 1)
  // @ts-expect-error: nor may it be one
  await untyped.run('anything', given as string | (() => number))
  // @ts-expect-error: a promise that is not awaited
  await untyped.run('anything', Promise.resolve(1))
  // @ts-expect-error: a symbol
  await untyped.submit('query', 'anything', Symbol('a'))
  // @ts-expect-error: a generator
  await untyped.execute('query', 'anything', source())
  // @ts-expect-error: functions
  await untyped.submitMany('query', 'anything', [() => 1])
  // @ts-expect-error: functions
  untyped.map('query', 'anything', [() => 1])
  // @ts-expect-error: a function
  untyped.stream('query', 'anything', () => 1)
  // @ts-expect-error: a function
  await untyped.broadcast('anything', () => 1)
  // @ts-expect-error: an unknown option all the same
  await untyped.run('anything', 1, { lanes: 'query' })
  // @ts-expect-error: a function, by the proxy
  await untyped.handlers().anything?.(() => 1)
  same<Awaited<ReturnType<typeof later.double>>, number>(true)
}

// Handlers in an object that is the default export, by defineHandlers.
const defined = defineHandlers({
  add: ({ a, b }: { a: number; b: number }) => a + b,
  greet: async (name: string) => `hello ${name}`,
  give: () => move(new Uint8Array(1)),
})
interface DefaultObject {
  readonly default: typeof defined
  readonly beside: (n: number) => boolean
}
interface DefaultFunction {
  readonly default: (n: number) => string
  readonly other: () => boolean
}

async function defaults(): Promise<void> {
  const whole = QueueManager.create<DefaultObject>({ handlers: './whole.js' })
  const sum = await whole.run('add', { a: 1, b: 2 })
  same<typeof sum, number>(true)
  const greeting = await whole.run('greet', 'you')
  same<typeof greeting, string>(true)
  const given = await whole.run('give')
  same<typeof given, Uint8Array<ArrayBuffer>>(true)
  const beside = await whole.run('beside', 1)
  same<typeof beside, boolean>(true)
  // @ts-expect-error: a member of the payload is missing
  await whole.run('add', { a: 1 })
  // @ts-expect-error: the object itself is no handler
  await whole.run('default')

  const single = QueueManager.create<DefaultFunction>({ handlers: './single.js' })
  const other = await single.run('other')
  same<typeof other, boolean>(true)
  const given1 = await single.run('default', 1)
  same<typeof given1, string>(true)
  // @ts-expect-error: the payload is a number
  await single.run('default', 'one')
}

async function builders(): Promise<void> {
  const built = await new QueueManagerBuilder()
    .withHandlers<Module>(new URL('file:///module.js'))
    .withDefaultLanes()
    .withLane('api', { priority: 2 }, 1)
    .build()
  const doubled = await built.run('double', 1)
  same<typeof doubled, number>(true)
  new QueueManagerBuilder().withLane('api', { timeoutMs: 5, retry: RetryPolicy.fixed(2, 10) })
  // @ts-expect-error: a time-out is a number
  new QueueManagerBuilder().withLane('api', { timeoutMs: '5' })
  // @ts-expect-error: no such option
  new QueueManagerBuilder().withOptions({ threads: 2 })
  new QueueManagerBuilder().withPartitions({ strategy: 'none' })
  // @ts-expect-error: no such strategy
  new QueueManagerBuilder().withPartitions({ strategy: 'random' })
}

// Lanes come from the options, and a name that is none of them does not compile.
async function lanes(): Promise<void> {
  const handlers = handlersAt<Module>('./module.js')
  const own = new QueueManager({
    handlers,
    lanes: { api: { priority: 1 }, bulk: {} },
    defaultLane: 'bulk',
    partitions: 4,
  })
  same<typeof own, QueueManager<Module, 'api' | 'bulk'>>(true)
  const doubled = await own.run('double', 1, { lane: 'api' })
  same<typeof doubled, number>(true)
  await own.submit('bulk', 'double', 1)
  await own.room('api')
  own.subscribe({ lanes: ['api'] })
  await own.handlers().double(1, { lane: 'api' })
  // @ts-expect-error: no such lane
  await own.run('double', 1, { lane: 'apo' })
  // @ts-expect-error: no such lane
  await own.submit('query', 'double', 1)
  // @ts-expect-error: no such lane
  await own.execute('apo', 'double', 1)
  // @ts-expect-error: no such lane
  await own.submitMany('apo', 'double', [1])
  // @ts-expect-error: no such lane
  own.map('apo', 'double', [1])
  // @ts-expect-error: no such lane
  own.stream('apo', 'chunks', 1)
  // @ts-expect-error: no such lane
  await own.room('apo')
  // @ts-expect-error: no such lane
  own.subscribe({ lanes: ['apo'] })
  // @ts-expect-error: no such lane
  await own.handlers().double(1, { lane: 'apo' })
  // @ts-expect-error: no such lane
  new QueueManager({ handlers, lanes: { api: {} }, defaultLane: 'apo' })
  // @ts-expect-error: no such lane
  await QueueManager.create({ handlers, lanes: { api: {} } }).room('apo')
  // @ts-expect-error: the default lanes have no such name
  await new QueueManager({ handlers }).room('api')
  // @ts-expect-error: nor where the module is a type argument
  await new QueueManager<Module>({ handlers: './module.js' }).room('api')
  // @ts-expect-error: lanes of one's own are inferred, or named as the second type argument
  QueueManager.create<Module>({ handlers, lanes: { api: {} } })
  await QueueManager.create<Module, 'api'>({ handlers, lanes: { api: {} } }).room('api')

  const built = await new QueueManagerBuilder()
    .withHandlers<Module>('./module.js')
    .withDefaultLanes()
    .withLane('api')
    .build()
  await built.room('api')
  await built.room('query')
  // @ts-expect-error: no such lane
  await built.room('apo')
  const plain = await new QueueManagerBuilder().withHandlers(handlers).build()
  await plain.run('double', 1, { lane: 'query' })
  // @ts-expect-error: the default lanes have no such name
  await plain.room('api')

  // A parameter takes a manager whatever its lanes, and lanes that are computed are not checked.
  const anyLane = (one: QueueManager<Module>) => one.room('whatever')
  await anyLane(own)
  const computed: Record<string, object> = { api: {} }
  await new QueueManager({ handlers, lanes: computed }).room('whatever')
}

class Money {
  readonly cents: number = 1
  readonly at = new Date()
  readonly parts: readonly Money[] = []
  readonly notes?: Map<string, Money>
  readonly #secret = 5
  add(other: Money): number {
    return this.cents + other.cents + this.#secret
  }
  toJSON(): string {
    return `${this.cents}`
  }
}
interface Plain {
  readonly cents: number
  readonly at: Date
  readonly parts: readonly Plain[]
  readonly notes?: Map<string, Plain>
}
const crossing = {
  money: (given: Money): Money => given,
  callback: (given: { id: number; done: () => void }) => given,
  fn: (given: () => void) => given,
  tuple: (): [Date, Buffer, Money | null] => [new Date(), Buffer.alloc(1), null],
  error: () => new RangeError('x'),
  record: (): Record<string, Set<Money>> => ({}),
  nothing: () => {},
  unknown: (given: unknown): unknown => given,
  *chunk(): Generator<Money> {},
}

// Results are what arrives, and payloads are what can be sent.
async function clones(): Promise<void> {
  const crossed = new QueueManager({ handlers: handlersAt<typeof crossing>('./x.js') })
  const money = await crossed.run('money', new Money())
  money satisfies Plain
  same<keyof typeof money, 'cents' | 'at' | 'parts' | 'notes'>(true)
  money.parts[0]?.at satisfies Date | undefined
  // @ts-expect-error: methods do not cross
  money.add
  // @ts-expect-error: nor those of members
  money.notes?.get('a')?.toJSON
  await crossed.run('money', { cents: 1, at: new Date(), parts: [] })
  const [date, bytes, none] = await crossed.run('tuple')
  same<typeof date, Date>(true)
  same<typeof bytes, Buffer>(true)
  none satisfies Plain | null
  same<Awaited<ReturnType<typeof crossed.run<'error'>>>, RangeError>(true)
  same<Awaited<ReturnType<typeof crossed.run<'nothing'>>>, void>(true)
  same<Awaited<ReturnType<typeof crossed.run<'unknown'>>>, unknown>(true)
  same<Cloned<string & { readonly brand: 1 }>, string & { readonly brand: 1 }>(true)
  const record = await crossed.run('record')
  same<keyof Parameters<(typeof record)[string]['add']>[0], keyof Plain>(true)
  for await (const chunk of crossed.stream('query', 'chunk')) chunk satisfies Plain
  // @ts-expect-error: functions do not cross
  await crossed.run('callback', { id: 1, done: () => {} })
  // @ts-expect-error: functions do not cross
  await crossed.run('fn', () => {})
}

// Generators are streamed, all else is run.
async function kinds(): Promise<void> {
  same<Extract<'chunks' | 'syncChunks', RunName<Module>>, never>(true)
  same<StreamName<Module>, 'chunks' | 'syncChunks' | 'list' | 'promises' | 'laterChunks'>(true)
  // @ts-expect-error: a generator is streamed
  await manager.run('chunks', 1)
  // @ts-expect-error: a generator is streamed
  await manager.handlers().chunks(1)
  // @ts-expect-error: a number is no stream
  manager.stream('query', 'double', 1)
  // @ts-expect-error: text is no stream
  manager.stream('query', 'nothing')
}

// Events are told apart by their names.
function events(event: LaneEvent): void {
  manager.on('queue.command.progress', ({ id, lane, group, attempt, progress }) => {
    same<typeof id, string>(true)
    same<typeof lane, string>(true)
    same<typeof group, string | undefined>(true)
    same<typeof attempt, number>(true)
    same<typeof progress, unknown>(true)
  })
  if (event.event === 'queue.lane.pressure') same<typeof event.unsettled, number>(true)
  else if (event.event === 'queue.partition.output') event.output.text satisfies object | string
  else if (event.event === 'queue.partition.lost') same<typeof event.partition, number>(true)
  // @ts-expect-error: no such event
  manager.on('queue.command.done', () => {})
  // @ts-expect-error: an event of the manager has no lane
  if (event.event === 'queue.shutdown.complete') event.lane.length
}

// Details have the types of their code.
function details(error: unknown): void {
  if (!(error instanceof LaneError)) return
  if (error.is('CORELANE_TIMEOUT')) {
    same<typeof error.details.timeoutMs, number>(true)
    same<typeof error.details.lane, string>(true)
    same<typeof error.code, 'CORELANE_TIMEOUT'>(true)
  }
  if (error.is('CORELANE_QUEUE_FULL')) same<typeof error.details.maxPending, number>(true)
  same<typeof error.details.whatever, unknown>(true)
  // @ts-expect-error: no such code
  error.is('CORELANE_TIMED_OUT')
}

async function settles(): Promise<void> {
  for await (const one of manager.map('query', 'double', [1], { settle: true })) {
    same<typeof one.input, number>(true)
    if (one.ok) same<typeof one.value, number>(true)
    else same<typeof one.error, unknown>(true)
  }
}

// Options are read-only.
declare const options: CommandOptions
// @ts-expect-error: a key cannot be changed after the fact
options.key = 'other'

void [submits, runs, executes, many, streams, proxies, broadcasts, modules, defaults, builders]
void [lanes, clones, kinds, events, details, settles]
