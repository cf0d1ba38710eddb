// Lane event: the names, and the rules of a filter.

import { expect, test } from 'vitest'
import { checkOptions } from '../../../src/base/options.ts'
import { type EventFilter, LANE_EVENTS, SUBSCRIBE_RULES } from '../../../src/model/lane-event.ts'

const check = (filter: unknown) => checkOptions<EventFilter>('subscribe', filter, SUBSCRIBE_RULES)

test('without a filter everything passes and 1,024 events are kept', () => {
  expect(check(undefined)).toMatchObject({ events: undefined, lanes: undefined, capacity: 1024 })
})

test('every name of an event is allowed in a filter, and each stands once in the list', () => {
  expect(check({ events: [...LANE_EVENTS] }).events).toEqual(LANE_EVENTS)
  expect(new Set(LANE_EVENTS).size).toBe(LANE_EVENTS.length)
  const pattern = /^queue\.(command|dead_letter|partition|lane|shutdown)\.[a-z]+(_[a-z]+)?$/
  for (const name of LANE_EVENTS) expect(name).toMatch(pattern)
})

test.each([
  [{ events: ['queue.command.gone'] }],
  [{ events: 'queue.command.started' }],
  [{ lanes: 'api' }],
  [{ capacity: 0 }],
  [{ capacity: 1_000_001 }],
  [{ capacity: 1.5 }],
  [{ since: 5 }],
])('a filter that is not allowed is refused, naming the option: %o', (filter) => {
  expect(() => check(filter)).toThrow(`subscribe.${Object.keys(filter)[0]}`)
})
