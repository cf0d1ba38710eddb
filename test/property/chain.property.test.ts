// Chain: beside a list, over random additions and removals.

import fc from 'fast-check'
import { expect } from 'vitest'
import { Chain, type Linked } from '../../src/base/chain.ts'
import { lawOf } from '../support/law.ts'

const law = lawOf(100)

class Item implements Linked<Item> {
  older: Item | undefined
  younger: Item | undefined
  readonly number: number

  constructor(number: number) {
    this.number = number
  }
}

const step = fc.oneof(fc.constant(undefined), fc.nat(20))

law('a chain is the list of what was added and not removed', [fc.array(step)], (steps) => {
  const chain = new Chain<Item>()
  const list: Item[] = []
  for (const [number, place] of steps.entries()) {
    if (place === undefined) {
      const item = new Item(number)
      chain.add(item)
      list.push(item)
    } else if (list.length > 0) {
      const removed = list.splice(place % list.length, 1)[0]!
      chain.remove(removed)
      expect([removed.older, removed.younger]).toEqual([undefined, undefined])
    }
    const numbers = list.map((item) => item.number)
    expect(chain.values().map((item) => item.number)).toEqual(numbers)
    expect([chain.size, chain.oldest?.number]).toEqual([numbers.length, numbers[0]])
  }
})
