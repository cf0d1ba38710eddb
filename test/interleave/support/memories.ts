// Memories: small ones for explorations, so that wraps and full rings are common.

import { afterAll, beforeAll, vi } from 'vitest'
import {
  CommonsWord,
  LAYOUT_VERSION,
  type LaneCells,
  layOutCommons,
  RINGS_OFFSET,
  Word,
} from '../../../src/memory/layout.ts'
import { Explorer } from './explorer.ts'

/** Bytes that hold every region made here. */
export const REGION_BYTES: number = RINGS_OFFSET + 1024

/** Bytes that hold every commons made here. */
export const COMMONS_BYTES = 4096

/** Partitions of every commons made here. */
export const PARTITIONS = 2

/** Makes the explorer of a file, for memories made here. */
export function openExplorer(): Explorer {
  const explorer = new Explorer(REGION_BYTES, COMMONS_BYTES)
  // Thousands of schedules, each with several hand-overs between threads: slow on a busy machine.
  vi.setConfig({ testTimeout: 120_000 })
  beforeAll(() => explorer.ready())
  afterAll(() => explorer.close())
  return explorer
}

/**
 * Words of a fresh region whose rings may be smaller than those of a real one.
 *
 * @param commandBytes - A power of two from 64 to 512.
 * @param resultBytes - Likewise.
 * @param start - Position at which both rings start, a multiple of 8.
 */
export function smallRegion(
  commandBytes: number,
  resultBytes: number,
  start = 0,
): Readonly<Record<number, number>> {
  return {
    [Word.VERSION]: LAYOUT_VERSION,
    [Word.COMMAND_RING_BYTES]: commandBytes,
    [Word.RESULT_RING_BYTES]: resultBytes,
    [Word.COMMAND_TAIL]: start,
    [Word.COMMAND_HEAD]: start,
    [Word.RESULT_TAIL]: start,
    [Word.RESULT_HEAD]: start,
  }
}

/**
 * Words of fresh commons.
 *
 * @param lanes - What each lane needs.
 * @param partitions - How many there are.
 */
export function smallCommons(
  lanes: readonly LaneCells[] = [],
  partitions = PARTITIONS,
): Readonly<Record<number, number>> {
  const { words } = layOutCommons(partitions, lanes)
  if (words * 4 > COMMONS_BYTES) throw new Error(`commons of ${words * 4} bytes`)
  return { [CommonsWord.VERSION]: LAYOUT_VERSION }
}
