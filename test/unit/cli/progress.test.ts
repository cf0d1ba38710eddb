// Progress: what is drawn on a terminal, and what is printed where there is none.

import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { CLEAR_LINE, Progress } from '../../../src/cli/progress.ts'

const COUNTS = { bytes: 50, succeeded: 4, failed: 1, inFlight: 2 }

async function show(stream: object, totalBytes: number | undefined): Promise<[string, string[]]> {
  let drawn = ''
  const said: string[] = []
  const write = (text: string) => {
    drawn += text
  }
  const progress = new Progress(
    { ...stream, write } as unknown as NodeJS.WriteStream,
    totalBytes,
    () => COUNTS as never,
    (text) => said.push(text),
  )
  progress.start()
  await pause(5)
  progress.stop()
  progress.stop()
  return [drawn, said]
}

test('a terminal has one line: a bar, a share, counts and the time left', async () => {
  const [drawn, said] = await show({ isTTY: true, columns: 200 }, 100)
  expect(said).toEqual([])
  expect(drawn.startsWith(CLEAR_LINE)).toBe(true)
  const text = /^\[\u25a0{20} {20}\] 50% \| 4 done, 1 failed, 2 in flight, \d+\/s \| ETA \d+s\n$/
  expect(drawn.slice(CLEAR_LINE.length)).toMatch(text)
})

test('an input of unknown length has no bar', async () => {
  const [drawn] = await show({ isTTY: true, columns: 200 }, undefined)
  expect(drawn.slice(CLEAR_LINE.length)).toMatch(/^4 done, 1 failed, 2 in flight, \d+\/s\n$/)
})

test('a line never wraps', async () => {
  const [drawn] = await show({ isTTY: true, columns: 30 }, 100)
  expect(drawn.slice(CLEAR_LINE.length)).toHaveLength('\n'.length + 29)
})

test('where there is no terminal a line is printed', async () => {
  const [drawn, said] = await show({ isTTY: false }, 100)
  expect(drawn).toBe('')
  expect(said).toEqual([expect.stringMatching(/^50%, 4 done, 1 failed, 2 in flight, \d+\/s$/)])
})
