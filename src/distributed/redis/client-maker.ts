// Client maker: makes clients of node-redis as we need them, from a URL, options or a user's
// client.
// Owns: the secrets it was given, which it keeps out of all texts.

import { createClient, RESP_TYPES, type RedisClientOptions } from 'redis'
import { isErrorValue } from '../../wire/families.ts'
import type { RedisClientLike, RedisQueuePlan } from './options.ts'

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
  readonly #client: RedisClientLike | undefined
  /** What the user said of all clients. */
  readonly #options: RedisClientOptions
  readonly #connectTimeoutMs: number
  readonly #secrets: readonly string[]

  /** @param connectTimeoutMs - How long a connection may take to be made. */
  constructor({ url, connection, client }: ClientSource, connectTimeoutMs: number) {
    this.#client = client
    this.#options = { ...(client?.options ?? connection), ...(url === undefined ? {} : { url }) }
    this.#connectTimeoutMs = connectTimeoutMs
    this.#secrets = secretsOf(this.#options)
  }

  /**
   * A client that was not connected yet.
   *
   * @throws Error if the URL or the options make no sense to node-redis.
   */
  make(): Client {
    const overrides = {
      RESP: 3 as const,
      // Our links reconnect: they alone know what may be asked again.
      disableOfflineQueue: true,
      maintNotifications: 'disabled' as const,
      socket: {
        connectTimeout: this.#connectTimeoutMs,
        ...this.#options.socket,
        reconnectStrategy: false as const,
      },
      // Bytes stay bytes. Deadlines are the link's: node-redis's end when a command is written.
      commandOptions: { timeout: 0, typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
    }
    if (this.#client !== undefined) return this.#client.duplicate(overrides) as Client
    const own = { ...this.#options, ...overrides } as RedisClientOptions
    return createClient(own) as unknown as Client
  }

  /** Where Redis is, without secrets. */
  get place(): string {
    const { url, socket } = this.#options
    // Up to the last @, whatever it is that stands before it.
    if (url !== undefined) return url.replace(/\/\/.*@/, '//').replace(/\?.*/, '')
    const { host = 'localhost', port = 6379, path, tls } = { ...socket } as SocketPlace
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

/** Texts that may be in errors of node-redis, the longest first. */
function secretsOf({ url, password }: RedisClientOptions): string[] {
  const inUrl = /^[a-z]+:\/\/[^/@]*?:([^@]*)@/i.exec(url ?? '')?.[1]
  const secrets = [password, url, inUrl]
  try {
    secrets.push(decodeURIComponent(inUrl ?? ''))
  } catch {
    // Then node-redis will refuse the URL, too.
  }
  return secrets.filter((secret): secret is string => !!secret).sort((a, b) => b.length - a.length)
}
