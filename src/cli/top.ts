// Top: the command that shows lanes, partitions and the queue of a running process in a terminal.
// Owns: the terminal's screen and keys while it runs.

import { boolean } from '../base/options.ts'
import { type CliCommand, EXIT_OK, printed } from './command-line.ts'
import {
  type DashboardAddress,
  dashboardAddress,
  readNews,
  TOKEN_OPTION,
} from './dashboard-news.ts'
import { type Screen, TopScreen } from './top-screen.ts'

interface Flags {
  readonly token: string | undefined
  readonly once: boolean
  readonly json: boolean
}

/** Another screen than that of the shell, without a cursor; and back. */
const ENTER = '\x1b[?1049h\x1b[?25l'
const LEAVE = '\x1b[?25h\x1b[?1049l'
const HOME = '\x1b[H'
const CLEAR_TO_END_OF_LINE = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'

export const topCommand: CliCommand = {
  usage: 'top [url]',
  summary: 'Show lanes, partitions and the queue of a process that serves its dashboard, live',
  examples: [
    "corelane top 'http://127.0.0.1:9465/#token=…'",
    'corelane top --once --json | jq .lanes.api.queued',
  ],
  options: {
    token: TOKEN_OPTION,
    once: { flag: '--once', summary: 'One look, of one interval', rule: boolean(false) },
    json: { flag: '--json', summary: 'One JSON object a line', rule: boolean(false) },
  },
  action: ([url], options) => {
    const flags = options as unknown as Flags
    return printed(show(dashboardAddress(url, flags.token), flags))
  },
}

async function show(address: DashboardAddress, { once, json }: Flags): Promise<number> {
  const { stdout, stdin } = process
  const isLive = stdout.isTTY === true && !once && !json
  const ended = new AbortController()
  const end = () => ended.abort()
  // Control and C is a key like others in raw mode.
  const onKey = (key: Buffer) => {
    if (['q', '\x03'].includes(String(key))) end()
  }
  // A reader that has left, as `head` does, ends it in order.
  stdout.on('error', end)
  process.on('SIGINT', end).on('SIGTERM', end)
  const top = new TopScreen()
  let isEntered = false
  try {
    for await (const news of readNews(address, ended.signal)) {
      const { queue } = news
      // One look waits until the queue was read.
      if (once && queue && queue.lanes === undefined && queue.error === undefined) continue
      if (isLive && !isEntered) {
        isEntered = true
        stdout.write(ENTER)
        if (stdin.isTTY) stdin.setRawMode(true).on('data', onKey)
      }
      if (json) stdout.write(`${JSON.stringify(news)}\n`)
      else stdout.write(textOf(top.render(news, screenOf(stdout, isLive)), isLive))
      if (once) break
    }
  } finally {
    if (isEntered) {
      stdout.write(LEAVE)
      if (stdin.isTTY) stdin.setRawMode(false).off('data', onKey).pause()
    }
    process.off('SIGINT', end).off('SIGTERM', end)
    end()
  }
  return EXIT_OK
}

/** A terminal has a size; what is piped is cut by nothing. */
function screenOf({ isTTY, columns, rows }: NodeJS.WriteStream, isLive: boolean): Screen {
  const { NO_COLOR, TERM } = process.env
  return {
    columns: isTTY ? columns : Number.POSITIVE_INFINITY,
    rows: isLive ? rows : Number.POSITIVE_INFINITY,
    isColoured: isTTY === true && !NO_COLOR && TERM !== 'dumb',
  }
}

function textOf(lines: readonly string[], isLive: boolean): string {
  if (!isLive) return `${lines.join('\n')}\n\n`
  const drawn = lines.map((line) => line + CLEAR_TO_END_OF_LINE).join('\r\n')
  return HOME + drawn + CLEAR_BELOW
}
