// Types of a manager: compiled, never run. Payloads and results come from the handler module; a
// line under @ts-expect-error must fail to compile, and tsc complains if it does not.

import {
  type ChunkOf,
  type CommandOptions,
  type CommandOutcome,
  type HandlerName,
  type PayloadOf,
  QueueManager,
  QueueManagerBuilder,
  type ResultOf,
  RetryPolicy,
} from 'corelane'
import { type CommandContext, defineHandlers, move } from 'corelane/handler'

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
  const doubled = await manager.run('double', 21, { lane: 'skill', priority: 1 })
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
  // @ts-expect-error: no such strategy
  new QueueManagerBuilder().withPartitions({ strategy: 'random' })
}

// Options are read-only.
declare const options: CommandOptions
// @ts-expect-error: a key cannot be changed after the fact
options.key = 'other'

void [submits, runs, executes, many, streams, proxies, broadcasts, modules, defaults, builders]
