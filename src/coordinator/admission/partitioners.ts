// Partitioners: which partition a command goes to under each strategy.
// Owns: the round-robin counter.

import { types } from 'node:util'
import { laneError, show } from '../../base/errors.ts'
import { stableHash } from '../../schedule/hash.ts'
import { ANY_PARTITION } from '../command.ts'
import type { Lane } from '../lane-table.ts'
import { isShared, type ManagerPlan } from '../options.ts'
import type { CommandType } from '../type-table.ts'

/** Answers the home of a command: the index of a partition or `ANY_PARTITION`. */
export type Placer = (
  lane: Lane,
  type: CommandType,
  key: string | undefined,
  payload: unknown,
) => number

/** Makes the placer of a strategy. */
export function createPlacer(plan: ManagerPlan): Placer {
  const { strategy, partitionCount, choose } = plan
  switch (strategy) {
    case 'hash':
      return (_lane, type, key) =>
        (key === undefined ? type.hash : stableHash(key)) % partitionCount
    case 'roundRobin': {
      let last = partitionCount - 1
      return () => {
        last = last + 1 === partitionCount ? 0 : last + 1
        return last
      }
    }
    case 'custom':
      return (lane, type, key, payload) => {
        const question = {
          lane: lane.name,
          type: type.name,
          key,
          payload,
          partitions: partitionCount,
        }
        const chosen: unknown = choose!(question)
        if (
          Number.isInteger(chosen) &&
          (chosen as number) >= 0 &&
          (chosen as number) < partitionCount
        ) {
          return chosen as number
        }
        // An asynchronous function is refused; the end of its promise does not matter then.
        if (types.isPromise(chosen)) chosen.catch(() => {})
        throw laneError('CORELANE_INVALID_PARTITION', {
          received: show(chosen),
          type: type.name,
          last: partitionCount - 1,
        })
      }
    case 'balanced':
    case 'single': {
      const home = isShared(plan) ? ANY_PARTITION : 0
      return () => home
    }
  }
}
