// Subscriptions: announcements of Redis, on a connection of their own, as long as there are
// listeners.
// Owns: that connection and its listeners.
// Must not: be relied on. Announcements are lost while the connection is down.

import { Listeners } from '../contract/listeners.ts'
import type { RedisCaller } from './caller.ts'
import type { Client, ClientMaker } from './client-maker.ts'
import { RedisLink } from './link.ts'

type Listener = (bytes: Buffer) => void

export class Subscriptions {
  readonly #link: RedisLink
  readonly #caller: RedisCaller
  /** By channel. */
  readonly #listeners = new Listeners<[Buffer]>()
  #isStarted = false

  /**
   * @param calls - The link of calls: what those of its server announce is received.
   * @param caller - Says whether the queue is open, and repeats what fails.
   * @param commandTimeoutMs - How long an answer may take.
   * @param onState - Called when announcements of all channels begin to be received, and when that
   * ends.
   */
  constructor(
    maker: ClientMaker,
    calls: RedisLink,
    caller: RedisCaller,
    commandTimeoutMs: number,
    onState: (isUp: boolean) => void,
  ) {
    this.#caller = caller
    this.#link = new RedisLink({
      maker,
      commandTimeoutMs,
      pingMs: commandTimeoutMs,
      onUp: (client) => this.#subscribeAll(client),
      onLost: () => onState(false),
      onBack: () => onState(true),
    })
    calls.follower = this.#link
  }

  /** Whether announcements are received, of channels that were added. */
  get isUp(): boolean {
    return this.#link.isUp
  }

  /**
   * Listens to a channel.
   *
   * @returns Ends it. Resolves at once; the server learns it later.
   */
  async add(channel: string, listener: Listener): Promise<() => Promise<void>> {
    this.#caller.checkOpen()
    const end = this.#listeners.add(channel, listener)
    const remove = async (): Promise<void> => {
      end()
      if (this.#listeners.get(channel) !== undefined) return
      // If the server cannot be reached now, its messages find no listener.
      this.#link.use((client) => client.unsubscribe([channel])).catch(() => {})
    }
    try {
      await this.#subscribe(channel)
    } catch (error) {
      await remove()
      throw error
    }
    return remove
  }

  /**
   * Listens to a channel as soon as there is a connection.
   *
   * @returns Ends it. The server is not told: the channel will be listened to again.
   */
  listen(channel: string, listener: Listener): () => void {
    const end = this.#listeners.add(channel, listener)
    // The next connection subscribes. If a rule forbids it, callers poll.
    this.#subscribe(channel).catch(() => {})
    return end
  }

  close(): void {
    this.#link.close()
  }

  #subscribe(channel: string): Promise<void> {
    const link = this.#link
    // It fails when the queue is closed.
    if (!this.#isStarted) link.open().catch(() => {})
    this.#isStarted = true
    return this.#caller.repeat(() => link.use((client) => this.#tell(client, [channel])), { link })
  }

  #tell(client: Client, channels: string[]): Promise<void> {
    // node-redis keeps one listener of a channel once, so to subscribe twice does no harm.
    return client.subscribe(channels, this.#onBytes, true)
  }

  readonly #onBytes = (bytes: Buffer, channel: Buffer): void => {
    if (!this.#caller.isClosed) this.#listeners.call(channel.toString('latin1'), bytes)
  }

  async #subscribeAll(client: Client): Promise<void> {
    const channels = this.#listeners.names
    if (channels.length > 0) await this.#tell(client, channels)
  }
}

/**
 * Takes an announcement apart: frames, each with its length before it.
 *
 * @param bytes - From anybody who may publish.
 * @returns What could be read. The rest is found when submitters look.
 */
export function framesOf<T>(bytes: Buffer, decode: (frame: Buffer) => T): T[] {
  const frames: T[] = []
  for (let at = 0; at + 4 <= bytes.length; ) {
    const end = at + 4 + bytes.readUInt32BE(at)
    if (end > bytes.length) break
    try {
      frames.push(decode(bytes.subarray(at + 4, end)))
    } catch {
      // Not one of ours.
    }
    at = end
  }
  return frames
}

/**
 * An announcement to workers, by its first letter: commands came (none) or were kept back (`+`), a
 * lane was paused (`p`) or its limits were set (`l`), a worker had a command that was cancelled
 * (`x`), workers came or went (`!`).
 */
export interface Wake {
  readonly kind: '' | '+' | 'p' | 'l' | 'x' | '!'
  readonly partition: number
  readonly lane: string
  /** How many commands came, or for how many milliseconds they are kept back. */
  readonly amount: number
  /** Names the command that was cancelled. */
  readonly entry: string
}

/** Workers came or went. */
const MEMBERS: Wake = Object.freeze({ kind: '!', partition: 0, lane: '', amount: 0, entry: '' })

/**
 * Takes a wake apart.
 *
 * @param bytes - From anybody who may publish.
 * @returns Nothing if it is none.
 */
export function wakeOf(bytes: Buffer): Wake | undefined {
  if (bytes.length > 256) return undefined
  const text = bytes.toString('latin1')
  if (text === '!') return MEMBERS
  const match = /^([+lpx]?)(\d{1,3}) (@?[A-Za-z0-9._-]{1,128}) (\d{1,20}(?:-\d{1,20})?)$/.exec(text)
  if (match === null) return undefined
  type Parts = [string, Wake['kind'], string, string, string]
  const [, kind, partition, lane, entry] = match as unknown as Parts
  const amount = Number(entry)
  if ((kind === '' || kind === '+') && !(amount < 1e10)) return undefined
  return { kind, partition: Number(partition), lane, amount, entry }
}

/** Announcements to workers, by their kinds; they are received once somebody waits for some. */
export class Wakes extends Listeners<[Wake]> {
  readonly #subscriptions: Subscriptions
  readonly #channel: string
  readonly #onReceiving: (isReceiving: boolean) => void
  #receiving: Promise<unknown> | undefined
  #isSubscribed = false

  /** @param onReceiving - Called when they begin to be received, and when that ends. */
  constructor(
    subscriptions: Subscriptions,
    channel: string,
    onReceiving: (isReceiving: boolean) => void,
  ) {
    super()
    this.#subscriptions = subscriptions
    this.#channel = channel
    this.#onReceiving = onReceiving
  }

  /** Receives them from now on. Until they arrive workers poll, so this is not awaited. */
  receive(): void {
    this.#receiving ??= this.#subscriptions
      .add(this.#channel, (bytes) => {
        const wake = wakeOf(bytes)
        if (wake !== undefined) this.call(wake.kind, wake)
      })
      .then(() => {
        this.#isSubscribed = true
        this.changed(this.#subscriptions.isUp)
      })
      .catch(() => {
        // The next that waits tries again.
        this.#receiving = undefined
      })
  }

  /** Adds a listener to those of a kind, and receives them. */
  hear(kind: Wake['kind'], listener: (wake: Wake) => void): () => void {
    this.receive()
    return this.add(kind, listener)
  }

  /** The connection is made, or lost. */
  changed(isUp: boolean): void {
    if (!this.#isSubscribed) return
    this.#onReceiving(isUp)
    // Such an announcement may have been missed.
    if (isUp) for (const kind of ['!', 'l']) this.call(kind, MEMBERS)
  }
}
