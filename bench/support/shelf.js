// Shelf: the pools that are open, so that rows of one process can share them.
// Thread: main.   Owns: the pools.
// @ts-check

/** @typedef {import('./contract.js').System} System */
/** @typedef {import('./contract.js').Mode} Mode */
/** @typedef {import('./contract.js').Pool} Pool */

export class Shelf {
  /** @type {Map<string, Promise<Pool>>} */
  #pools = new Map()

  /**
   * Opens a pool, or finds the one that is open.
   *
   * @param {System} system
   * @param {Mode} mode
   * @param {number} threads
   */
  open(system, mode, threads) {
    const key = keyOf(system, mode, threads)
    const pool = this.#pools.get(key) ?? started(mode.open(threads))
    this.#pools.set(key, pool)
    return pool
  }

  /**
   * Closes a pool.
   *
   * @param {System} system
   * @param {Mode} mode
   * @param {number} threads
   */
  async close(system, mode, threads) {
    const key = keyOf(system, mode, threads)
    const pool = this.#pools.get(key)
    this.#pools.delete(key)
    await (await pool)?.close()
  }

  /** Closes them all. */
  async closeAll() {
    const pools = [...this.#pools.values()]
    this.#pools.clear()
    await Promise.all(pools.map(async (pool) => (await pool).close()))
  }
}

/** @param {Promise<Pool>} opening */
async function started(opening) {
  const pool = await opening
  await pool.start?.()
  return pool
}

/** @param {System} system @param {Mode} mode @param {number} threads */
function keyOf(system, mode, threads) {
  return `${system.name}, ${mode.name}, ${threads}`
}
