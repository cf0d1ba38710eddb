// Still clock: what `vi.mock` puts in the place of src/base/clock.ts. Time stands still until a
// test moves it, and there is one timer, the last that was set.

interface Timer {
  readonly run: () => void
  readonly atMs: number
  readonly delayMs: number
  isRef: boolean
  ref(): Timer
  unref(): Timer
}

/** The time, the timer that is set, and how many were. */
export const world = { now: 1000, timer: undefined as Timer | undefined, timersSet: 0 }

export const nowMs = (): number => world.now

export const timers = {
  setTimeout(run: () => void, delayMs: number): Timer {
    const timer: Timer = {
      run,
      atMs: world.now + delayMs,
      delayMs,
      isRef: true,
      ref: () => Object.assign(timer, { isRef: true }),
      unref: () => Object.assign(timer, { isRef: false }),
    }
    world.timer = timer
    world.timersSet++
    return timer
  },
  clearTimeout(timer: unknown): void {
    if (timer === world.timer) world.timer = undefined
  },
  clearInterval(): void {},
}

export function whenUnanswered(callback: () => void, ms: number): () => void {
  const timer = timers.setTimeout(callback, ms)
  return () => timers.clearTimeout(timer)
}

/** Begins anew, at 1000. */
export function restart(): void {
  Object.assign(world, { now: 1000, timer: undefined, timersSet: 0 })
}

/** Lets the timer fire now, whatever it was set to. */
export function fire(): void {
  const { run } = world.timer!
  world.timer = undefined
  run()
}

/** Lets the timer fire as often as it is set up to a moment. */
export function moveTo(ms: number): void {
  while (world.timer !== undefined && world.timer.atMs <= ms) {
    world.now = Math.max(world.now, world.timer.atMs)
    fire()
  }
  world.now = ms
}
