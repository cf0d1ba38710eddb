// Top screen: the news of a dashboard as lines of a terminal.
// Must not: pass on control characters, which come from names and errors of another process.

import type { DashboardNews } from './dashboard-news.ts'

/** Where the lines go. */
export interface Screen {
  /** Cells of a line; Infinity cuts nothing. */
  readonly columns: number
  /** Most lines. */
  readonly rows: number
  readonly isColoured: boolean
}

interface Cell {
  readonly text: string
  readonly isBad?: boolean
}

interface Column {
  readonly title: string
  readonly isText?: boolean
  readonly cells: readonly Cell[]
}

/** A command that waits longer shows as bad. */
const OLD_MS = 10_000
const NAME_MIN = 8
const EVENTS_MAX = 200
const BOLD = '\x1b[1m'
const RED = '\x1b[31m'
const RESET = '\x1b[0m'

/** Control characters: of C0 and C1, and what turns the direction of writing. */
const CONTROL = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu

const plain = (text: string): string => text.replace(CONTROL, '?')

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`
}

function duration(value: number): string {
  if (value < 1) return `${(value * 1000).toFixed(0)}µs`
  return value < 1000 ? `${value.toFixed(1)}ms` : `${(value / 1000).toFixed(1)}s`
}

const count = (value: number): string =>
  value.toLocaleString('en-US', { maximumFractionDigits: value < 10 ? 1 : 0 })

const percent = (share: number): string => `${(100 * Math.min(1, share)).toFixed(0)}%`

const cell = (text: string, isBad = false): Cell => ({ text: plain(text), isBad })

/** The screen: what stands now, and below it the events since it was opened, the latest first. */
export class TopScreen {
  readonly #events: string[] = []

  /**
   * Takes news in.
   *
   * @param news - The latest.
   * @param screen - Where they go.
   * @returns Lines without their ends.
   */
  render(news: DashboardNews, screen: Screen): string[] {
    const at = new Date(news.atMs).toTimeString().slice(0, 8)
    for (const { event, lane, partition, type, id, error } of news.feed) {
      const where = lane ?? (partition === undefined ? undefined : `partition ${partition}`)
      const words = [event, where, type, id, error].filter((word) => word !== undefined)
      this.#events.unshift(plain(`${at} ${words.join(' ')}`))
    }
    this.#events.length = Math.min(this.#events.length, EVENTS_MAX)
    const { host, environment, deadLetters } = news
    const badge = environment === undefined ? '' : `${environment}, `
    const load = `${badge}load ${host.loadAverage.toFixed(2)} on ${host.cores} cores`
    const dead = deadLetters === 0 ? '' : `, ${count(deadLetters)} dead letters`
    const head = [
      bold(cut(plain(`corelane ${at}, ${load}${dead}`), screen.columns), screen),
      ...table(lanesOf(news), screen),
      '',
      ...table(partitionsOf(news), screen),
    ]
    const room = screen.rows - head.length - 1
    if (this.#events.length === 0 || room < 1) return head.slice(0, screen.rows)
    const events = this.#events.slice(0, room).map((line) => cut(line, screen.columns))
    return [...head, '', ...events]
  }
}

const bold = (text: string, { isColoured }: Screen): string =>
  isColoured ? BOLD + text + RESET : text

/** The most important first: those that find no room on the right are left out. */
function lanesOf({ lanes, limits, spanMs }: DashboardNews): Column[] {
  const seconds = Math.max(spanMs, 1) / 1000
  const all = Object.entries(lanes)
  const of = (title: string, read: (lane: (typeof all)[number][1]) => Cell): Column => ({
    title,
    cells: all.map(([, lane]) => read(lane)),
  })
  const limitOf = (name: string): string => {
    const { maxConcurrency, rate } = limits.find((one) => one.name === name) ?? {}
    return [maxConcurrency && `max ${maxConcurrency}`, rate].filter(Boolean).join(', ')
  }
  return [
    {
      title: 'LANE',
      isText: true,
      cells: all.map(([name, { isPaused }]) => cell(isPaused ? `${name} (paused)` : name)),
    },
    of('QUEUED', ({ queued }) => cell(count(queued))),
    of('RUNNING', ({ running }) => cell(count(running))),
    of('DONE/S', ({ completed }) => cell(count(completed / seconds))),
    of('FAILED/S', ({ failed }) => cell(count(failed / seconds), failed > 0)),
    of('OLDEST', ({ oldestMs }) => cell(duration(oldestMs), oldestMs > OLD_MS)),
    of('WAIT P99', ({ wait }) => cell(duration(wait.p99))),
    of('RUN P99', ({ run }) => cell(duration(run.p99))),
    of('WAIT P50', ({ wait }) => cell(duration(wait.p50))),
    of('RUN P50', ({ run }) => cell(duration(run.p50))),
    { title: 'LIMITS', isText: true, cells: all.map(([name]) => cell(limitOf(name))) },
  ]
}

function partitionsOf({ partitions, spanMs }: DashboardNews): Column[] {
  const of = (title: string, read: (one: (typeof partitions)[number]) => Cell): Column => ({
    title,
    cells: partitions.map(read),
  })
  return [
    { ...of('PARTITION', ({ index }) => cell(String(index))), isText: true },
    { ...of('STATE', ({ state }) => cell(state, state === 'failed')), isText: true },
    of('BUSY', ({ busyMs }) => cell(percent(busyMs / Math.max(spanMs, 1)))),
    of('BOUND', ({ bound }) => cell(count(bound))),
    of('RESTARTS', ({ restarts }) => cell(count(restarts), restarts > 0)),
    of('RINGS', (one) => cell(percent(Math.max(one.commandRingFill, one.resultRingFill)))),
    of('HEAP', ({ heapMb }) => cell(`${heapMb.toFixed(1)}MiB`)),
    {
      ...of('RUNS NOW', ({ runs }) =>
        cell(runs.map((one) => `${one.lane}/${one.type} ${duration(one.runningMs)}`).join(', ')),
      ),
      isText: true,
    },
  ]
}

/** As many columns as fit; the first and the last text are cut before a figure is left out. */
function table(all: readonly Column[], screen: Screen): string[] {
  const widths = all.map(({ title, cells }) =>
    Math.max(title.length, ...cells.map(({ text }) => text.length)),
  )
  let used = Math.min(widths[0]!, Math.max(NAME_MIN, Math.floor(screen.columns / 3)))
  widths[0] = used
  const shown = [0]
  for (let i = 1; i < all.length; i++) {
    const left = screen.columns - used - 2
    const isLast = i === all.length - 1 && all[i]!.isText === true
    const width = isLast ? Math.min(widths[i]!, left) : widths[i]!
    if (width > left || width < Math.min(all[i]!.title.length, NAME_MIN)) continue
    widths[i] = width
    used += width + 2
    shown.push(i)
  }
  const line = (read: (column: Column) => Cell): string =>
    shown
      .map((i) => {
        const { text, isBad } = read(all[i]!)
        const fits = cut(text, widths[i]!)
        const padded = all[i]!.isText ? fits.padEnd(widths[i]!) : fits.padStart(widths[i]!)
        return isBad && screen.isColoured ? RED + padded + RESET : padded
      })
      .join('  ')
      .trimEnd()
  const head = cut(
    line(({ title }) => ({ text: title })),
    screen.columns,
  )
  const body = (all[0]?.cells ?? []).map((_, row) => line(({ cells }) => cells[row]!))
  return [bold(head, screen), ...body]
}
