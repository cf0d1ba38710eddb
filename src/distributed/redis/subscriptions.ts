// Subscriptions: what Redis announces, on a connection of their own, for as long as somebody
// listens.
// Thread: main.   Owns: that connection and who listens to what.
// Must not: be relied on. What is announced while the connection is down is lost.

import { nowMs } from '../../base/clock.ts'
import type { RedisCaller } from './caller.ts'
import type { Client, ClientMaker } from './client-maker.ts'
import { LinkLost, RedisLink } from './link.ts'

type Listener = (bytes: Buffer) => void

/** Subscriptions to channels. */
export class Subscriptions {
  readonly #link: RedisLink
  readonly #caller: RedisCaller
  readonly #callTimeoutMs: number
  readonly #channels = new Map<string, Set<Listener>>()
  #isStarted = false

  /**
   * @param maker - Makes the connection.
   * @param caller - Says whether the queue is open, and why not.
   * @param times - How long an answer, and a call, may take.
   * @param onState - Called when announcements are heard, those of all channels, and when they are
   * not any more.
   */
  constructor(
    maker: ClientMaker,
    caller: RedisCaller,
    times: { readonly commandTimeoutMs: number; readonly callTimeoutMs: number },
    onState: (isUp: boolean) => void,
  ) {
    this.#caller = caller
    this.#callTimeoutMs = times.callTimeoutMs
    this.#link = new RedisLink({
      maker,
      commandTimeoutMs: times.commandTimeoutMs,
      pingMs: times.commandTimeoutMs,
      onUp: (client) => this.#subscribeAll(client),
      onLost: () => onState(false),
      onBack: () => onState(true),
    })
  }

  /** Whether announcements are heard, of channels that were added. */
  get isUp(): boolean {
    return this.#link.isUp
  }

  /**
   * Listens to a channel.
   *
   * @param channel - Its name.
   * @param listener - Given what is announced.
   * @returns Ends it. Resolves at once; the server is told when it can be.
   */
  async add(channel: string, listener: Listener): Promise<() => Promise<void>> {
    this.#caller.checkOpen()
    const listeners = this.#channels.get(channel)
    if (listeners !== undefined) listeners.add(listener)
    else this.#channels.set(channel, new Set([listener]))
    try {
      await this.#subscribe(channel)
    } catch (error) {
      this.#remove(channel, listener)
      throw error
    }
    return async () => this.#remove(channel, listener)
  }

  /** Ends everything. */
  close(): void {
    this.#channels.clear()
    this.#link.close()
  }

  async #subscribe(channel: string): Promise<void> {
    if (!this.#isStarted) {
      this.#isStarted = true
      this.#link.start()
    }
    const untilMs = nowMs() + this.#callTimeoutMs
    for (;;) {
      if (!(await this.#link.up(untilMs))) {
        this.#caller.checkOpen()
        throw this.#caller.unavailable(this.#link.reason)
      }
      try {
        return await this.#link.use((client) => this.#tell(client, [channel]))
      } catch (error) {
        if (!(error instanceof LinkLost)) throw this.#caller.unavailable((error as Error).message)
      }
    }
  }

  #tell(client: Client, channels: string[]): Promise<void> {
    // node-redis keeps one listener of a channel once, so to subscribe twice does no harm.
    return client.subscribe(channels, this.#onBytes, true)
  }

  readonly #onBytes = (bytes: Buffer, channel: Buffer): void => {
    for (const listener of this.#channels.get(channel.toString('latin1')) ?? []) listener(bytes)
  }

  async #subscribeAll(client: Client): Promise<void> {
    const channels = [...this.#channels.keys()]
    if (channels.length > 0) await this.#tell(client, channels)
  }

  #remove(channel: string, listener: Listener): void {
    const listeners = this.#channels.get(channel)
    if (listeners === undefined) return
    listeners.delete(listener)
    if (listeners.size > 0) return
    this.#channels.delete(channel)
    // If it cannot be told now, nobody listens all the same.
    this.#link.use((client) => client.unsubscribe([channel])).catch(() => {})
  }
}
