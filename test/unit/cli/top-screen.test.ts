// Top screen: news as lines of any terminal.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Histogram } from '../../../src/base/histogram.ts'
import type { DashboardNews, ManagerNews, QueueNews } from '../../../src/cli/dashboard-news.ts'
import { type Screen, TopScreen } from '../../../src/cli/top-screen.ts'
import { range } from '../../support/range.ts'

const WIDE: Screen = { columns: 200, rows: 50, isColoured: false }

interface Given {
  readonly lane?: string
  readonly error?: string
  readonly failed?: number
  readonly oldestMs?: number
  readonly runs?: number
}

function newsOf({ lane = 'api', error, failed = 0, oldestMs = 0, runs = 0 }: Given): ManagerNews {
  const wait = new Histogram()
  wait.record(12)
  const share = { failed, limited: 0, wait, run: wait }
  const counts = { submitted: 40, started: 40, completed: 40, timedOut: 0, retried: 0 }
  const now = {
    queued: 1_234,
    running: 2,
    unsettled: 6,
    waiting: 0,
    oldestMs,
    isPaused: failed > 5,
  }
  const rings = { commandRingFill: 0.25, resultRingFill: 0.5 }
  return {
    atMs: 0,
    spanMs: 2_000,
    deadLetters: 3,
    host: { cores: 2, loadAverage: 0.5 },
    state: 'running',
    limits: [{ name: lane, maxConcurrency: 8, rate: { limit: 9, windowMs: 50 } }],
    feed: error === undefined ? [] : [{ event: 'queue.command.timeout', lane, error }],
    lanes: { [lane]: { ...share, ...counts, ...now, deadLettered: 0, groups: [], partitions: [] } },
    partitions: [
      {
        ...{ index: 0, state: 'ready', restarts: 0, running: 1, bound: 3, busyMs: 1_000 },
        ...{
          utilisation: 0.5,
          parked: 0,
          stalled: 0,
          sidePosts: 0,
          heapMb: 7.25,
          ...rings,
          loopDelay: new Histogram(),
        },
        runs: range(runs).map(() => ({
          id: '1',
          lane,
          type: 't',
          group: undefined,
          runningMs: 5,
        })),
      },
    ],
  }
}

/** A queue with so many lanes and workers, named alike. */
function queueOf(lanes: number, workers: number, name = 'lane'): QueueNews {
  const counts = { waiting: 1_234, leased: 5, delayed: 6, dead: 7 }
  const names = range(lanes).map((n) => `${name}-${n}`)
  const standing = { host: 'a-host', pid: 4_711, startedAt: 0, partitions: 4, held: 3, running: 2 }
  return {
    ...counts,
    lanes: names.map((one, n) => {
      const limits = n === 0 ? { concurrency: 8, rate: { limit: 9, windowMs: 50 } } : {}
      return { name: one, ...counts, isPaused: n === 1, workers: n === 2 ? 0 : 1, ...limits }
    }),
    laneCount: lanes,
    workers: range(workers).map((n) => {
      const state = n === 0 ? 'running' : 'draining'
      return { workerId: `worker-${n}`, ageMs: 250, ...standing, state, lanes: names }
    }),
    workerCount: workers,
  }
}

const wordsOf = (lines: readonly string[]): string[][] => lines.map((line) => line.split(/ {2,}/))

test('a wide terminal has everything', () => {
  const news = { ...newsOf({ error: 'late', runs: 1 }), environment: 'staging' }
  const lines = new TopScreen().render(news, WIDE)
  expect(lines[0]).toMatch(/^corelane [\d:]{8}, staging, load 0.50 on 2 cores, 3 dead letters$/)
  const words = wordsOf(lines)
  expect(words[1]).toEqual(
    'LANE,QUEUED,RUNNING,DONE/S,FAILED/S,OLDEST,WAIT P99,RUN P99,WAIT P50,RUN P50,LIMITS'.split(
      ',',
    ),
  )
  expect(words[2]!.slice(0, 6)).toEqual(['api', '1,234', '2', '20', '0', '–'])
  expect(words[2]!.at(-1)).toBe('max 8, 9 in 50 ms')
  expect(words[5]).toEqual(['0', 'ready', '50%', '3', '0', '50%', '7.3MiB', '–', 'api/t 5.0ms'])
  expect(lines[7]).toMatch(/^[\d:]{8} queue\.command\.timeout api late$/)
})

test('a manager that has ended, partitions at rest and lanes without a run show as that', () => {
  const news = newsOf({})
  const [partition] = news.partitions
  const resting = [1, 2].map((index) => ({ ...partition!, index, state: 'dormant' as const }))
  const none = { wait: new Histogram(), run: new Histogram() }
  const ended = {
    ...news,
    state: 'closed',
    lanes: { api: { ...news.lanes.api!, ...none } },
    partitions: [partition!, ...resting],
  }
  const lines = new TopScreen().render(ended, WIDE)
  expect(lines[0]).toMatch(
    /, the manager is closed, load 0\.50 on 2 cores, 2 partitions dormant, 3 dead letters$/,
  )
  expect(wordsOf(lines)[2]!.slice(5, 10)).toEqual(['–', '–', '–', '–', '–'])
  expect(lines.filter((line) => line.includes('dormant'))).toHaveLength(1)
})

test('groups that wait stand below the lanes, those that have waited longest first', () => {
  const news = newsOf({})
  const groups = [20_000, 30].map((oldestMs, n) => {
    return { group: `group-${n}`, queued: 7 + n, released: n, oldestMs }
  })
  const lane = (of: typeof groups) => ({ ...news.lanes.api!, groups: of })
  const lanes = { api: lane(groups.slice(1)), other: lane(groups.slice(0, 1)) }
  const words = wordsOf(new TopScreen().render({ ...news, lanes }, WIDE))
  expect(words.slice(5, 8)).toEqual([
    ['LANE', 'OLDEST', 'QUEUED', 'RELEASED', 'GROUP'],
    ['other', '20.0s', '7', '0', 'group-0'],
    ['api', '30.0ms', '8', '1', 'group-1'],
  ])
  expect(new TopScreen().render(news, WIDE).join()).not.toContain('GROUP')
})

test('a narrow one keeps the name and the figures that matter most', () => {
  const screen = { ...WIDE, columns: 40 }
  const [, head, lane] = new TopScreen().render(newsOf({ lane: 'a-lane-with-a-long-name' }), screen)
  expect(head).toMatch(/^LANE +QUEUED {2}RUNNING/)
  expect(lane).toMatch(/^a-lane-with-…\s+1,234/)
})

test('failures, old commands and nothing else are red, where there is colour', () => {
  const coloured = { ...WIDE, isColoured: true }
  const redIn = (given: Given) => {
    const text = new TopScreen().render(newsOf(given), coloured).join('\n')
    return text.split('\x1b[31m').slice(1)
  }
  expect(redIn({})).toEqual([])
  expect(redIn({ failed: 4 })).toHaveLength(1)
  expect(redIn({ oldestMs: 11_000 })).toHaveLength(1)
  expect(new TopScreen().render(newsOf({ failed: 4 }), WIDE).join('')).not.toContain('\x1b')
})

test('a queue stands below the partitions, and alone where there is no manager', () => {
  const queue = queueOf(2, 2)
  const whole = new TopScreen().render({ ...newsOf({}), queue }, WIDE)
  expect(whole[6]).toBe('')
  const lines = whole.slice(7)
  expect(lines[0]).toBe('queue: 1,234 waiting, 5 leased, 6 delayed, 7 dead; 2 lanes, 2 workers')
  const words = wordsOf(lines)
  expect(words[1]).toEqual(['LANE', 'WAITING', 'LEASED', 'DEAD', 'DELAYED', 'WORKERS', 'LIMITS'])
  expect(words[2]).toEqual(['lane-0', '1,234', '5', '7', '6', '1', 'max 8, 9 in 50 ms'])
  expect(words[3]![0]).toBe('lane-1 (paused)')
  expect(words[5]!.join()).toBe('WORKER,STATE,HELD,RUNNING,THREADS,HEARD,HOST,PROCESS,LANES')
  const figures = ['3', '2', '4', '250.0ms', 'a-host', '4711', 'lane-0, lane-1']
  expect(words[6]).toEqual(['worker-0', 'running', ...figures])
  const alone = new TopScreen().render({ queue, environment: 'staging' }, WIDE)
  expect(alone[0]).toMatch(/^corelane [\d:]{8}, staging$/)
  expect(alone.slice(1)).toEqual(lines)
})

test('a narrow terminal keeps the counts of a queue that matter most', () => {
  const lines = new TopScreen().render({ queue: queueOf(1, 1) }, { ...WIDE, columns: 32 })
  expect(wordsOf(lines)[2]).toEqual(['LANE', 'WAITING', 'LEASED', 'DEAD'])
  expect(wordsOf(lines)[5]).toEqual(['WORKER', 'STATE', 'HELD', 'RUNNING'])
})

test('without a queue, or before it was read, nothing is said of one; a fault is', () => {
  const bare = new TopScreen().render(newsOf({}), WIDE)
  expect(bare.join()).not.toContain('queue')
  expect(new TopScreen().render({ queue: {} }, WIDE)).toHaveLength(1)
  const nothing = new TopScreen().render({ queue: queueOf(0, 0) }, WIDE)
  expect(nothing.slice(1)).toEqual([
    'queue: 1,234 waiting, 5 leased, 6 delayed, 7 dead; 0 lanes, 0 workers',
  ])
  const coloured = { ...WIDE, isColoured: true }
  const queue = { ...queueOf(1, 1), error: 'Error: away' }
  const text = new TopScreen().render({ queue }, coloured).join('\n')
  expect(text).toContain('\x1b[31mqueue: Error: away\x1b[0m')
  expect(text).toContain('lane-0')
})

test('dead letters, lanes that no worker takes and workers that leave are red', () => {
  const coloured = { ...WIDE, isColoured: true }
  const queue = queueOf(3, 2)
  const alive = queue.lanes!.map((lane) => ({ ...lane, dead: 0 }))
  const lines = new TopScreen().render({ queue: { ...queue, lanes: alive } }, coloured)
  const red = lines.filter((line) => line.includes('\x1b[31m'))
  expect(red.map((line) => line.slice(0, 8).trim())).toEqual(['lane-2', 'worker-1'])
  expect(new TopScreen().render({ queue }, coloured)[3]).toContain('\x1b[31m   7\x1b')
})

test('on a low terminal long tables give way to short ones, and say how much is left out', () => {
  const news = { ...newsOf({}), queue: queueOf(30, 2) }
  const lines = new TopScreen().render(news, { ...WIDE, rows: 24 })
  expect(lines.length).toBeLessThanOrEqual(24)
  const text = lines.join('\n')
  expect(text).toMatch(/lane-1 .*\n… 2\d more\n\nWORKER .*\nworker-0 .*\nworker-1 /s)
})

test('lanes of a queue that were not sent are counted among those left out', () => {
  const queue = { ...queueOf(30, 2), laneCount: 1_000 }
  for (const rows of [200, 20]) {
    const lines = new TopScreen().render({ queue }, { ...WIDE, rows })
    const shown = lines.filter((line) => line.startsWith('lane-')).length
    expect(lines).toContain(`… ${1_000 - shown} more`)
  }
})

test('on a very low terminal each table shows its first row, until there is no room for more', () => {
  const lines = new TopScreen().render({ queue: queueOf(30, 2) }, { ...WIDE, rows: 6 })
  expect(lines.slice(3, 5)).toEqual([expect.stringMatching(/^lane-0 /), '… 29 more'])
  expect(lines.length).toBe(6)
})

test('events stay on the screen, the latest first', () => {
  const top = new TopScreen()
  top.render(newsOf({ error: 'first' }), WIDE)
  top.render(newsOf({ error: 'second' }), WIDE)
  expect(top.render(newsOf({}), WIDE).slice(7).join()).toMatch(/second.*first/)
})

test('no line is longer than the terminal, no screen higher, and no control character passes', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'ü', ' ', '\x1b', '\n', '\u202e', '\x9b') })
  fc.assert(
    fc.property(
      fc.record({ lane: text, error: text, failed: fc.nat(9), runs: fc.nat(3) }),
      fc.tuple(fc.boolean(), fc.boolean(), fc.nat(30), fc.nat(30)),
      fc.integer({ min: 1, max: 120 }),
      fc.integer({ min: 1, max: 20 }),
      (given, [isAlone, hasQueue, lanes, workers], columns, rows) => {
        const { lane, error } = given
        const queue = hasQueue ? { queue: { ...queueOf(lanes, workers, lane), error } } : {}
        const news: DashboardNews = isAlone ? queue : { ...newsOf(given), ...queue }
        const lines = new TopScreen().render(news, { columns, rows, isColoured: false })
        expect(lines.length).toBeLessThanOrEqual(rows)
        for (const line of lines) {
          expect(line).not.toMatch(/[\p{Cc}\u202e]/u)
          expect(line.length).toBeLessThanOrEqual(Math.max(columns, 8))
        }
      },
    ),
  )
})
