// Version: that of the package. The program of threads may lie in a copy of its own, which a new
// install does not replace.

/** As in package.json. */
export const VERSION = '0.1.0'
