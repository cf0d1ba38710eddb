// Dashboard news: the event stream of a dashboard of another process, as its page reads it.
// Must not: print a token.

import { text } from '../base/options.ts'
import type { LaneCounts, MetricsSnapshot, QueueWorker } from '../index.ts'
import { UsageError } from './command-line.ts'

/** Where the address of a dashboard is looked for as well: there, its token shows in no list. */
export const DASHBOARD_VARIABLE = 'CORELANE_DASHBOARD_URL'

/** The option of commands that look at a dashboard. */
export const TOKEN_OPTION = Object.freeze({
  flag: '--token <token>',
  summary: `Its token, if the address has none (address: ${DASHBOARD_VARIABLE})`,
  rule: text(undefined),
})

/** Why an address does not do. */
const ALLOWED = 'the address that serveDashboard gives: http://127.0.0.1:9465/#token=…'

/** A dashboard that another process serves. */
export interface DashboardAddress {
  readonly url: URL
  readonly token: string
}

/** A part of {@link DashboardNews}. */
export interface ShownEvent {
  readonly event: string
  readonly lane?: string
  readonly type?: string
  readonly id?: string
  readonly partition?: number
  readonly error?: string
}

/** Starts that a lane allows in a window. */
export interface ShownRate {
  readonly limit: number
  readonly windowMs: number
}

/** What a dashboard says of a manager. */
export interface ManagerNews extends MetricsSnapshot {
  readonly host: { readonly cores: number; readonly loadAverage: number }
  readonly state: string
  readonly limits: readonly {
    readonly name: string
    readonly maxConcurrency?: number
    readonly rate?: ShownRate
  }[]
  readonly feed: readonly ShownEvent[]
}

/** A lane of a queue. */
export interface QueueLane extends LaneCounts {
  readonly name: string
  readonly isPaused: boolean
  /** How many workers take it. */
  readonly workers: number
  readonly concurrency?: number
  readonly rate?: ShownRate
}

/** What a dashboard says of a queue: nothing until it was read, the last counts beside an error. */
export interface QueueNews extends Partial<LaneCounts> {
  readonly lanes?: readonly QueueLane[]
  readonly laneCount?: number
  readonly workers?: readonly QueueWorker[]
  readonly workerCount?: number
  readonly error?: string
}

/** What a dashboard says once per interval, of a manager, of a queue or of both. */
export type DashboardNews = (ManagerNews | { readonly lanes?: undefined }) & {
  readonly environment?: string
  readonly queue?: QueueNews
}

/**
 * Finds and checks the address of a dashboard.
 *
 * @param given - From the command line; `CORELANE_DASHBOARD_URL` stands in for it.
 * @param token - From the command line, where the address has none.
 * @throws UsageError
 */
export function dashboardAddress(
  given: string | undefined,
  token: string | undefined,
): DashboardAddress {
  const text = given ?? process.env[DASHBOARD_VARIABLE]
  if (!text) throw new UsageError(`give ${ALLOWED}, here or in ${DASHBOARD_VARIABLE}`)
  if (!/^https?:\/\/./.test(text) || !URL.canParse(text)) {
    throw new UsageError(`the address of the dashboard is no http: URL; allowed: ${ALLOWED}`)
  }
  const url = new URL(text)
  const found = token ?? new URLSearchParams(url.hash.slice(1)).get('token')
  if (!found) throw new UsageError(`the address has no token; allowed: ${ALLOWED}`)
  return { url, token: found }
}

/**
 * Reads what a dashboard says, until it ends or the signal aborts.
 *
 * @param address - From {@link dashboardAddress}.
 * @param signal - Ends it.
 * @throws UsageError if the dashboard cannot be reached or refuses the token.
 */
export async function* readNews(
  { url, token }: DashboardAddress,
  signal: AbortSignal,
): AsyncGenerator<DashboardNews, void, undefined> {
  const headers = { authorization: `Bearer ${token}` }
  const response = await fetch(new URL('api/events', url), { headers, signal }).catch(
    (error: unknown) => {
      const { cause } = error as { cause?: { code?: string } }
      if (signal.aborted) return undefined
      throw new UsageError(`no dashboard answers at ${url.origin}: ${cause?.code ?? error}`, {
        cause: error,
      })
    },
  )
  if (response === undefined) return
  if (response.status === 401) throw new UsageError(`${url.origin} refuses the token`)
  const kind = response.headers.get('content-type')
  if (!response.ok || !kind?.startsWith('text/event-stream')) {
    const said = response.ok ? `a ${kind}` : response.status
    throw new UsageError(`${url.origin} is no dashboard: it says ${said}`)
  }
  const decoder = new TextDecoder()
  let text = ''
  try {
    for await (const chunk of response.body!) {
      const parts = (text + decoder.decode(chunk, { stream: true })).split('\n\n')
      text = parts.pop()!
      for (const part of parts) yield JSON.parse(part.slice('data: '.length)) as DashboardNews
    }
  } catch (error) {
    // The process has ended in the middle of its stream, or the signal has ended ours.
    if (error instanceof SyntaxError) throw error
  }
}
