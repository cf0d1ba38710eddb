// Blocks: every block of code in the documentation runs in a test, in a folder with the packed
// package, as its readers would run it. Blocks that are parts of a program get the rest of it here.
// One run of tsc checks the types of those in TypeScript and gives Node what it can run. A process
// runs most programs, one after the other: a start of Node and corelane takes longer than they do.

import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { describeWithTools } from '../support/locked-packages.ts'
import {
  type Block,
  blocksOf,
  makeFolder,
  PAGE_TOOLS,
  pagesWithCode,
  runLines,
} from '../support/pages.ts'
import { describeWithRedis, startRedis } from '../support/redis-server.ts'

const ROOT = join(import.meta.dirname, '../..')
/** Some dozens of programs, on a machine with other things to do. */
const TOGETHER_MS = 300_000
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')

/** Files whose own tests run all blocks of a page, or all that have a name. */
const ELSEWHERE: Record<string, string> = {
  'docs/bundlers.md': 'test/environments/bundlers.test.ts',
  'docs/comparison.md': 'test/package/pages.test.ts',
  'docs/handlers.md': 'test/package/pages.test.ts',
  'docs/lanes.md': 'test/package/lanes-examples.test.ts',
  'docs/services.md': 'test/package/services-examples.test.ts',
  'docs/testing.md': 'test/package/pages.test.ts',
  'docs/web-server.md': 'test/package/pages.test.ts',
}
const NAMED_ELSEWHERE: Record<string, string> = {
  'docs/distributed.md': 'test/package/distributed-examples.test.ts',
  'docs/migrate.md': 'test/package/migrate-examples.test.ts',
}

interface Check {
  /** A text that is in one block alone. */
  readonly has: string
  /** What it prints, trimmed. */
  readonly prints?: string | RegExp
  /** Code before it and after it. */
  readonly before?: string
  readonly after?: string
  /** Takes less time, or goes where a test may go. */
  readonly instead?: readonly (readonly [string, string])[]
  readonly redis?: true
  /** Ends its process, measures it, or listens to all that happens there. */
  readonly alone?: true
  /** It is JSON, or not for a machine, or that file's test runs it. */
  readonly only?: 'json' | 'picture' | `test/${string}`
}

/** Handlers that the pages speak of. */
const HANDLERS = `
const isWanted = (n) => n === 7
const scan = (table) => [{ id: 1, table }, { id: 2, table }]
export const resize = ({ width }) => ({ width, height: (width * 3) / 4 })
export const primes = ({ below }) => below / 10
export const square = (n) => n * n
export const configure = () => {}
export const loadModel = () => {}
export const download = ({ url }) => [url]
export const log = () => {}
export const fail = () => { throw new Error('no') }
`
const OPEN = `
import { QueueManager, QueueMetrics } from 'corelane'
const manager = new QueueManager({
  handlers: new URL('./handlers.mjs', import.meta.url),
  lanes: { api: {}, query: {}, skill: {} },
  metrics: QueueMetrics.local(),
  partitions: 1,
})
`
const LOCAL = `import { LocalDistributedQueue } from 'corelane'
const queue = LocalDistributedQueue.auto()
`
const CLOSE = '\nawait manager.close()\n'
/** Keeps the words of each call of the bin, for one process that then makes all of them in turn. */
const ONE_PROCESS = `
cat > bins.mjs <<'END'
import { readFileSync } from 'node:fs'
for (const [run, words] of readFileSync(0, 'utf8').trimEnd().split('\\n').entries()) {
  process.argv.splice(2, Infinity, ...words.trimEnd().split('\\t'))
  // A module is loaded once by each of its URLs.
  await import(new URL('../../node_modules/corelane/dist/cli/main.js?' + run, import.meta.url))
  if (process.exitCode !== 0) console.log('exit code ' + process.exitCode)
}
process.exitCode = 0
END
corelane() { printf '%s\\t' "$@" >> words.txt; echo >> words.txt; }
`
const SQUARE = "import { writeFileSync } from 'node:fs'\n"
const CHECKS: Record<string, readonly Check[]> = {
  'README.md': [
    { has: 'npm init -y', only: 'test/package/packed.test.ts' },
    { has: '// handlers.mjs', only: 'test/package/packed.test.ts' },
    { has: '// main.mjs', only: 'test/package/packed.test.ts' },
    { has: '// main.cjs', only: 'test/package/packed.test.ts' },
    { has: 'node main.mjs', only: 'test/package/packed.test.ts' },
    { has: 'xychart-beta', only: 'picture' },
    {
      has: 'partitions: 4, // without it',
      instead: [['await manager.close()', 'console.log(manager.stats().lanes.page.completed)']],
      prints: '1',
    },
    { has: 'npx corelane run handlers.mjs', prints: /^\{"id":1,"ok":true,"value":100,/ },
    { has: 'new WorkerPool(queue, manager)', redis: true, prints: '100' },
    {
      has: 'npx corelane worker handlers.mjs',
      redis: true,
      instead: [
        ['npx corelane worker', 'corelane worker'],
        ['# on every worker machine', '2>/dev/null & worker=$!'],
      ],
      after: 'kill $worker; wait $worker',
      prints: /"ok":true,"value":100,/,
    },
  ],
  'docs/cli.md': [
    {
      has: 'cat > passwords.mjs',
      instead: [
        ['npm install corelane\n', ''],
        ['seq 300', 'seq 3'],
      ],
      prints: /"id":"user\d","ok":true,"value":"[\w-]{43}"/,
    },
    { has: 'c4-aXstSDUuU', only: 'json' },
    {
      has: 'examples/compress.js',
      instead: [
        ['find node_modules', 'find dist'],
        ["find dist -name '*.js'", `cd ${ROOT} && find dist -name '*.js'`],
      ],
      prints: /^(?:[\d.]+ % dist\/\S+\.js\n?){4,5}$/,
    },
    { has: '"user": "ada"', only: 'json' },
    { has: 'Kq3…', only: 'json' },
    { has: 'as many machines as you like', only: 'test/integration/cli-queue.test.ts' },
    { has: 'rediss://worker:secret', only: 'test/integration/cli-queue.test.ts' },
    {
      has: 'corelane queue stats',
      redis: true,
      before: ONE_PROCESS,
      after: 'node bins.mjs < words.txt',
      prints:
        /^(?:(?!exit code)[\s\S])*"waiting": 0(?:(?!exit code)[\s\S])*\{"redriven":0,"unknown":\["7","9"\]\}\s+exit code 1\s+\{"purged":0\}$/,
    },
    {
      has: 'corelane top "$URL"',
      before: `cat > serve.mjs <<'END'\n${OPEN}
        const { url } = await manager.serveDashboard({ intervalMs: 100 })
        console.log(url)
        setInterval(() => {}, 1_000)\nEND
        exec 3< <(node serve.mjs); server=$!; read -r URL <&3`,
      instead: [['corelane top "$URL" ', 'corelane top "$URL" --once ']],
      after: 'kill $server',
      prints: /^corelane [\s\S]*LANE[\s\S]*\n\{"[\s\S]*http:\S+#token=\S+$/,
    },
    { has: 'bench strategies --html', only: 'test/integration/cli-bench.test.ts' },
  ],
  'docs/distributed.md': [
    {
      has: 'queue.workers.list()',
      before: LOCAL,
      instead: [['await queue.workers.list()', 'console.log(await queue.workers.list())']],
      after: 'console.log(byLane)\nawait queue.close()',
      prints: '[]\n{}',
    },
    {
      has: "queue.lanes.pause('reports')",
      before: LOCAL,
      instead: [['await queue.lanes.paused()', 'console.log(await queue.lanes.paused())']],
      after: 'console.log(await queue.lanes.paused())\nawait queue.close()',
      prints: "[ 'reports' ]\n[]",
    },
    {
      has: "queue.lanes.setRateLimit('reports'",
      before: LOCAL,
      instead: [
        ['await queue.lanes.limits()', 'console.log(JSON.stringify(await queue.lanes.limits()))'],
      ],
      after: 'console.log(JSON.stringify(await queue.lanes.limits()))\nawait queue.close()',
      prints: `[{"laneId":"reports","concurrency":4,"rate":{"limit":100,"windowMs":1000}}]
[{"laneId":"reports","rate":{"limit":100,"windowMs":1000}}]`,
    },
    {
      has: "submitter.cancel('order-18')",
      before: `${LOCAL}import { Submitter } from 'corelane'
        const submitter = new Submitter(queue)
        const order = submitter.submit('orders', 'price', 18, { id: 'order-18' })
        order.catch(({ code }) => console.log(code))
        await new Promise((resolve) => setTimeout(resolve, 100))`,
      instead: [['await queue.commands.peek', 'const next = await queue.commands.peek']],
      after: 'console.log(next.length)\nawait submitter.close()\nawait queue.close()',
      prints: /^CORELANE_ABORTED\n0$/,
    },
    {
      has: 'globalConcurrency: { reports: 4 }',
      before: `${OPEN.replace('skill', 'reports')}${LOCAL}import { WorkerPool } from 'corelane'`,
      after: `console.log(pool.stats().state)\nawait pool.close()${CLOSE}`,
      prints: 'created',
    },
    {
      has: "durability: 'require'",
      redis: true,
      before: 'const log = console',
      instead: [
        ['rediss://corelane:secret@redis.example.com:6380', 'REDIS'],
        ["durability: 'require'", "durability: 'warn'"],
      ],
      after: 'console.log(queue.strategy, queue.numPartitions)\nawait queue.close()',
      prints: /hash 16$/,
    },
    {
      has: "ca: readFileSync('ca.pem')",
      redis: true,
      before: `import { RedisDistributedQueue } from 'corelane/redis'
        const readFileSync = () => undefined`,
      instead: [
        ["host: 'redis.example.com', port: 6380, tls: true", 'host: HOST, port: PORT'],
        ['await Redis', 'const queue = await Redis'],
        ["username: 'corelane',", ''],
      ],
      after: 'console.log(queue.strategy)\nawait queue.close()',
      prints: 'balanced',
    },
    { has: 'createSentinel(', only: 'test/integration/redis-failover.test.ts' },
    { has: '--name images', only: 'test/integration/cli-queue.test.ts' },
  ],
  'docs/migrate.md': [
    { has: 'new Tinypool', prints: '16' },
    {
      has: 'workerpool.pool',
      before: `${SQUARE}writeFileSync('worker.mjs', "import w from 'workerpool'; w.worker({ square: (n) => n * n })")`,
      // On newer Nodes its promise need not settle.
      instead: [
        ['await pool.terminate()', 'process.exit()'],
        ['timeout(1_000)', 'timeout(60_000)'],
      ],
      alone: true,
      prints: '16',
    },
    {
      has: 'new DynamicThreadPool',
      before: `${SQUARE}writeFileSync('worker.mjs', "import { ThreadWorker } from 'poolifier'; export default new ThreadWorker({ square: (n) => n * n })")`,
      instead: [['await pool.destroy()', 'process.exit()']],
      alone: true,
      prints: '16',
    },
    {
      has: "from 'jest-worker'",
      before: `${SQUARE}writeFileSync('farm.cjs', 'exports.square = (n) => n * n')
        const file = process.cwd() + '/farm.cjs'`,
      prints: '16',
    },
    {
      has: 'nodeEndpoint(new Worker',
      before: `${SQUARE}import { parentPort } from 'node:worker_threads'
        writeFileSync('worker.mjs', "import { expose } from 'comlink'; import { parentPort } from 'node:worker_threads'; import adapt from 'comlink/dist/umd/node-adapter.js'; expose({ square: (n) => n * n }, adapt(parentPort))")`,
      after: 'process.exit()',
      alone: true,
      prints: '16',
    },
    { has: 'new PQueue', before: 'const square = (n) => n * n', prints: '16' },
  ],
  'docs/operations.md': [
    { has: 'new NodeSDK()', only: 'test/integration/telemetry.test.ts' },
    { has: 'metrics.delta(before)', after: CLOSE, prints: /^[\d.]+ [\d.]+ 0 [\d.]+$/ },
    {
      has: 'MetricsBackend',
      before: `const statsd = { count: console.log, gauge() {}, timing() {} } as {
          count(name: string, value: number): void
          gauge(name: string, value: number): void
          timing(name: string, ms: number, rate: number): void
        }`,
      after: "backend.increment('a', 2, { lane: 'b' })",
      prints: 'a.b 2',
    },
    {
      has: 'prometheusHandler(manager)',
      before: `${OPEN}import { once } from 'node:events'
        import type { AddressInfo } from 'node:net'
        import { Registry } from 'prom-client'
        const register = new Registry()`,
      instead: [['9464', '0']],
      after: `await once(server, 'listening')
        const { port } = server.address() as AddressInfo
        const text = await (await fetch('http://127.0.0.1:' + port)).text()
        console.log([text, await register.metrics()].map((one) => one.includes('corelane_')).join(' '))
        server.close()${CLOSE}`,
      prints: 'true true',
    },
    {
      has: 'new AlertManager',
      before: `${OPEN}const page = (level: string, message: string) => console.log(level, message)`,
      after: `for (let n = 0; n < 12; n++) manager.submit('api', 'fail' as never).catch(() => {})
        await manager.drain()
        alerts.check()
        alerts.stop()${CLOSE}`,
      prints: 'critical critical: errorRate of lane api is 1',
    },
    {
      has: 'commands that wait: ',
      alone: true,
      prints: /^a thread: [\d.]+ MiB\n100,000 commands that wait: \d+ MiB$/,
    },
    { has: 'new QueueMonitor', before: OPEN, after: `monitor.stop()${CLOSE}` },
    {
      has: 'repairTheDatabase',
      before: `${OPEN}const repairTheDatabase = async () => console.log('mended')`,
      after: CLOSE,
      prints: 'mended',
    },
    {
      has: 'setConcurrency(2)',
      before: OPEN.replace(
        'skill: {}',
        'partner: { maxConcurrency: 1, rateLimit: { limit: 1 } }',
      ).replace('partitions: 1', 'partitions: 2'),
      after: `console.log(JSON.stringify(manager.stats().lanes.partner?.rateLimit))${CLOSE}`,
      prints: '{"limit":100,"windowMs":1000}',
    },
    {
      has: 'serveDashboard({ port: 9465',
      before: OPEN,
      instead: [['9465', '0']],
      after: `await dashboard.close()${CLOSE}`,
      prints: /^http:\/\/127\.0\.0\.1:\d+\/#token=\S+$/,
    },
    {
      has: 'readOnly: true',
      before: LOCAL,
      instead: [['9466', '0']],
      after: 'console.log(dashboard.url)\nawait dashboard.close()\nawait queue.close()',
      prints: /^http:\/\/127\.0\.0\.1:\d+\/#token=\S+$/,
    },
    {
      has: 'tracingChannel',
      alone: true,
      before: OPEN,
      after: `await manager.run('square', 4)${CLOSE}`,
      instead: [['({ lane, type, durationMs })', '({ lane, type, durationMs }: any)']],
      prints: /^query square [\d.]+$/,
    },
  ],
  'docs/piscina.md': [
    { has: '{ "overrides": { "piscina"', only: 'json' },
    { has: '$piscina', only: 'json' },
    {
      has: 'LaneTaskQueue',
      before: `const filename = new URL('./handlers.mjs', import.meta.url).href
        const lanes = { urgent: { priority: 0 } }
        const task = { width: 4 }`,
      instead: [["group: 'customer-7' } })", "group: 'customer-7' } }, { name: 'resize' })"]],
      after: 'console.log(pool.completed)\nawait pool.destroy()',
      prints: '1',
    },
    { has: '"jest-worker": "npm:', only: 'json' },
  ],
  'docs/recovery.md': [
    { has: 'withTimeout(30_000)', after: CLOSE },
    {
      has: 'the client went away',
      before: OPEN,
      instead: [
        [
          'await promise',
          'await promise.catch(({ name, cause }) => console.log(name, cause.message))',
        ],
      ],
      after: CLOSE,
      prints: 'AbortError the client went away',
    },
    {
      has: 'isWanted(n)',
      before: 'const isWanted = (n) => n === 7',
      after: 'console.log(search({ from: 1, to: 9 }, {}))',
      prints: '7',
    },
    { has: 'RetryPolicy.fixed(5, 1_000)' },
    {
      has: 'redriveAll()',
      before: `${OPEN}await manager.run('fail', 0, { retry: { retries: 1, delayMs: 1 } }).catch(() => {})
        const [{ id }] = manager.deadLetters.list()`,
      instead: [['redrive(id)', "redrive(id).catch(() => console.log('again'))"]],
      after: `console.log(manager.deadLetters.list().length)${CLOSE}`,
      prints: /^\S+ query fail 0 Error: no[\s\S]* 2\nagain\n0$/,
    },
    { has: "broadcast('configure'", before: OPEN, after: CLOSE },
    {
      has: 'export async function* rows',
      before: 'const scan = () => [{ id: 1 }, { id: 2 }]',
      after: `for await (const row of rows({})) console.log(row.id)
        render({ height: 1 }, { progress: console.log })`,
      prints: '1\n2\n0',
    },
    {
      has: "stream('query', 'rows'",
      before: `import { writeFileSync } from 'node:fs'
        import { QueueManager } from 'corelane'
        const manager = new QueueManager({ handlers: new URL('./rows.mjs', import.meta.url) })
        const wanted = 1, scene = { height: 2 }, bar = { update: console.log }`,
      after: CLOSE,
      prints: '0\n0.5',
    },
    {
      has: 'wait: false',
      after: `console.log(await page({ url: 'a' }, { submit: async (lane, type) => [lane, type] }))`,
      prints: '2',
    },
  ],
  'docs/typescript.md': [
    { has: 'npm install --save-dev typescript', only: 'test/environments/typescript.test.ts' },
    { has: '"types": ["node"]', only: 'json' },
    {
      has: "filesIn('in')",
      before: `import { mkdirSync, writeFileSync } from 'node:fs'
        mkdirSync('in', { recursive: true })
        for (let n = 0; n < 100; n++) writeFileSync('in/' + n, 'x'.repeat(n))`,
      prints: /^\d{4}$/,
    },
    { has: 'export const pack', prints: '' },
    { has: 'lanes: { web', after: `console.log(count)${CLOSE}`, prints: '100' },
    {
      has: "handlers: handlersAt<typeof import('./handlers.js')>(new URL('./handlers.js', import.meta.url)),\n})",
      before: "import { handlersAt, QueueManager } from 'corelane'",
      after: `console.log(await manager.run('primes', { below: 20 }))${CLOSE}`,
      prints: '2',
    },
  ],
}

/** What is not said by a page of the command line: the URL of a Redis, without its database. */
const REDIS_URLS = /redis:\/\/localhost(?::6379)?|REDIS\b/g

const folder = makeFolder('blocks')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

writeFileSync(join(folder, 'handlers.mjs'), HANDLERS)
const [pack] = blocksOf('docs/typescript.md').filter(({ name }) => name === 'pack.ts')
writeFileSync(join(folder, 'pack.ts'), pack!.code)
writeFileSync(
  join(folder, 'handlers.ts'),
  'export const primes = ({ below }: { below: number }): number => below / 10\n',
)

function sourceOf({ code, language }: Block, check: Check, redis: string): string {
  let text = code
  for (const [from, to] of check.instead ?? []) {
    expect(text).toContain(from)
    text = text.replace(from, to)
  }
  text = [check.before, text, check.after].filter(Boolean).join('\n')
  const { hostname, port } = new URL(redis)
  text = text.replace('HOST', `'${hostname}'`).replace('PORT', port)
  return language === 'ts' ? text : text.replaceAll(REDIS_URLS, redis)
}

/** Where the program goes that has a block in it. */
const fileOf = ({ place, language }: Block): string =>
  join(folder, `${place.replace(/\W+/g, '-')}.m${language}`)

interface Found {
  readonly block: Block
  readonly check: Check
}

/** The program that Node runs for a block in a language that it knows, or that tsc compiles. */
function programOf(block: Block, check: Check, redis = 'redis://localhost'): string {
  if (block.language === 'js') writeFileSync(fileOf(block), sourceOf(block, check, redis))
  return fileOf(block).replace(/mts$/, 'mjs')
}

const isProgram = ({ block }: Found): boolean => /^[jt]s$/.test(block.language)

function expectPrinted(stdout: string, { prints }: Check): void {
  if (prints instanceof RegExp) expect(stdout.trim()).toMatch(prints)
  else if (prints !== undefined) expect(stdout.trim()).toBe(prints)
}

/** Runs a block to its end, which must be a good one. */
function run({ block, check }: Found, redis = 'redis://localhost'): void {
  const source = sourceOf(block, check, redis)
  const lines = isProgram({ block, check }) ? `exec node ${programOf(block, check, redis)}` : source
  const { stdout, stderr, status } = runLines(lines, folder)
  expect(status, `${source}\n${stdout}\n${stderr}`).toBe(0)
  expectPrinted(stdout, check)
}

/** Runs programs, one after the other, and prints a word before and after each. */
const ONE_AFTER_ANOTHER = `
for (const program of process.argv.slice(2)) {
  console.log('\\0' + program)
  await import(program).then(() => console.log('\\0ended'), console.log)
}`

/** The check of a block. */
function checkOf(page: string, { code }: Block): Check | undefined {
  return (CHECKS[page] ?? []).find(({ has }) => code.includes(has))
}

const all = pagesWithCode().flatMap((page) => blocksOf(page).map((block) => ({ page, block })))
const mine = all.flatMap(({ page, block }) => {
  const check = checkOf(page, block)
  return check === undefined ? [] : [{ place: block.place, block, check }]
})

test('every block has a check here, or a test elsewhere that names its page', () => {
  const unchecked = all.filter(({ page, block }) => {
    const isElsewhere = page in ELSEWHERE || (page in NAMED_ELSEWHERE && block.name !== '')
    return checkOf(page, block) === undefined && !isElsewhere
  })
  expect(unchecked.map(({ block }) => block.place)).toEqual([])
  const checks = Object.values(CHECKS).flat()
  expect(mine).toHaveLength(checks.length)
  for (const path of [...Object.values(ELSEWHERE), ...Object.values(NAMED_ELSEWHERE)]) {
    expect(readFileSync(join(ROOT, path), 'utf8'), path).toMatch(/docs\//)
  }
})

test.each(mine.filter(({ check }) => check.only === 'json'))('$place is JSON', ({ block }) => {
  for (const line of block.code.trim().split('\n')) expect(() => JSON.parse(line)).not.toThrow()
})

const runnable = mine.filter(({ check }) => check.only === undefined)

describeWithTools(PAGE_TOOLS, () => {
  const { block: generators } = mine.find(({ check }) => check.has.includes('function* rows'))!
  writeFileSync(
    join(folder, 'rows.mjs'),
    `const scan = () => [{ id: 1 }, { id: 2 }]\n${generators.code}`,
  )

  for (const { block, check } of runnable.filter(({ block }) => block.language === 'ts')) {
    writeFileSync(fileOf(block), sourceOf(block, check, 'redis://localhost'))
  }
  const compilerOptions = {
    strict: true,
    module: 'nodenext',
    target: 'es2023',
    lib: ['es2023', 'esnext.disposable'],
    types: ['node'],
    // The types of the package are checked by test/environments/typescript.test.ts.
    skipLibCheck: true,
  }
  const config = JSON.stringify({ compilerOptions, include: ['*.mts'] })
  writeFileSync(join(folder, 'tsconfig.json'), config)
  const compiled = runLines(`node ${TSC} -p .`, folder)

  test('the blocks in TypeScript compile', () => {
    expect(compiled.status, compiled.stdout).toBe(0)
  })

  const local = runnable.filter(({ check }) => !check.redis)
  const together = local.filter((one) => isProgram(one) && !one.check.alone)
  let ran: ReturnType<typeof runLines>

  beforeAll(() => {
    writeFileSync(join(folder, 'all.mjs'), ONE_AFTER_ANOTHER)
    const programs = together.map(({ block, check }) => programOf(block, check))
    ran = runLines(`exec node all.mjs ${programs.join(' ')}`, folder, {}, TOGETHER_MS)
  }, TOGETHER_MS)

  test.each(together)('$place runs', ({ block, check }) => {
    const program = programOf(block, check)
    const said = ran.stdout.split('\0')
    const at = said.findIndex((words) => words.startsWith(`${program}\n`))
    const printed = said[at]?.slice(program.length + 1) ?? ''
    expect(said[at + 1], `${readFileSync(program)}\n${printed}\n${ran.stderr}`).toBe('ended\n')
    expectPrinted(printed, check)
  })

  test('a process that has run all of them ends', () => {
    expect(ran.status, `${ran.stdout}\n${ran.stderr}`).toBe(0)
  })

  test.each(local.filter((one) => !together.includes(one)))('$place runs', (one) => run(one))

  describeWithRedis('on Redis', () => {
    test.each(runnable.filter(({ check }) => check.redis))('$place runs', async (one) => {
      const redis = await startRedis()
      run(one, redis.url)
      await redis.stop()
    })
  })
})
