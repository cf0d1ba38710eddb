// Top screen: news as lines of any terminal.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Histogram } from '../../../src/base/histogram.ts'
import type { DashboardNews } from '../../../src/cli/dashboard-news.ts'
import { type Screen, TopScreen } from '../../../src/cli/top-screen.ts'

const WIDE: Screen = { columns: 200, rows: 50, isColoured: false }

interface Given {
  readonly lane?: string
  readonly error?: string
  readonly failed?: number
  readonly oldestMs?: number
  readonly runs?: number
}

function newsOf({ lane = 'api', error, failed = 0, oldestMs = 0, runs = 0 }: Given): DashboardNews {
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
    environment: 'staging',
    host: { cores: 2, loadAverage: 0.5 },
    limits: [{ name: lane, maxConcurrency: 8 }],
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
        runs: Array.from({ length: runs }, () => ({
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

test('a wide terminal has everything', () => {
  const lines = new TopScreen().render(newsOf({ error: 'late', runs: 1 }), WIDE)
  expect(lines[0]).toMatch(/^corelane [\d:]{8}, staging, load 0.50 on 2 cores, 3 dead letters$/)
  const words = lines.map((line) => line.split(/ {2,}/))
  expect(words[1]).toEqual(
    'LANE,QUEUED,RUNNING,DONE/S,FAILED/S,OLDEST,WAIT P99,RUN P99,WAIT P50,RUN P50,LIMITS'.split(
      ',',
    ),
  )
  expect(words[2]!.slice(0, 6)).toEqual(['api', '1,234', '2', '20', '0', '0µs'])
  expect(words[2]!.at(-1)).toBe('max 8')
  expect(words[5]).toEqual(['0', 'ready', '50%', '3', '0', '50%', '7.3MiB', 'api/t 5.0ms'])
  expect(lines[7]).toMatch(/^[\d:]{8} queue\.command\.timeout api late$/)
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
      fc.integer({ min: 1, max: 120 }),
      fc.integer({ min: 1, max: 20 }),
      (given, columns, rows) => {
        const lines = new TopScreen().render(newsOf(given), { columns, rows, isColoured: false })
        expect(lines.length).toBeLessThanOrEqual(rows)
        for (const line of lines) {
          expect(line).not.toMatch(/[\p{Cc}\u202e]/u)
          expect(line.length).toBeLessThanOrEqual(Math.max(columns, 8))
        }
      },
    ),
  )
})
