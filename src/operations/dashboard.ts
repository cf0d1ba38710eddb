// Dashboard: one page that shows a manager while it runs, and what may be done there.
// Owns: an HTTP server, its token and its event streams.
// Must not: cost anything while no stream is open, or answer who cannot show the token.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { URL as NodeUrl } from 'node:url'
import { inspect, types } from 'node:util'
import { TIMER_MS_MAX } from '../base/bounds.ts'
import { timers } from '../base/clock.ts'
import { laneError, show } from '../base/errors.ts'
import type { HistogramJson } from '../base/histogram.ts'
import {
  anything,
  boolean,
  checkOptions,
  integer,
  milliseconds,
  type OptionRules,
  text,
} from '../base/options.ts'
import type { EventFilter, LaneEvent } from '../model/lane-event.ts'
import type { MetricsSnapshot } from '../model/metrics.ts'
import type { RateLimitOptions } from '../model/rate-limit.ts'
import { DASHBOARD_PAGE } from './dashboard-page.ts'
import { metricsOf, type Watched } from './watched.ts'

/** Options of a dashboard. */
export interface DashboardOptions {
  /** Port; 0 takes a free one. Default 0. */
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
}

/** The rules of {@link DashboardOptions}. */
export const DASHBOARD_RULES = Object.freeze({
  port: integer(0, 0, 65_535),
  host: text('127.0.0.1'),
  token: text(undefined),
  hosts: anything([], 'an array of host names', Array.isArray),
  readOnly: boolean(false),
  redactPayloads: boolean(false),
  environment: text(undefined),
  intervalMs: milliseconds(1_000, 100, TIMER_MS_MAX),
}) satisfies OptionRules

/** A dead letter as the dashboard shows it. */
interface ShownLetter {
  readonly id: string
  readonly lane: string
  readonly type: string
  readonly payload: unknown
  readonly error: unknown
  readonly attempts: number
}

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
const INVALID = new Set<unknown>(['CORELANE_INVALID_OPTION', 'ERR_INVALID_URL'])
const LETTERS_SHOWN = 100
const TEXT_SHOWN = 2_000
const PROFILE_MS = 2_000

function digest(given: string): Buffer {
  return createHash('sha256').update(given).digest()
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

function shown(value: unknown): string {
  // Runs no code of the value's, which might throw.
  const isError = types.isNativeError(value)
  const all = isError ? `${value.name}: ${value.message}` : inspect(value, { customInspect: false })
  return all.length > TEXT_SHOWN ? `${all.slice(0, TEXT_SHOWN)}…` : all
}

/** A request that is answered with a status and a reason. */
class Refusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** What an address names; undefined if it cannot be decoded. */
function decoded(name: string): string | undefined {
  try {
    return decodeURIComponent(name)
  } catch {
    return undefined
  }
}

/** A dashboard that is served. */
export class Dashboard {
  /** Where it is, with the token after `#`, which browsers do not send. */
  readonly url: string
  readonly token: string
  readonly #manager: DashboardManager
  readonly #options: DashboardOptions
  readonly #server: Server
  readonly #digest: Buffer
  readonly #streams = new Set<ServerResponse>()
  readonly #feed: LaneEvent[] = []
  #before: MetricsSnapshot | undefined
  #timer: NodeJS.Timeout | undefined
  #events: AsyncIterableIterator<LaneEvent> | undefined

  private constructor(
    manager: DashboardManager,
    options: DashboardOptions,
    server: Server,
    token: string,
  ) {
    this.#manager = manager
    this.#options = options
    this.#server = server
    this.token = token
    this.#digest = digest(token)
    const { address, port, family } = server.address() as AddressInfo
    const host = family === 'IPv6' ? `[${address}]` : address
    this.url = `http://${host}:${port}/#token=${token}`
    server.on('request', (request, response) => void this.#answer(request, response))
  }

  /**
   * Serves a dashboard.
   *
   * @param manager - With metrics.
   * @param options - Where, and what may be done.
   * @throws ConfigError `CORELANE_INVALID_OPTION`; what listening throws.
   */
  static async serve(manager: DashboardManager, options?: DashboardOptions): Promise<Dashboard> {
    const checked = checkOptions<DashboardOptions>('serveDashboard', options, DASHBOARD_RULES)
    metricsOf(manager, 'serveDashboard')
    const host = checked.host!
    if (!isLoopback(host) && checked.token === undefined) {
      throw laneError('CORELANE_INVALID_OPTION', {
        option: 'serveDashboard.token',
        received: `none, with host ${show(host)}`,
        allowed: 'a token, where others than this machine can reach it',
      })
    }
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(checked.port, host, resolve)
    })
    server.unref()
    // A page that is open holds a connection.
    server.on('connection', (socket) => socket.unref())
    const token = checked.token ?? randomBytes(24).toString('base64url')
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
      if (path === '/' && request.method === 'GET') {
        this.#sendPage(response)
        return
      }
      this.#checkToken(request)
      if (request.method === 'GET' && path === '/api/events') this.#stream(response)
      else if (request.method === 'GET' && path === '/api/dead')
        this.#send(response, this.#letters())
      else this.#send(response, await this.#act(request.method, path, searchParams))
    } catch (error) {
      const isInvalid = INVALID.has((error as { code: unknown }).code)
      response.statusCode = error instanceof Refusal ? error.status : isInvalid ? 400 : 500
      this.#send(response, { error: shown(error) })
    }
  }

  /** A page of another site must not reach it, nor a name that was made to point here. */
  #checkOrigin({ headers }: IncomingMessage): void {
    const name = (headers.host ?? '').replace(/:\d+$/, '').toLowerCase()
    const { host, hosts } = this.#options
    if (![...LOOPBACK, host, ...hosts!].includes(name)) throw new Refusal(421, 'unknown host')
    const { origin } = headers
    if (origin !== undefined && origin !== `http://${headers.host}`) {
      throw new Refusal(403, 'a page of another origin')
    }
  }

  #checkToken({ headers }: IncomingMessage): void {
    const given = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? ''
    // Digests are of one length, so the comparison tells nothing of the token's.
    if (!timingSafeEqual(digest(given), this.#digest))
      throw new Refusal(401, 'the token is missing')
  }

  #sendPage(response: ServerResponse): void {
    const nonce = randomBytes(16).toString('base64')
    const policy = `default-src 'none'; script-src 'nonce-${nonce}'; style-src 'nonce-${nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
    response.setHeader('content-security-policy', policy)
    response.setHeader('content-type', 'text/html; charset=utf-8')
    response.end(DASHBOARD_PAGE.replaceAll('NONCE', nonce))
  }

  #send(response: ServerResponse, value: unknown): void {
    response.setHeader('content-type', 'application/json; charset=utf-8')
    response.end(JSON.stringify(value))
  }

  #letters(): unknown {
    const { redactPayloads } = this.#options
    const letters = this.#manager.deadLetters.list()
    return letters.slice(-LETTERS_SHOWN).map(({ id, lane, type, payload, error, attempts }) => {
      const shownPayload = redactPayloads ? '(redacted)' : shown(payload)
      return { id, lane, type, attempts, error: shown(error), payload: shownPayload }
    })
  }

  async #act(method: string | undefined, path: string, query: URLSearchParams): Promise<unknown> {
    const [, what, name, act] = /^\/api\/(lanes|dead|partitions)\/([^/]+)\/(\w+)$/.exec(path) ?? []
    if (name === undefined) throw new Refusal(404, 'nothing is here')
    if (method !== 'POST') throw new Refusal(405, 'POST only')
    if (this.#options.readOnly) throw new Refusal(403, 'this dashboard is read-only')
    const subject = decoded(name)
    if (subject === undefined) throw new Refusal(400, 'the address cannot be decoded')
    const { deadLetters } = this.#manager
    switch (`${what} ${act}`) {
      case 'lanes pause':
        this.#lane(subject).pause()
        break
      case 'lanes resume':
        this.#lane(subject).resume()
        break
      case 'lanes concurrency':
        this.#lane(subject).setConcurrency(Number(query.get('max')))
        break
      case 'lanes rate':
        this.#lane(subject).setRateLimit({
          limit: Number(query.get('limit')),
          windowMs: Number(query.get('windowMs')),
        })
        break
      case 'partitions profile': {
        const durationMs = Number(query.get('ms') ?? PROFILE_MS)
        return JSON.parse(await this.#manager.profilePartition(Number(subject), { durationMs }))
      }
      case 'dead redrive':
        // It answers once the command is accepted again; how it ends is seen on the page.
        if (subject === '*') void deadLetters.redriveAll()
        else deadLetters.redrive(subject).catch(() => {})
        break
      case 'dead purge':
        return { purged: deadLetters.purge(subject === '*' ? undefined : subject) }
      default:
        throw new Refusal(404, 'nothing is here')
    }
    return { done: true }
  }

  #lane(name: string): ShownLane {
    if (this.#manager.lanes.some((lane) => lane.name === name)) return this.#manager.lane(name)
    throw new Refusal(404, 'no such lane')
  }

  #stream(response: ServerResponse): void {
    response.setHeader('content-type', 'text/event-stream')
    response.flushHeaders()
    this.#streams.add(response)
    response.once('close', () => {
      this.#streams.delete(response)
      if (this.#streams.size === 0) this.#rest()
    })
    // It gets its first news with all others, so that rates are of a whole interval.
    if (this.#timer === undefined) this.#wake()
  }

  #wake(): void {
    this.#before = this.#manager.metrics!.snapshot()
    this.#timer = timers.setInterval(() => this.#tell(), this.#options.intervalMs!).unref()
    const events = this.#manager.subscribe({ events: EVENTS_SHOWN, capacity: 1_000 })
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
    void this.#events?.return?.()
    this.#events = undefined
    this.#feed.length = 0
  }

  /** Sends every page the news since the last time; one that reads slowly misses some. */
  #tell(): void {
    const { metrics } = this.#manager
    const now = metrics!.snapshot()
    const delta = metrics!.delta(this.#before!, now)
    this.#before = now
    const { environment, readOnly } = this.#options
    const { host } = this.#manager.stats()
    const feed = this.#feed.splice(0).map(({ event, lane, type, id, partition, error }) => {
      const why = error === undefined ? undefined : shown(error)
      return { event, lane, type, id, partition, error: why }
    })
    const limits = this.#manager.lanes.map(({ name, maxConcurrency, rate }) => {
      return { name, maxConcurrency, rate: rate && { limit: rate.limit, windowMs: rate.windowMs } }
    })
    const news = { environment, readOnly, host, limits, feed, ...delta }
    const data = `data: ${JSON.stringify(news, withoutBuckets)}\n\n`
    for (const stream of this.#streams) if (!stream.writableNeedDrain) stream.write(data)
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
