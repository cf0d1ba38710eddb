// Awake threads: who counts, and when spinning is worth a try.

import { afterEach, expect, test } from 'vitest'
import {
  AwakeThreads,
  awakeMemory,
  closeAwakeWord,
  openAwakeWord,
  SpinHabit,
} from '../../../src/memory/awake-threads.ts'

const opened: number[] = []

function thread(cores: number): AwakeThreads {
  const word = openAwakeWord()
  opened.push(word)
  return new AwakeThreads(awakeMemory(), word, cores)
}

afterEach(() => {
  for (const word of opened.splice(0)) closeAwakeWord(word)
})

test('the main thread counts as awake, partitions while they say so', () => {
  const main = new AwakeThreads(awakeMemory(), 0, 2)
  const one = thread(2)
  const two = thread(2)
  expect(main.hasCoreToSpare).toBe(true)
  one.set(true)
  expect(one.hasCoreToSpare).toBe(true)
  two.set(true)
  expect([main, one, two].map(({ hasCoreToSpare }) => hasCoreToSpare)).toEqual([
    false,
    false,
    false,
  ])
  one.set(false)
  expect(main.hasCoreToSpare).toBe(true)
})

test('the main thread is alone while every partition sleeps', () => {
  const main = new AwakeThreads(awakeMemory(), 0, 8)
  const one = thread(8)
  expect(main.isMainAlone).toBe(true)
  one.set(true)
  expect([main.isMainAlone, one.isMainAlone]).toEqual([false, false])
  one.set(false)
  expect(main.isMainAlone).toBe(true)
})

test('a dead thread counts no more, and its word is used again', () => {
  const main = new AwakeThreads(awakeMemory(), 0, 1)
  const word = openAwakeWord()
  new AwakeThreads(awakeMemory(), word, 1).set(true)
  expect(main.hasCoreToSpare).toBe(false)
  closeAwakeWord(word)
  expect(main.hasCoreToSpare).toBe(true)
  expect(openAwakeWord()).toBe(word)
  closeAwakeWord(word)
})

test('a thread without a word counts as asleep', () => {
  const main = new AwakeThreads(awakeMemory(), 0, 1)
  new AwakeThreads(awakeMemory(), 0, 1).set(true)
  expect(main.hasCoreToSpare).toBe(true)
})

test('where spinning never pays it is tried less and less, down to a bound', () => {
  const habit = new SpinHabit()
  const tries: number[] = []
  for (let wait = 0; wait < 270; wait++) {
    if (!habit.isWorthTrying()) continue
    tries.push(wait)
    expect(habit.spin(0, () => false)).toBe(false)
  }
  expect(tries).toEqual([0, 2, 5, 10, 19, 36, 69, 134, 199, 264])
})

test('once it pays it is tried every time', () => {
  const habit = new SpinHabit()
  for (let i = 0; i < 4; i++) if (habit.isWorthTrying()) habit.spin(0, () => false)
  expect(habit.isProbe).toBe(true)
  while (!habit.isWorthTrying());
  expect(habit.spin(0, () => true)).toBe(true)
  expect(habit.isProbe).toBe(false)
  expect(habit.isWorthTrying()).toBe(true)
})
