// Browser: a headless Chromium, driven through its debugging pipe. Tests that need it are left out
// where there is none, and fail there with CI=true.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { describe } from 'vitest'
import { until, within } from './deadline.ts'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome']
const program = NAMES.find((name) => spawnSync(name, ['--version']).status === 0)

/**
 * A block of tests that need a browser.
 *
 * @param name - Of the block.
 * @param body - Defines the tests, as with vitest's `describe`.
 */
export function describeWithBrowser(name: string, body: () => void): void {
  const isLeftOut = program === undefined && process.env.CI !== 'true'
  if (isLeftOut) console.warn(`left out: ${name}: no Chromium is installed`)
  describe.skipIf(isLeftOut)(name, body)
}

interface Answer {
  readonly id?: number
  readonly method?: string
  readonly params?: { readonly message?: string }
  readonly result?: Record<string, unknown>
  readonly error?: { readonly message: string }
}

/** A browser with one page. */
export class Browser {
  readonly #process: ChildProcess
  readonly #folder = mkdtempSync(join(tmpdir(), 'corelane-browser-'))
  readonly #answers = new Map<number, (answer: Answer) => void>()
  #ids = 0
  #session: string | undefined

  constructor() {
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe']
    // It asks for nothing but the page.
    const quiet = ['background-networking', 'component-update', 'quic', 'sync']
    flags.push('--no-first-run', ...quiet.map((name) => `--disable-${name}`))
    const args = [...flags, `--user-data-dir=${this.#folder}`, 'about:blank']
    const stdio = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] as const
    this.#process = spawn(program!, args, { stdio: [...stdio] })
    let text = ''
    const output = this.#process.stdio[4] as Readable
    output.setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (text + chunk).split('\0')
      text = parts.pop()!
      for (const part of parts) {
        const answer: Answer = JSON.parse(part)
        if (answer.id !== undefined) this.#answers.get(answer.id)?.(answer)
        else if (answer.method === 'Page.javascriptDialogOpening') void this.#confirm()
      }
    })
  }

  /** Opens an address, and waits until something holds there. */
  async open(url: string): Promise<void> {
    if (this.#session === undefined) {
      const { targetId } = await this.#call('Target.createTarget', { url: 'about:blank' })
      const { sessionId } = await this.#call('Target.attachToTarget', { targetId, flatten: true })
      this.#session = sessionId as string
      await this.#call('Page.enable')
    }
    await this.#call('Page.navigate', { url })
  }

  /** What an expression is in the page. */
  async evaluate(expression: string): Promise<unknown> {
    const params = { expression, awaitPromise: true, returnByValue: true }
    const { result, exceptionDetails } = await this.#call('Runtime.evaluate', params)
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails))
    return (result as { value: unknown }).value
  }

  /** Waits until an expression is true in the page. */
  async until(expression: string): Promise<void> {
    let isTrue = false
    let isAsking = false
    await until(() => {
      if (!isAsking && !isTrue) {
        isAsking = true
        this.evaluate(expression).then(
          (value) => {
            isTrue = value === true
            isAsking = false
          },
          () => {
            isAsking = false
          },
        )
      }
      return isTrue
    }, expression)
  }

  /** Presses a key, as on a keyboard: `Tab`, `Enter`. */
  async press(key: string): Promise<void> {
    const codes: Record<string, number> = { Tab: 9, Enter: 13 }
    const params = { key, code: key, windowsVirtualKeyCode: codes[key] }
    const text = key === 'Enter' ? { text: '\r' } : {}
    await this.#call('Input.dispatchKeyEvent', { type: 'keyDown', ...params, ...text })
    await this.#call('Input.dispatchKeyEvent', { type: 'keyUp', ...params })
  }

  /** What a screen reader is given: the roles and names of all that is not ignored. */
  async accessible(): Promise<{ readonly role: string; readonly name: string }[]> {
    interface Node {
      readonly ignored: boolean
      readonly role?: { readonly value: string }
      readonly name?: { readonly value: string }
    }
    const { nodes } = await this.#call('Accessibility.getFullAXTree')
    return (nodes as Node[])
      .filter(({ ignored }) => !ignored)
      .map(({ role, name }) => ({ role: role?.value ?? '', name: name?.value ?? '' }))
  }

  /** A picture of the page, as PNG, on a screen of that size. */
  async picture(width: number, height: number): Promise<Buffer> {
    const screen = { width, height, deviceScaleFactor: 1, mobile: width < 600 }
    await this.#call('Emulation.setDeviceMetricsOverride', screen)
    const { data } = await this.#call('Page.captureScreenshot', { format: 'png' })
    return Buffer.from(data as string, 'base64')
  }

  /** Ends it. */
  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve))
    // In order: processes of a browser that is killed go on writing to its folder for a while.
    this.#session = undefined
    await this.#call('Browser.close')
    await within(ended, 'the end of the browser')
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10 })
  }

  async #confirm(): Promise<void> {
    await this.#call('Page.handleJavaScriptDialog', { accept: true })
  }

  #call(method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = ++this.#ids
    const answered = new Promise<Answer>((resolve) => this.#answers.set(id, resolve))
    const input = this.#process.stdio[3] as Writable
    input.write(`${JSON.stringify({ id, method, params, sessionId: this.#session })}\0`)
    return within(answered, method).then(({ result, error }) => {
      this.#answers.delete(id)
      if (error !== undefined) throw new Error(`${method}: ${error.message}`)
      return result!
    })
  }
}
