// Shape tree: the sequences of keys that one stream of trees has used, by number.
// Owns: the nodes of one stream.
//
// The shape of an object is found while its members are written: every node remembers the key that
// came next the last time, so that a known shape costs one comparison for each key. A shape that a
// record uses for the first time is known to both ends once that record is written; if it never is,
// its shapes are taken back when the next record begins.

import { SHAPES_MAX } from './value-tags.ts'

/** The number of a shape that has none. */
export const UNKNOWN = -1

// Past so many keys in all, shapes are most likely dictionaries: both ends start afresh.
const NODES_MAX = 4_096
// The rest are left for the shapes that one record may bring.
const SHAPES_KEPT = SHAPES_MAX - 64

/** A key after the keys that lead to it. */
export class KeyNode {
  /** Number of the shape that ends here. */
  shape: number = UNKNOWN
  readonly key: string
  readonly parent: KeyNode | undefined
  /** Whether one of its keys means something else in an object literal. */
  readonly isUnfit: boolean
  lastKey: string | undefined = undefined
  lastNode: KeyNode | undefined = undefined
  others: Map<string, KeyNode> | undefined = undefined

  /** @param parent - The one before it. */
  constructor(key: string, parent: KeyNode | undefined) {
    this.key = key
    this.parent = parent
    this.isUnfit = key === '__proto__' || parent?.isUnfit === true
  }
}

/** Finds the numbers of shapes. */
export class ShapeTree {
  /** Where every shape begins. */
  root: KeyNode = new KeyNode('', undefined)
  #nodes = 0
  #shapes = 0
  /** Whether the next record to be written must make the decoder forget its shapes. */
  #mustReset = false
  /** The shapes that the record under way uses for the first time. */
  readonly #fresh: KeyNode[] = []
  /** The shapes whose keys were asked for last, and those keys as JSON. */
  #lastFresh: readonly KeyNode[] = []
  #lastKeys = '[]'

  /**
   * A record begins; if the last one was not written, its shapes are unknown again.
   *
   * @returns Whether it must make the decoder forget its shapes.
   */
  begin(): boolean {
    const fresh = this.#fresh
    if (fresh.length > 0) {
      this.#shapes -= fresh.length
      for (const node of fresh) node.shape = UNKNOWN
      fresh.length = 0
    }
    if (this.#nodes > NODES_MAX || this.#shapes > SHAPES_KEPT) {
      this.root = new KeyNode('', undefined)
      this.#nodes = 0
      this.#shapes = 0
      this.#mustReset = true
    }
    return this.#mustReset
  }

  /** The record was written: both ends know its shapes. */
  written(): void {
    // Setting a length is a call, even if it is 0 already.
    if (this.#fresh.length > 0) this.#fresh.length = 0
    this.#mustReset = false
  }

  /**
   * The node of a key after others.
   *
   * @param node - The others.
   */
  step(node: KeyNode, key: string): KeyNode {
    let next = node.others?.get(key)
    if (next === undefined) {
      next = new KeyNode(key, node)
      this.#nodes++
      node.others ??= new Map()
      node.others.set(key, next)
    }
    node.lastKey = key
    node.lastNode = next
    return next
  }

  /**
   * Numbers a shape that was not used before.
   *
   * @param node - Its last key.
   * @returns False if there is no number left, or it has a key that means something else in an
   * object literal.
   */
  define(node: KeyNode): boolean {
    if (this.#shapes >= SHAPES_MAX || node.isUnfit) return false
    node.shape = this.#shapes++
    this.#fresh.push(node)
    return true
  }

  /** Whether the record uses shapes for the first time. */
  get hasFresh(): boolean {
    return this.#fresh.length > 0
  }

  /** Their keys as JSON, kept: records that are decoded alone often repeat those of the last. */
  freshKeys(): string {
    const fresh = this.#fresh
    if (
      fresh.length !== this.#lastFresh.length ||
      fresh.some((node, i) => node !== this.#lastFresh[i])
    ) {
      this.#lastFresh = [...fresh]
      this.#lastKeys = JSON.stringify(fresh.map(keysOf))
    }
    return this.#lastKeys
  }
}

/** A key and those before it. */
export function keysOf(node: KeyNode): string[] {
  const keys: string[] = []
  for (let one = node; one.parent !== undefined; one = one.parent) keys.push(one.key)
  return keys.reverse()
}
