// Dashboard: the command that opens the dashboard of a running process in a browser.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { boolean } from '../base/options.ts'
import { type CliCommand, EXIT_FAILED, EXIT_OK } from './command-line.ts'
import { dashboardAddress, readNews, TOKEN_OPTION } from './dashboard-news.ts'

interface Flags {
  readonly token: string | undefined
  readonly print: boolean
}

/** The program that opens an address with what the user has chosen for it. */
const OPENERS: Readonly<Record<string, readonly [string, ...string[]]>> = {
  darwin: ['open'],
  win32: ['rundll32', 'url.dll,FileProtocolHandler'],
}

/** `corelane dashboard`. */
export const dashboardCommand: CliCommand = {
  usage: 'dashboard [url]',
  summary: 'Open the dashboard of a process that serves it, after a look whether it answers',
  examples: [
    "corelane dashboard 'http://127.0.0.1:9465/#token=…'",
    'corelane worker ./handlers.js --queue redis://localhost --dashboard 9465',
  ],
  options: {
    token: TOKEN_OPTION,
    print: { flag: '--print', summary: 'Print the address, open nothing', rule: boolean(false) },
  },
  action: ([url], options) => open(url, options as unknown as Flags),
}

async function open(given: string | undefined, { token, print }: Flags): Promise<number> {
  const address = dashboardAddress(given, token)
  const looked = new AbortController()
  await readNews(address, looked.signal).next()
  looked.abort()
  const page = new URL(address.url)
  page.hash = `token=${address.token}`
  console.log(page.href)
  if (print) return EXIT_OK
  const [program, ...words] = OPENERS[process.platform] ?? ['xdg-open']
  const opener = spawn(program, [...words, page.href], { stdio: 'ignore' })
  // A program that does not exist ends with an error instead of a code.
  const [code] = await once(opener, 'exit').catch(() => [undefined])
  if (code === 0) return EXIT_OK
  console.error(`corelane: ${program} opened no browser: open the address above`)
  return EXIT_FAILED
}
