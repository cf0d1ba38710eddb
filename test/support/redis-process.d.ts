// Redis process: the types of redis-process.js.

/** How a server is started. */
export interface RedisOptions {
  /**
   * Whether what is written outlives the process: `always` writes the append-only file before every
   * answer, `everysec` once a second, `off` (default) never.
   */
  readonly persistence?: 'always' | 'everysec' | 'off'
  /** Most memory, such as `20mb`. Default: no bound. */
  readonly maxMemory?: string
  /** Password of the default user; it becomes part of {@link RedisProcess.url}. */
  readonly password?: string
  /** Access control rules, each as after `user`: `worker on >secret ~corelane:* +@all`. */
  readonly users?: readonly string[]
  /** A port that must be used. Default: a free one. */
  readonly port?: number
  /** More words for its command line: `['--maxmemory-policy', 'allkeys-lru']`. */
  readonly args?: readonly string[]
}

/** Whether there is a redis-server that is new enough; `missing` says why not. */
export function findRedis(): { version: string | undefined; missing: string | undefined }

/**
 * A real redis-server on a free port of the loopback interface, in a folder of its own. It ends
 * with the process that started it, whatever ends that one.
 */
export class RedisProcess {
  /**
   * Starts one.
   *
   * @throws Error if there is no redis-server, or it does not come up.
   */
  static start(options?: RedisOptions): Promise<RedisProcess>
  private constructor()
  readonly host: string
  readonly port: number
  /** Of the present process. */
  readonly pid: number
  /** With the password, if there is one. */
  readonly url: string
  /** What it has written to its log, all restarts included. */
  readonly log: string
  /** Kills it as a power cut would, but for what the kernel has: it writes nothing any more. */
  kill(): Promise<void>
  /** Ends it in good order. */
  shutdown(): Promise<void>
  /**
   * Starts it again on the same port and with its files; kills it first if it runs. Without
   * persistence it comes back empty.
   */
  restart(): Promise<void>
  /** Processor time that it has used, in microseconds. Not with a password. */
  cpuUs(): Promise<number>
  /** Stops its process without ending it: connections stay open and nobody answers. */
  freeze(): void
  /** Lets it go on. */
  thaw(): void
  /** Kills it and removes its folder. */
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
