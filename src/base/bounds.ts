// Bounds: limits of the platform that options and queues share.

/** The longest delay of a Node.js timer, about 24.8 days; a longer one makes it fire at once. */
export const TIMER_MS_MAX: number = 2 ** 31 - 1

/** The most that is counted of anything: what fits an Int32. */
export const COUNT_MAX: number = 2 ** 31 - 1
