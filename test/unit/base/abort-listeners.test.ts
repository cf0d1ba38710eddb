// Abort listeners: one listener per signal, as long as it has something to end.

import { EventEmitter, getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { AbortListeners } from '../../../src/base/abort-listeners.ts'
import { range } from '../../support/range.ts'

const count = (signal: AbortSignal) => getEventListeners(signal, 'abort').length

function world() {
  const listeners = new AbortListeners()
  const controller = new AbortController()
  const ended: [string, unknown][] = []
  const target = (name: string, isBound = false) => ({
    isBound,
    abort: (reason: unknown) => {
      ended.push([name, reason])
    },
  })
  return { listeners, controller, signal: controller.signal, ended, target }
}

test('a thousand commands of one signal cost one listener, and each is ended once', async () => {
  const { listeners, controller, signal, ended, target } = world()
  for (let i = 0; i < 1000; i++) listeners.add(signal, target(`c${i}`))
  expect([listeners.size, count(signal)]).toEqual([1, 1])
  controller.abort('enough')
  // In slices, if the machine is busy.
  while (listeners.isEnding(signal)) await new Promise((resolve) => setImmediate(resolve))
  expect(ended).toEqual(range(1000).map((i) => [`c${i}`, 'enough']))
  expect([listeners.size, count(signal)]).toEqual([0, 0])
})

test('of very many targets the bound ones end at once, the others while the event loop turns', async () => {
  const { listeners, controller, signal, ended, target } = world()
  const slow = (name: string, isBound: boolean) => {
    const made = target(name, isBound)
    return {
      isBound,
      abort: (reason: unknown) => {
        const end = performance.now() + 0.1
        while (performance.now() < end);
        made.abort(reason)
      },
    }
  }
  for (let i = 0; i < 500; i++) listeners.add(signal, slow(`c${i}`, i > 497))
  controller.abort('enough')
  const atOnce = ended.length
  expect(atOnce).toBeLessThan(400)
  expect(ended.slice(0, 2)).toEqual([
    ['c498', 'enough'],
    ['c499', 'enough'],
  ])
  expect(listeners.isEnding(signal)).toBe(true)
  while (listeners.isEnding(signal)) await new Promise((resolve) => setImmediate(resolve))
  expect(new Set(ended.map(([name]) => name as string)).size).toBe(500)
  expect(listeners.size).toBe(0)
})

test('the listener goes with the last that the signal could end, not before', () => {
  const { listeners, signal, target } = world()
  const [a, b] = [target('a'), target('b')]
  for (const each of [a, b]) listeners.add(signal, each)
  listeners.remove(signal, a)
  listeners.remove(signal, a)
  expect([listeners.size, count(signal)]).toEqual([1, 1])
  listeners.remove(signal, b)
  expect([listeners.size, count(signal)]).toEqual([0, 0])
  listeners.remove(signal, b)
  expect(listeners.size).toBe(0)
})

test('what was removed is not ended, the rest is', () => {
  const { listeners, controller, signal, ended, target } = world()
  const [a, b] = [target('a'), target('b')]
  for (const each of [a, b]) listeners.add(signal, each)
  listeners.remove(signal, a)
  controller.abort('late')
  expect(ended).toEqual([['b', 'late']])
})

test('a signal that was let go is listened to again', () => {
  const { listeners, controller, signal, ended, target } = world()
  const a = target('a')
  listeners.add(signal, a)
  listeners.remove(signal, a)
  listeners.add(signal, a)
  expect(count(signal)).toBe(1)
  controller.abort(0)
  expect(ended).toEqual([['a', 0]])
})

test('signals do not end what belongs to others', () => {
  const { listeners, controller, signal, ended, target } = world()
  const other = new AbortController()
  listeners.add(signal, target('a'))
  listeners.add(other.signal, target('b'))
  expect(listeners.size).toBe(2)
  controller.abort(1)
  expect([ended, listeners.size, count(other.signal)]).toEqual([[['a', 1]], 1, 1])
})

test('what removes itself while it is ended is ended once, as are those behind it', () => {
  const { listeners, controller, signal, ended } = world()
  for (const name of ['a', 'b', 'c']) {
    const target = {
      isBound: false,
      abort: () => {
        ended.push([name, undefined])
        listeners.remove(signal, target)
      },
    }
    listeners.add(signal, target)
  }
  controller.abort()
  expect(ended.map(([name]) => name)).toEqual(['a', 'b', 'c'])
})

test('what ends because another was ended is not ended again', () => {
  const { listeners, controller, signal, ended, target } = world()
  const second = target('second')
  const first = {
    isBound: false,
    abort: () => {
      ended.push(['first', undefined])
      listeners.remove(signal, second)
    },
  }
  for (const each of [first, second]) listeners.add(signal, each)
  controller.abort()
  expect(ended.map(([name]) => name)).toEqual(['first'])
})

test('an event emitter that emits `abort` is a signal, too', () => {
  const { listeners, ended, target } = world()
  const emitter = new EventEmitter()
  const gone = target('gone')
  for (const one of [gone, target('first'), target('second')]) listeners.add(emitter, one)
  listeners.remove(emitter, gone)
  expect(emitter.listenerCount('abort')).toBe(1)
  emitter.emit('abort')
  expect(ended).toEqual([
    ['first', undefined],
    ['second', undefined],
  ])
  const other = target('other')
  const another = new EventEmitter()
  listeners.add(another, other)
  listeners.remove(another, other)
  expect([emitter, another].map((one) => one.listenerCount('abort'))).toEqual([0, 0])
  expect(() => listeners.add({}, other)).toThrow(TypeError)
})

test.each([1, 2])('an emitter that ended %i ends what is added next at its next event', (count) => {
  const { listeners, ended, target } = world()
  const emitter = new EventEmitter()
  for (let i = 0; i < count; i++) {
    const old = { isBound: true, abort: () => listeners.remove(emitter, old) }
    listeners.add(emitter, old)
  }
  const [next, last] = [target('next'), target('last')]
  // In the turn of the event, and while it ends the others.
  listeners.add(emitter, { isBound: true, abort: () => listeners.add(emitter, last) })
  emitter.emit('abort')
  listeners.add(emitter, next)
  expect([ended, emitter.listenerCount('abort')]).toEqual([[], 1])
  emitter.emit('abort')
  expect(ended.map(([name]) => name)).toEqual(['last', 'next'])
  expect([listeners.size, emitter.listenerCount('abort')]).toEqual([0, 0])
})
