// Flaky proxy: a TCP proxy on the loopback interface that misbehaves when told. Plain JavaScript,
// as campaigns need it too. Documented in flaky-proxy.d.ts.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'

const HOST = '127.0.0.1'

export class FlakyProxy {
  #target
  #server
  #pairs = new Set()
  #port
  #passesRequests = true
  #passesReplies = true
  #accepts = true
  #delayMs = 0
  accepted = 0
  droppedBytes = 0

  static async open(port, host = HOST) {
    const proxy = new FlakyProxy({ port, host })
    const server = createServer((client) => proxy.#accept(client))
    proxy.#server = server
    server.listen(0, HOST)
    await once(server, 'listening')
    proxy.#port = server.address().port
    return proxy
  }

  constructor(target) {
    this.#target = target
  }

  get port() {
    return this.#port
  }

  get url() {
    return `redis://${HOST}:${this.#port}`
  }

  get connections() {
    return this.#pairs.size
  }

  dropReplies() {
    this.#passesReplies = false
  }

  dropAll() {
    this.#passesRequests = false
    this.#passesReplies = false
  }

  pass() {
    this.#passesRequests = true
    this.#passesReplies = true
    this.#accepts = true
    // What follows a hole in a stream of bytes would be taken for something else.
    for (const pair of this.#pairs) if (pair.hasHole) this.#cut(pair)
  }

  delay(ms) {
    this.#delayMs = ms
  }

  cut() {
    const { size } = this.#pairs
    for (const pair of this.#pairs) this.#cut(pair)
    return size
  }

  refuse() {
    this.#accepts = false
    this.cut()
  }

  async close() {
    this.refuse()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  async [Symbol.asyncDispose]() {
    await this.close()
  }

  #accept(client) {
    if (!this.#accepts) {
      client.on('error', () => {})
      client.destroy()
      return
    }
    this.accepted++
    const server = connect(this.#target)
    const pair = { client, server, hasHole: false }
    this.#pairs.add(pair)
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on('error', () => this.#cut(pair))
      socket.on('close', () => this.#cut(pair))
    }
    this.#join(pair, client, server, () => this.#passesRequests)
    this.#join(pair, server, client, () => this.#passesReplies)
  }

  #join(pair, from, to, passes) {
    from.on('data', (chunk) => {
      if (!passes()) {
        pair.hasHole = true
        this.droppedBytes += chunk.length
        return
      }
      if (this.#delayMs > 0) {
        // Timers of the same length fire in the order they were set, so bytes keep theirs.
        setTimeout(() => to.write(chunk), this.#delayMs)
      } else if (!to.write(chunk)) {
        from.pause()
        to.once('drain', () => from.resume())
      }
    })
  }

  #cut(pair) {
    if (!this.#pairs.delete(pair)) return
    for (const socket of [pair.client, pair.server]) {
      // Not resetAndDestroy: Node 20 may then never get to its end.
      socket.destroy()
    }
  }
}
