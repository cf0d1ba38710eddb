// Top screen: the news of a dashboard as lines of a terminal.
// Must not: pass on control characters, which come from names and errors of another process.

import { epochMs } from '../base/clock.ts'
import type { Histogram } from '../index.ts'
import type { DashboardNews, ManagerNews, QueueNews, ShownRate } from './dashboard-news.ts'

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
  /** Of the first column: how many rows there are, of which some may have been sent. */
  readonly total?: number | undefined
}

/** A command that waits longer shows as bad. */
const OLD_MS = 10_000
const NAME_MIN = 8
const EVENTS_MAX = 200
/** Of a table: with one it would only say how many there are. */
const ROWS_MIN = 2
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

const several = (value: number, noun: string): string =>
  `${count(value)} ${noun}${value === 1 ? '' : 's'}`

const percent = (share: number): string => `${(100 * Math.min(1, share)).toFixed(0)}%`

const cell = (text: string, isBad = false): Cell => ({ text: plain(text), isBad })

/** Nothing was measured, or nothing waits. */
const NONE = '–'

const quantile = (histogram: Histogram, name: 'p50' | 'p99'): Cell =>
  cell(histogram.count > 0 ? duration(histogram[name]) : NONE)

/** The screen: what stands now, and below it the events since it was opened, the latest first. */
export class TopScreen {
  readonly #events: string[] = []

  /** @returns Lines without their ends. */
  render(news: DashboardNews, screen: Screen): string[] {
    const { environment, queue } = news
    const isOfManager = news.lanes !== undefined
    const at = new Date(isOfManager ? news.atMs : epochMs()).toTimeString().slice(0, 8)
    for (const { event, lane, partition, type, id, error } of isOfManager ? news.feed : []) {
      const where = lane ?? (partition === undefined ? undefined : `partition ${partition}`)
      const words = [event, where, type, id, error].filter((word) => word !== undefined)
      this.#events.unshift(plain(`${at} ${words.join(' ')}`))
    }
    this.#events.length = Math.min(this.#events.length, EVENTS_MAX)
    const ofManager = isOfManager
      ? [lanesOf(news), ...filled(groupsOf(news)), partitionsOf(news)]
      : []
    const ofQueue = queue ? filled(queueLanesOf(queue), workersOf(queue)) : []
    const rows = rowsOf([...ofManager, ...ofQueue], screen.rows)
    const draw = (tables: readonly Column[][]): string[] =>
      tables.flatMap((columns, i) => [...(i > 0 ? [''] : []), ...table(columns, screen, rows)])
    const words = [at, environment, ...(isOfManager ? loadOf(news) : [])].filter(Boolean)
    const head = [
      bold(cut(plain(`corelane ${words.join(', ')}`), screen.columns), screen),
      ...draw(ofManager),
      ...(isOfManager && queue ? [''] : []),
      ...(queue ? summaryOf(queue, screen) : []),
      ...draw(ofQueue),
    ]
    const room = screen.rows - head.length - 1
    if (this.#events.length === 0 || room < 1) return head.slice(0, screen.rows)
    const events = this.#events.slice(0, room).map((line) => cut(line, screen.columns))
    return [...head, '', ...events]
  }
}

const bold = (text: string, { isColoured }: Screen): string =>
  isColoured ? BOLD + text + RESET : text

const bad = (text: string, { isColoured }: Screen): string =>
  isColoured ? RED + text + RESET : text

function loadOf({ host, deadLetters, state, partitions }: ManagerNews): string[] {
  const dormant = partitions.filter((one) => one.state === 'dormant').length
  return [
    ...(state === 'running' ? [] : [`the manager is ${state}`]),
    `load ${host.loadAverage.toFixed(2)} on ${host.cores} cores`,
    ...(dormant === 0 ? [] : [`${several(dormant, 'partition')} dormant`]),
    ...(deadLetters === 0 ? [] : [several(deadLetters, 'dead letter')]),
  ]
}

const filled = (...tables: Column[][]): Column[][] =>
  tables.filter(([first]) => first!.cells.length > 0)

/** Makes columns of rows. */
function columnsOf<Row>(rows: readonly Row[]) {
  const figure = (title: string, read: (row: Row) => Cell): Column => {
    return { title, cells: rows.map(read) }
  }
  const text = (title: string, read: (row: Row) => string, isBad = (_: Row) => false): Column => {
    return { title, isText: true, cells: rows.map((row) => cell(read(row), isBad(row))) }
  }
  return { figure, text }
}

/** The most important first: those that find no room on the right are left out. */
function lanesOf({ lanes, limits, spanMs }: ManagerNews): Column[] {
  const seconds = Math.max(spanMs, 1) / 1000
  const all = Object.entries(lanes).map(([name, lane]) => ({ ...lane, name }))
  const { figure, text } = columnsOf(all)
  return [
    text('LANE', laneText),
    figure('QUEUED', ({ queued }) => cell(count(queued))),
    figure('RUNNING', ({ running }) => cell(count(running))),
    figure('DONE/S', ({ completed }) => cell(count(completed / seconds))),
    figure('FAILED/S', ({ failed }) => cell(count(failed / seconds), failed > 0)),
    figure('OLDEST', ({ oldestMs }) =>
      cell(oldestMs > 0 ? duration(oldestMs) : NONE, oldestMs > OLD_MS),
    ),
    figure('WAIT P99', ({ wait }) => quantile(wait, 'p99')),
    figure('RUN P99', ({ run }) => quantile(run, 'p99')),
    figure('WAIT P50', ({ wait }) => quantile(wait, 'p50')),
    figure('RUN P50', ({ run }) => quantile(run, 'p50')),
    text('LIMITS', ({ name }) => {
      const limit = limits.find((one) => one.name === name)
      return limitText(limit?.maxConcurrency, limit?.rate)
    }),
  ]
}

interface NamedLane {
  readonly name: string
  readonly isPaused: boolean
}

const laneText = ({ name, isPaused }: NamedLane): string => (isPaused ? `${name} (paused)` : name)

function limitText(max: number | undefined, rate: ShownRate | undefined): string {
  const words = [max && `max ${max}`, rate && `${rate.limit} in ${rate.windowMs} ms`]
  return words.filter(Boolean).join(', ')
}

/** The ten groups that have waited longest. */
function groupsOf({ lanes }: ManagerNews): Column[] {
  const all = Object.entries(lanes).flatMap(([lane, { groups }]) =>
    groups.map((one) => ({ lane, ...one })),
  )
  const { figure, text } = columnsOf(all.sort((a, b) => b.oldestMs - a.oldestMs).slice(0, 10))
  return [
    text('LANE', ({ lane }) => lane),
    figure('OLDEST', ({ oldestMs }) => cell(duration(oldestMs), oldestMs > OLD_MS)),
    figure('QUEUED', ({ queued }) => cell(count(queued))),
    figure('RELEASED', ({ released }) => cell(count(released))),
    text('GROUP', ({ group }) => group),
  ]
}

function partitionsOf({ partitions: all, spanMs }: ManagerNews): Column[] {
  const partitions = all.filter(({ state }) => state !== 'dormant')
  const { figure, text } = columnsOf(partitions)
  const fillOf = (one: (typeof partitions)[number]): number =>
    Math.max(one.commandRingFill, one.resultRingFill)
  return [
    text('PARTITION', ({ index }) => String(index)),
    text(
      'STATE',
      ({ state }) => state,
      ({ state }) => state === 'failed',
    ),
    figure('BUSY', ({ busyMs }) => cell(percent(busyMs / Math.max(spanMs, 1)))),
    figure('BOUND', ({ bound }) => cell(count(bound))),
    figure('RESTARTS', ({ restarts }) => cell(count(restarts), restarts > 0)),
    figure('RINGS', (one) => cell(percent(fillOf(one)))),
    figure('HEAP', ({ heapMb }) => cell(`${heapMb.toFixed(1)}MiB`)),
    figure('LOOP P99', ({ loopDelay }) => quantile(loopDelay, 'p99')),
    text('RUNS NOW', ({ runs }) =>
      runs.map((one) => `${one.lane}/${one.type} ${duration(one.runningMs)}`).join(', '),
    ),
  ]
}

/** A queue in a line, and why it could not be read. */
function summaryOf({ error, ...queue }: QueueNews, screen: Screen): string[] {
  const { waiting, leased = 0, delayed = 0, dead = 0, laneCount = 0, workerCount = 0 } = queue
  const held = `${count(leased)} leased, ${count(delayed)} delayed, ${count(dead)} dead`
  const counts = `${count(waiting ?? 0)} waiting, ${held}`
  const line = `queue: ${counts}; ${several(laneCount, 'lane')}, ${several(workerCount, 'worker')}`
  return [
    ...(waiting === undefined ? [] : [bold(cut(line, screen.columns), screen)]),
    ...(error === undefined ? [] : [bad(cut(plain(`queue: ${error}`), screen.columns), screen)]),
  ]
}

function queueLanesOf({ lanes = [], laneCount: total }: QueueNews): Column[] {
  const { figure, text } = columnsOf(lanes)
  return [
    { ...text('LANE', laneText), total },
    figure('WAITING', ({ waiting }) => cell(count(waiting))),
    figure('LEASED', ({ leased }) => cell(count(leased))),
    figure('DEAD', ({ dead }) => cell(count(dead), dead > 0)),
    figure('DELAYED', ({ delayed }) => cell(count(delayed))),
    figure('WORKERS', ({ workers, waiting }) => cell(count(workers), workers === 0 && waiting > 0)),
    text('LIMITS', ({ concurrency, rate }) => limitText(concurrency, rate)),
  ]
}

function workersOf({ workers = [], workerCount: total }: QueueNews): Column[] {
  const { figure, text } = columnsOf(workers)
  return [
    { ...text('WORKER', ({ workerId }) => workerId), total },
    text(
      'STATE',
      ({ state }) => state,
      ({ state }) => state !== 'running',
    ),
    figure('HELD', ({ held }) => cell(count(held))),
    figure('RUNNING', ({ running }) => cell(count(running))),
    figure('THREADS', ({ partitions }) => cell(count(partitions))),
    figure('HEARD', ({ ageMs }) => cell(duration(ageMs))),
    text('HOST', ({ host }) => host),
    figure('PROCESS', ({ pid }) => cell(String(pid))),
    text('LANES', ({ lanes }) => lanes.join(', ')),
  ]
}

/** How many rows a table may have so that the last one is seen too: the longest give way. */
function rowsOf(tables: readonly Column[][], room: number): number {
  const lengths = tables.map(([first]) => first!.cells.length)
  // A title, the line of the queue, and of each table its head and the line that parts it.
  const left = room - 2 - 2 * lengths.length
  let most = Math.max(ROWS_MIN, ...lengths)
  const used = (): number => lengths.reduce((sum, length) => sum + Math.min(length, most), 0)
  while (most > ROWS_MIN && used() > left) most--
  return most
}

/**
 * As many columns as fit; the first and the last text are cut before a figure is left out.
 *
 * @param max - Most rows; the last says how many more there are.
 */
function table(all: readonly Column[], screen: Screen, max: number): string[] {
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
        return isBad ? bad(padded, screen) : padded
      })
      .join('  ')
      .trimEnd()
  const head = cut(
    line(({ title }) => ({ text: title })),
    screen.columns,
  )
  const { cells: sent, total = sent.length } = all[0]!
  const rows = Math.min(sent.length, total > max ? max - 1 : max)
  const body = Array.from({ length: rows }, (_, row) => line(({ cells }) => cells[row]!))
  if (total > rows) body.push(cut(`… ${count(total - rows)} more`, screen.columns))
  return [bold(head, screen), ...body]
}
