// Client maker: makes clients of node-redis as we need them, from a URL, options or a user's
// client.
// Owns: the secrets it was given, which it keeps out of all texts.

import { createClient, RESP_TYPES, type RedisClientOptions } from 'redis'
import { isErrorValue } from '../../wire/families.ts'
import type { RedisQueuePlan } from './options.ts'

/** Where and how to connect. */
type ClientSource = Pick<RedisQueuePlan, 'url' | 'connection' | 'client'>

/** Members of node-redis's `socket` that say where a server is. */
interface SocketPlace {
  readonly host?: string
  readonly port?: number
  readonly path?: string
  readonly tls?: boolean
}

/** As much of node-redis's client as we use. */
export interface Client {
  connect(): Promise<unknown>
  destroy(): void
  sendCommand(args: readonly (string | Buffer)[]): Promise<unknown>
  subscribe(
    channels: string[],
    listener: (bytes: Buffer, channel: Buffer) => void,
    bufferMode: true,
  ): Promise<void>
  unsubscribe(channels: string[]): Promise<void>
  on(event: string, listener: (cause: Error) => void): unknown
}

/** Makes clients. Each is for one connection: what is lost is not mended but made anew. */
export class ClientMaker {
  readonly #source: ClientSource
  readonly #connectTimeoutMs: number
  readonly #secrets: readonly string[]

  /** @param connectTimeoutMs - How long a connection may take to be made. */
  constructor(source: ClientSource, connectTimeoutMs: number) {
    this.#source = source
    this.#connectTimeoutMs = connectTimeoutMs
    this.#secrets = secretsOf(source)
  }

  /**
   * A client that was not connected yet.
   *
   * @throws Error if the URL or the options make no sense to node-redis.
   */
  make(): Client {
    const { url, connection, client } = this.#source
    const given = (client?.options ?? connection ?? {}) as RedisClientOptions
    const overrides = {
      RESP: 3 as const,
      // Our links reconnect: they alone know what may be asked again.
      disableOfflineQueue: true,
      maintNotifications: 'disabled' as const,
      socket: {
        connectTimeout: this.#connectTimeoutMs,
        ...given.socket,
        reconnectStrategy: false as const,
      },
      // Bytes stay bytes. Deadlines are the link's: node-redis's end when a command is written.
      commandOptions: { timeout: 0, typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
    }
    if (client !== undefined) return client.duplicate(overrides) as Client
    const own = { ...connection, ...(url === undefined ? {} : { url }), ...overrides }
    return createClient(own as RedisClientOptions) as unknown as Client
  }

  /** Where Redis is, without secrets. */
  get place(): string {
    const { url, connection, client } = this.#source
    const given = (client?.options ?? connection ?? {}) as RedisClientOptions
    const address = url ?? given.url
    // Up to the last @, whatever it is that stands before it.
    if (address !== undefined) return address.replace(/\/\/.*@/, '//').replace(/\?.*/, '')
    const { host = 'localhost', port = 6379, path, tls } = { ...given.socket } as SocketPlace
    return path === undefined ? `${tls ? 'rediss' : 'redis'}://${host}:${port}` : `unix://${path}`
  }

  /** Text of an error that may be shown. */
  textOf(error: unknown): string {
    const parts = isErrorValue(error) && 'errors' in error ? (error.errors as unknown[]) : [error]
    let text = parts
      .map((part: unknown) => (isErrorValue(part) ? part.message : 'an unknown error'))
      .join(', ')
    for (const secret of this.#secrets) text = text.replaceAll(secret, '***')
    return text || 'an error without a message'
  }
}

function secretsOf({ url, connection, client }: ClientSource): string[] {
  const secrets = new Set<string>()
  for (const { url: address, password } of [
    { url, password: undefined },
    connection ?? {},
    (client?.options ?? {}) as RedisClientOptions,
  ]) {
    if (password) secrets.add(password)
    if (address === undefined) continue
    secrets.add(address)
    const inUrl = /^[a-z]+:\/\/[^/@]*?:([^@]*)@/i.exec(address)?.[1]
    if (inUrl === undefined || inUrl === '') continue
    secrets.add(inUrl)
    try {
      secrets.add(decodeURIComponent(inUrl))
    } catch {
      // Then node-redis will refuse the URL, too.
    }
  }
  return [...secrets].sort((a, b) => b.length - a.length)
}
