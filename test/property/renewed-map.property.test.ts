// Renewed map: beside a Map, past many renewals.

import fc from 'fast-check'
import { expect } from 'vitest'
import { RenewedMap } from '../../src/base/renewed-map.ts'
import { lawOf } from '../support/law.ts'

const law = lawOf(20)
const step = fc.record({ adds: fc.integer({ min: 1, max: 1500 }), keeps: fc.nat(300) })
const lists = fc.array(step, { maxLength: 12 })

law('a renewed map does what a Map does', [lists], (steps) => {
  const renewed = new RenewedMap<string, number>()
  const map = new Map<string, number>()
  let next = 0
  for (const { adds, keeps } of steps) {
    for (let i = 0; i < adds; i++) {
      // Some are there already.
      const key = `k${i % 3 === 0 ? next : next++}`
      renewed.set(key, next)
      map.set(key, next)
    }
    for (const key of [...map.keys()].slice(keeps)) {
      const isSame = renewed.has(key) && renewed.get(key) === map.get(key)
      const isGone = renewed.delete(key) && !renewed.has(key) && !renewed.delete(key)
      if (!isSame || !isGone) throw new Error(`${key} is not as in a Map`)
      map.delete(key)
    }
    expect([...renewed.values()]).toEqual([...map.values()])
    expect(renewed.size).toBe(map.size)
  }
})
