// Closed loop: keeps a number of commands in flight, one promise each, and checks every result.
// Thread: main.   Owns: nothing.
// @ts-check

/** @typedef {import('./contract.js').Pool} Pool */

/**
 * @typedef {object} Load
 * @property {string} type - The handler.
 * @property {readonly unknown[]} values - Payloads, sent in turn.
 * @property {(value: any) => number} digest - Of a result.
 * @property {(payload: any) => number} [expected] - Digest of the result of a payload. Default: of
 * the payload itself.
 * @property {number} inFlight - At a time.
 * @property {number} ms - How long commands are launched; those in flight then are waited for.
 * @property {number} [commands] - Launches so many instead.
 */

/** How many launches pass between two looks at the clock, where many are in flight. */
const CLOCK_EVERY = 32

/**
 * Runs a load.
 *
 * @param {Pool} pool
 * @param {Load} load
 * @returns {Promise<{ commands: number, ms: number }>} What ran, and how long it took until the last
 * result. Rejects if a result is wrong, missing or a failure.
 */
export function closedLoop(pool, load) {
  const { type, values, digest, inFlight, ms, commands: limit = Number.POSITIVE_INFINITY } = load
  const expected = values.map(load.expected ?? digest)
  const clockEvery = inFlight >= CLOCK_EVERY ? CLOCK_EVERY : 1
  let launched = 0
  let settled = 0
  let sent = 0
  let received = 0
  let isOver = false
  return new Promise((resolve, reject) => {
    const startedAt = performance.now()
    const endAt = limit === Number.POSITIVE_INFINITY ? startedAt + ms : Number.POSITIVE_INFINITY

    function launch() {
      const index = launched++ % values.length
      sent = (sent + /** @type {number} */ (expected[index])) | 0
      pool.run(type, values[index]).then(take, reject)
      if (launched === limit) isOver = true
      else if (launched % clockEvery === 0 && performance.now() >= endAt) isOver = true
    }

    /** @param {unknown} value */
    function take(value) {
      settled++
      received = (received + digest(value)) | 0
      if (!isOver) launch()
      else if (settled === launched) finish()
    }

    function finish() {
      const took = performance.now() - startedAt
      if (received === sent) resolve({ commands: settled, ms: took })
      else reject(new Error(`wrong results of ${type}: digest ${received} instead of ${sent}`))
    }

    for (let i = 0; i < inFlight && !isOver; i++) launch()
  })
}
