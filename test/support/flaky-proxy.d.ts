// Flaky proxy: the types of flaky-proxy.js.

/**
 * A TCP proxy on a free port of the loopback interface. It passes everything until it is told
 * otherwise. What it drops it drops for good: as soon as it passes again, connections with a hole
 * in them are cut, since nobody could make sense of what follows.
 */
export class FlakyProxy {
  /**
   * Opens one.
   *
   * @param port - Where the server listens.
   * @param host - Its host. Default 127.0.0.1.
   */
  static open(port: number, host?: string): Promise<FlakyProxy>
  private constructor()
  readonly port: number
  /** As a Redis client wants it. */
  readonly url: string
  /** Connections that are open. */
  readonly connections: number
  /** Connections that were ever made. */
  readonly accepted: number
  /** Bytes that were dropped. */
  readonly droppedBytes: number
  /** Requests reach the server from now on and do their work; nobody hears of it. */
  dropReplies(): void
  /** Nothing passes from now on and nobody is told: to both ends the other one is just silent. */
  dropAll(): void
  /** Everything passes again; connections that lost something are cut. */
  pass(): void
  /** Holds every piece of either direction back for so long; 0 for no more. */
  delay(ms: number): void
  /**
   * Resets every connection; new ones are accepted.
   *
   * @returns How many there were.
   */
  cut(): number
  /** Resets every connection and every new one, until {@link FlakyProxy.pass}. */
  refuse(): void
  /** Resets every connection and listens no more. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
