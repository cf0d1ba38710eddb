// Worker events: what the parts of a worker tell of, where no test listens.

const nothing = (): void => undefined

/** Listeners that do nothing. */
export const UNHEARD = {
  settled: nothing,
  progressed: nothing,
  reassigned: nothing,
  refused: nothing,
  failed: nothing,
  incident: nothing,
}
