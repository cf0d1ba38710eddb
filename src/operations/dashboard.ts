// Dashboard: one page that shows a manager, a queue or both while they run, and acts on them.
// Owns: an HTTP server, its token and its event streams.
// Must not: cost anything while no stream is open, or answer who cannot show the token.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'
import { URL as NodeUrl } from 'node:url'
import { TIMER_MS_MAX } from '../base/bounds.ts'
import { timers } from '../base/clock.ts'
import { show } from '../base/errors.ts'
import type { HistogramJson } from '../base/histogram.ts'
import {
  anything,
  boolean,
  checkOptions,
  integer,
  invalidOption,
  isTexts,
  milliseconds,
  type OptionRules,
  text,
} from '../base/options.ts'
import type { EventFilter, LaneEvent } from '../model/lane-event.ts'
import type { MetricsSnapshot } from '../model/metrics.ts'
import type { RateLimitOptions } from '../model/rate-limit.ts'
import { DASHBOARD_PAGE } from './dashboard-page.ts'
import {
  type DashboardQueue,
  LETTERS_SHOWN,
  noLetter,
  QueueView,
  Refusal,
  type ShownLetter,
  shown,
} from './dashboard-queue.ts'
import { metricsOf, type Watched } from './watched.ts'

/** Options of a dashboard. */
export interface DashboardOptions {
  /** Port, 0 to 65,535; 0 takes a free one. Default 0. */
  readonly port?: number | undefined
  /** Address to listen on. Default `127.0.0.1`; any other than loopback needs a `token`. */
  readonly host?: string | undefined
  /** What callers must show. Default: a random one, which is in `url`. */
  readonly token?: string | undefined
  /** Names by which it may be called besides loopback's and `host`. Default: none. */
  readonly hosts?: readonly string[] | undefined
  /** Refuses everything that changes something. Default false. */
  readonly readOnly?: boolean | undefined
  /** Shows no payloads of dead letters. Default false. */
  readonly redactPayloads?: boolean | undefined
  /** A badge, as "production". Default: none. */
  readonly environment?: string | undefined
  /** How often open pages get news, 100 to 2^31 - 1 ms. Default 1,000. */
  readonly intervalMs?: number | undefined
  /** A queue that workers share, to be shown and acted on as well. Default: none. */
  readonly queue?: DashboardQueue | undefined
}

/** The rules of {@link DashboardOptions}. */
export const DASHBOARD_RULES = Object.freeze({
  port: integer(0, 0, 65_535),
  host: text('127.0.0.1'),
  token: text(undefined),
  hosts: anything([], 'an array of host names', isTexts),
  readOnly: boolean(false),
  redactPayloads: boolean(false),
  environment: text(undefined),
  intervalMs: milliseconds(1_000, 100, TIMER_MS_MAX),
  queue: anything(
    undefined,
    'a queue that workers share',
    (value) => typeof (value as DashboardQueue | null)?.counts === 'function',
  ),
}) satisfies OptionRules

/** A lane that may be acted on. */
interface ShownLane {
  pause(): void
  resume(): void
  setConcurrency(maxConcurrency: number): void
  setRateLimit(rateLimit: RateLimitOptions): void
}

/** What a dashboard shows of a manager, and does there. */
export interface DashboardManager extends Watched {
  readonly deadLetters: {
    list(): readonly ShownLetter[]
    redrive(id: string): Promise<unknown>
    redriveAll(): Promise<unknown>
    purge(id?: string): number
  }
  lane(name: string): ShownLane
  profilePartition(index: number, options: { readonly durationMs: number }): Promise<string>
  stats(): ReturnType<Watched['stats']> & { readonly state: string }
  subscribe(filter: EventFilter): AsyncIterableIterator<LaneEvent>
}

const LOOPBACK = ['localhost', '127.0.0.1', '[::1]']
const EVENTS_SHOWN: EventFilter['events'] = [
  'queue.command.timeout',
  'queue.command.dead_lettered',
  'queue.partition.lost',
  'queue.partition.replaced',
  'queue.partition.failed',
  'queue.lane.pressure',
  'queue.lane.idle',
  'queue.lane.changed',
]
/** Codes of errors that a request is to blame for. */
const INVALID = new Set<unknown>([
  'CORELANE_INVALID_OPTION',
  'CORELANE_INVALID_ENVELOPE',
  'ERR_INVALID_URL',
])
const PROFILE_MS = 2_000
/** Of a partition: a thousand may have a result that was not read. */
const RUNS_SHOWN = 4
/** Acts. Their subject, `of`, is no part of the path: `..` would be lost there. */
const ROUTE = /^\/api\/(queue\/)?(lanes|dead|partitions)\/(\w+)$/
const READ = /^\/(?:api\/(?:events|(?:queue\/)?dead))?$/

function digest(given: string): Buffer {
  return createHash('sha256').update(given).digest()
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

/** A host as `Host` has it. */
function namedHost(host: string): string {
  return (isIPv6(host) ? `[${host}]` : host).toLowerCase()
}

function withoutPort(host: string): string {
  return host.replace(/:\d+$/, '')
}

function laneOf(manager: DashboardManager, name: string): ShownLane {
  if (manager.lanes.some((lane) => lane.name === name)) return manager.lane(name)
  throw new Refusal(404, 'no such lane')
}

/** A dashboard that is served. */
export class Dashboard {
  /** Where it is, with the token after `#`, which browsers do not send. */
  readonly url: string
  readonly token: string
  /** Undefined where only a queue is shown. */
  readonly #manager: DashboardManager | undefined
  readonly #queue: QueueView | undefined
  readonly #options: DashboardOptions
  readonly #server: Server
  readonly #digest: Buffer
  /** Names that it may be called by, those that it was given among them. */
  readonly #names: readonly string[]
  readonly #hosts: readonly string[]
  readonly #streams = new Set<ServerResponse>()
  readonly #feed: LaneEvent[] = []
  #before: MetricsSnapshot | undefined
  #timer: NodeJS.Timeout | undefined
  #events: AsyncIterableIterator<LaneEvent> | undefined

  private constructor(
    manager: DashboardManager | undefined,
    options: DashboardOptions,
    server: Server,
    token: string,
  ) {
    this.#manager = manager
    this.#queue = options.queue && new QueueView(options.queue)
    this.#options = options
    this.#server = server
    this.token = token
    this.#digest = digest(token)
    this.#hosts = options.hosts!.map(namedHost)
    this.#names = [...LOOPBACK, namedHost(options.host!), ...this.#hosts]
    const { address, port, family } = server.address() as AddressInfo
    const host = family === 'IPv6' ? `[${address}]` : address
    this.url = `http://${host}:${port}/#token=${token}`
    // A connection that cannot be accepted, with too many files open, must not end the process.
    server.on('error', () => {})
    server.on('request', (request, response) => void this.#answer(request, response))
  }

  /**
   * Serves a dashboard.
   *
   * @param manager - With metrics; undefined where only a queue is shown.
   * @param options - Where, and what may be done.
   * @throws ConfigError `CORELANE_INVALID_OPTION`; what listening throws.
   */
  static async serve(
    manager: DashboardManager | undefined,
    options?: DashboardOptions,
  ): Promise<Dashboard> {
    const checked = checkOptions<DashboardOptions>('serveDashboard', options, DASHBOARD_RULES)
    if (manager !== undefined) metricsOf(manager, 'serveDashboard')
    else if (checked.queue === undefined) {
      throw invalidOption('serveDashboard.queue', 'undefined', DASHBOARD_RULES.queue.allowed)
    }
    const host = checked.host!
    if (!isLoopback(host) && checked.token === undefined) {
      const allowed = 'a token, where others than this machine can reach it'
      throw invalidOption('serveDashboard.token', `none, with host ${show(host)}`, allowed)
    }
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(checked.port, host, resolve)
    })
    server.unref()
    // A page that is open holds a connection.
    server.on('connection', (socket) => socket.unref())
    const token = checked.token ?? randomBytes(24).toString('hex')
    return new Dashboard(manager, checked, server, token)
  }

  /** Ends it, and the streams of its pages. */
  async close(): Promise<void> {
    this.#rest()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('x-content-type-options', 'nosniff')
    response.setHeader('referrer-policy', 'no-referrer')
    response.setHeader('cache-control', 'no-store')
    try {
      this.#checkOrigin(request)
      const { pathname: path, searchParams } = new NodeUrl(request.url ?? '/', 'http://dashboard')
      const { method = '' } = request
      if (path !== '/') this.#checkToken(request)
      if (!READ.test(path) && !ROUTE.test(path)) throw new Refusal(404, 'nothing is here')
      const allowed = READ.test(path) ? ['GET', 'HEAD'] : ['POST']
      if (!allowed.includes(method)) {
        response.setHeader('allow', allowed.join(', '))
        throw new Refusal(405, `${allowed.join(' or ')} only`)
      }
      if (path === '/') this.#sendPage(response)
      else if (path === '/api/events') this.#stream(response, method === 'HEAD')
      else if (method === 'POST') this.#send(response, await this.#act(path, searchParams))
      else this.#send(response, await this.#letters(path.includes('queue')))
    } catch (error) {
      const isInvalid = INVALID.has((error as { code: unknown } | undefined)?.code)
      response.statusCode = error instanceof Refusal ? error.status : isInvalid ? 400 : 500
      this.#send(response, { error: shown(error) })
    }
  }

  /** A page of another site must not reach it, nor a name that was made to point here. */
  #checkOrigin({ headers }: IncomingMessage): void {
    const called = (headers.host ?? '').toLowerCase()
    if (!this.#names.includes(withoutPort(called))) throw new Refusal(421, 'unknown host')
    const { origin } = headers
    if (origin === undefined) return
    // Behind what ends TLS the page has another scheme, and perhaps another name.
    const page = /^https?:\/\/(.*)$/.exec(origin)?.[1] ?? ''
    if (page !== called && !this.#hosts.includes(withoutPort(page))) {
      throw new Refusal(403, 'a page of another origin')
    }
  }

  #checkToken({ headers }: IncomingMessage): void {
    const given = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? ''
    // Digests are of one length, so the comparison tells nothing of the token's.
    if (!timingSafeEqual(digest(given), this.#digest))
      throw new Refusal(401, 'the token is missing or wrong')
  }

  #sendPage(response: ServerResponse): void {
    const nonce = randomBytes(16).toString('base64')
    const policy = `default-src 'none'; script-src 'nonce-${nonce}'; style-src 'nonce-${nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
    response.setHeader('content-security-policy', policy)
    this.#end(response, 'text/html', DASHBOARD_PAGE.replaceAll('NONCE', nonce))
  }

  #send(response: ServerResponse, value: unknown): void {
    this.#end(response, 'application/json', JSON.stringify(value))
  }

  /** Ends an answer; Node sends no body where HEAD was asked for. */
  #end(response: ServerResponse, type: string, body: string): void {
    response.setHeader('content-type', `${type}; charset=utf-8`)
    response.setHeader('content-length', Buffer.byteLength(body))
    response.end(body)
  }

  async #letters(isOfQueue: boolean): Promise<unknown> {
    const { redactPayloads } = this.#options
    const letters = isOfQueue
      ? await this.#queue?.letters()
      : this.#manager?.deadLetters.list().slice(-LETTERS_SHOWN)
    if (letters === undefined) throw new Refusal(404, 'nothing is here')
    return letters.map(({ id, lane, type, payload, error, attempts }) => {
      const shownPayload = redactPayloads ? '(redacted)' : shown(payload)
      const shownError = isOfQueue ? error : shown(error)
      return { id, lane, type, attempts, error: shownError, payload: shownPayload }
    })
  }

  async #act(path: string, query: URLSearchParams): Promise<unknown> {
    const [, isOfQueue, what, act] = ROUTE.exec(path)!
    if (this.#options.readOnly) throw new Refusal(403, 'this dashboard is read-only')
    const subject = query.get('of') ?? ''
    const answer = isOfQueue
      ? await this.#queue?.act(`${what} ${act}`, subject, query)
      : await this.#actOnManager(`${what} ${act}`, subject, query)
    if (answer === undefined) throw new Refusal(404, 'nothing is here')
    return answer
  }

  async #actOnManager(act: string, subject: string, query: URLSearchParams): Promise<unknown> {
    const manager = this.#manager
    if (manager === undefined) return undefined
    const { deadLetters } = manager
    switch (act) {
      case 'lanes pause':
        laneOf(manager, subject).pause()
        break
      case 'lanes resume':
        laneOf(manager, subject).resume()
        break
      case 'lanes concurrency':
        laneOf(manager, subject).setConcurrency(Number(query.get('max')))
        break
      case 'lanes rate':
        laneOf(manager, subject).setRateLimit({
          limit: Number(query.get('limit')),
          windowMs: Number(query.get('windowMs')),
        })
        break
      case 'partitions profile': {
        const durationMs = Number(query.get('ms') ?? PROFILE_MS)
        const index = Number(subject || Number.NaN)
        return JSON.parse(await manager.profilePartition(index, { durationMs }))
      }
      case 'dead redrive':
        // It answers once the command is accepted again; how it ends is seen on the page.
        if (!deadLetters.list().some(({ id }) => id === subject)) throw noLetter()
        deadLetters.redrive(subject).catch(() => {})
        break
      case 'dead redriveAll':
        void deadLetters.redriveAll()
        break
      case 'dead purge':
        return { purged: deadLetters.purge(subject) }
      case 'dead purgeAll':
        return { purged: deadLetters.purge() }
      default:
        return undefined
    }
    return { done: true }
  }

  #stream(response: ServerResponse, isHeadOnly: boolean): void {
    response.setHeader('content-type', 'text/event-stream')
    response.flushHeaders()
    if (isHeadOnly) {
      response.end()
      return
    }
    this.#streams.add(response)
    response.once('close', () => {
      this.#streams.delete(response)
      if (this.#streams.size === 0) this.#rest()
    })
    // It gets its first news with all others, so that rates are of a whole interval.
    if (this.#timer === undefined) this.#wake()
  }

  #wake(): void {
    this.#timer = timers.setInterval(() => this.#tell(), this.#options.intervalMs!).unref()
    this.#queue?.start()
    const manager = this.#manager
    if (manager === undefined) return
    this.#before = manager.metrics!.snapshot()
    const events = manager.subscribe({ events: EVENTS_SHOWN, capacity: 1_000 })
    this.#events = events
    void (async () => {
      for await (const event of events) {
        this.#feed.push(event)
        if (this.#feed.length > LETTERS_SHOWN) this.#feed.shift()
      }
    })()
  }

  #rest(): void {
    timers.clearInterval(this.#timer)
    this.#timer = undefined
    this.#queue?.stop()
    void this.#events?.return?.()
    this.#events = undefined
    this.#feed.length = 0
  }

  /** Sends every page the news since the last time; one that reads slowly misses some. */
  #tell(): void {
    const { environment, readOnly, intervalMs } = this.#options
    const queue = this.#queue?.news
    const news = { environment, readOnly, intervalMs, queue, ...this.#newsOfManager(this.#manager) }
    const data = `data: ${JSON.stringify(news, withoutBuckets)}\n\n`
    for (const stream of this.#streams) if (!stream.writableNeedDrain) stream.write(data)
  }

  #newsOfManager(manager: DashboardManager | undefined): object | undefined {
    if (manager === undefined) return undefined
    const metrics = manager.metrics!
    const now = metrics.snapshot()
    const delta = metrics.delta(this.#before!, now)
    this.#before = now
    const feed = this.#feed.splice(0).map(({ event, lane, type, id, partition, error }) => {
      const why = error === undefined ? undefined : shown(error)
      return { event, lane, type, id, partition, error: why }
    })
    const limits = manager.lanes.map(({ name, maxConcurrency, rate }) => {
      return { name, maxConcurrency, rate: rate && { limit: rate.limit, windowMs: rate.windowMs } }
    })
    const { host, state } = manager.stats()
    const partitions = delta.partitions.map((one) => {
      const longest = [...one.runs].sort((a, b) => b.runningMs - a.runningMs)
      return { ...one, runs: longest.slice(0, RUNS_SHOWN) }
    })
    return { host, state, limits, feed, ...delta, partitions }
  }
}

/** Pages show quantiles; the buckets behind them are most of a snapshot. */
function withoutBuckets(key: string, value: unknown): unknown {
  if (key === 'buckets' || (key === 'partitions' && isShares(value))) return undefined
  return value
}

function isShares(value: unknown): boolean {
  return (
    Array.isArray(value) && (value[0] as { run?: HistogramJson } | undefined)?.run !== undefined
  )
}
