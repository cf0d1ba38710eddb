// Key chains: what a worker has of one key runs one at a time, in the order it was given out.
// Thread: main.   Owns: the chains.

/** Commands by key. */
export class KeyChains<Command> {
  /** By key: the one whose turn it is, then those that wait. */
  readonly #chains = new Map<string, Command[]>()
  #waiting = 0

  /** Commands that wait for another of their key. */
  get waiting(): number {
    return this.#waiting
  }

  /**
   * Puts a command behind the others of its key.
   *
   * @param key - Its key.
   * @param command - The command.
   * @returns Whether it is its turn at once.
   */
  enter(key: string, command: Command): boolean {
    const chain = this.#chains.get(key)
    if (chain === undefined) {
      this.#chains.set(key, [command])
      return true
    }
    chain.push(command)
    this.#waiting++
    return false
  }

  /**
   * Ends the turn of a command.
   *
   * @param key - Its key.
   * @param command - The command; nothing happens if it is not its turn.
   * @returns The next, whose turn it is now.
   */
  leave(key: string, command: Command): Command | undefined {
    const chain = this.#chains.get(key)
    if (chain?.[0] !== command) return undefined
    chain.shift()
    if (chain.length === 0) this.#chains.delete(key)
    else this.#waiting--
    return chain[0]
  }

  /**
   * Takes a command out, and all behind it.
   *
   * @param key - Their key.
   * @param command - The first of them; nothing happens if it has left.
   * @returns Those behind it, in their order.
   */
  cut(key: string, command: Command): Command[] {
    const chain = this.#chains.get(key)
    const start = chain === undefined ? -1 : chain.indexOf(command)
    if (chain === undefined || start === -1) return []
    const taken = chain.splice(start)
    // The one whose turn it is does not wait.
    this.#waiting -= start === 0 ? taken.length - 1 : taken.length
    if (start === 0) this.#chains.delete(key)
    return taken.slice(1)
  }
}
