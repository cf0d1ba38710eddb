// Dashboard: the command that opens the dashboard of a running process in a browser, or serves one
// of a queue.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { timers } from '../base/clock.ts'
import { boolean, integer } from '../base/options.ts'
import { serveDashboard } from '../index.ts'
import {
  type CliCommand,
  EXIT_FAILED,
  EXIT_OK,
  needed,
  printed,
  UsageError,
} from './command-line.ts'
import { DASHBOARD_VARIABLE, dashboardAddress, readNews, TOKEN_OPTION } from './dashboard-news.ts'
import {
  connectionNews,
  openQueue,
  placeOf,
  QUEUE_FLAGS,
  type QueueFlags,
  queueUrl,
} from './queue-flags.ts'

interface Flags extends QueueFlags {
  readonly token: string | undefined
  readonly print: boolean
  readonly port: number
  readonly readOnly: boolean
  readonly redact: boolean
}

/** The program that opens an address with what the user has chosen for it. */
const OPENERS: Readonly<Record<string, readonly [string, ...string[]]>> = {
  darwin: ['open'],
  win32: ['rundll32', 'url.dll,FileProtocolHandler'],
}

const STAYS_OPEN_MS = 2 ** 30
const { queue, name } = QUEUE_FLAGS

export const dashboardCommand: CliCommand = {
  usage: 'dashboard [url]',
  summary: 'Open the dashboard of a process that serves it; or with --queue serve one of a queue',
  examples: [
    "corelane dashboard 'http://127.0.0.1:9465/#token=…'",
    'corelane dashboard --queue redis://localhost --name images --read-only',
  ],
  options: {
    token: TOKEN_OPTION,
    print: { flag: '--print', summary: 'Print the address, open nothing', rule: boolean(false) },
    queue,
    name,
    port: {
      flag: '--port <port>',
      summary: 'Of the dashboard of a queue; 0 takes a free one',
      rule: integer(0, 0, 65_535),
    },
    readOnly: {
      flag: '--read-only',
      summary: 'Of a queue: refuses everything that changes something',
      rule: boolean(false),
    },
    redact: { flag: '--redact', summary: 'Of a queue: shows no payloads', rule: boolean(false) },
  },
  action: ([url], options) => {
    const flags = options as unknown as Flags
    if (url !== undefined && flags.queue !== undefined) {
      throw new UsageError('give the address of a dashboard, or --queue')
    }
    const isOpen = url === undefined && !process.env[DASHBOARD_VARIABLE]
    const place = queueUrl(flags.queue, isOpen)
    return printed(place === undefined ? open(url, flags) : serve(place, flags))
  },
}

async function open(given: string | undefined, { token, print }: Flags): Promise<number> {
  const address = dashboardAddress(given, token)
  const looked = new AbortController()
  await readNews(address, looked.signal).next()
  looked.abort()
  const page = new URL(address.url)
  page.hash = `token=${address.token}`
  console.log(page.href)
  return print || (await show(page.href)) ? EXIT_OK : EXIT_FAILED
}

/** Serves until a signal comes. */
async function serve(url: string, flags: Flags): Promise<number> {
  const { token, port, readOnly, redact: redactPayloads, print } = flags
  const stopped = new Promise((resolve) => process.once('SIGINT', resolve).once('SIGTERM', resolve))
  const onIncident = connectionNews((text) => console.error(`corelane: ${text}`))
  const opened = await needed(openQueue(url, flags, { onIncident }))
  const awake = timers.setInterval(() => {}, STAYS_OPEN_MS)
  try {
    const options = { queue: opened, token, port, readOnly, redactPayloads }
    const dashboard = await needed(serveDashboard(options))
    console.error(`corelane: the queue ${flags.name} at ${placeOf(url)}, until a signal comes`)
    console.log(dashboard.url)
    if (!print) await show(dashboard.url)
    await stopped
    await dashboard.close()
  } finally {
    timers.clearInterval(awake)
    await opened.close()
  }
  return EXIT_OK
}

/** Opens a page; says whether a browser was found. */
async function show(url: string): Promise<boolean> {
  const [program, ...words] = OPENERS[process.platform] ?? ['xdg-open']
  const opener = spawn(program, [...words, url], { stdio: 'ignore' })
  // A program that does not exist ends with an error instead of a code.
  const [code] = await once(opener, 'exit').catch(() => [undefined])
  if (code === 0) return true
  console.error(`corelane: ${program} opened no browser: open the address above`)
  return false
}
