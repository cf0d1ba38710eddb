// Options: checks an options object against a table of rules and fills in the defaults.
// Thread: any.   Owns: nothing.
// Must not: know any particular option. A table lives beside the interface it checks.

import { laneError, show } from './errors.ts'

/** What one option may be. */
export interface OptionRule {
  /** Used where the option is absent; `undefined` means that absence has a meaning of its own. */
  readonly default: unknown
  /** What is allowed, in words, for the error. */
  readonly allowed: string
  /** Whether a given value is allowed. */
  readonly accepts: (value: unknown) => boolean
}

/** The rules of one options object, by option. */
export type OptionRules = Readonly<Record<string, OptionRule>>

/**
 * Whether a value may be an options object.
 *
 * @param value - Anything.
 */
export function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * Whether a value is a URL, by what it can do: test environments put other classes in place of
 * Node's.
 *
 * @param value - Anything.
 */
export function isUrl(value: unknown): value is URL {
  const { href, protocol } = (value ?? {}) as Partial<URL>
  return typeof href === 'string' && typeof protocol === 'string'
}

/**
 * A whole number.
 *
 * @param fallback - Default.
 * @param min - Least value allowed.
 * @param max - Greatest value allowed.
 */
export function integer(fallback: number | undefined, min: number, max: number): OptionRule {
  return {
    default: fallback,
    allowed: `an integer from ${min} to ${max}`,
    accepts: (value) =>
      Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
  }
}

/**
 * A number of milliseconds, fractions allowed.
 *
 * @param fallback - Default.
 * @param min - Least value allowed.
 * @param max - Greatest value allowed; Infinity where waiting for ever makes sense.
 */
export function milliseconds(fallback: number | undefined, min: number, max: number): OptionRule {
  return {
    default: fallback,
    allowed: `milliseconds from ${min} to ${max}`,
    accepts: (value) => typeof value === 'number' && value >= min && value <= max,
  }
}

/**
 * True or false.
 *
 * @param fallback - Default.
 */
export function boolean(fallback: boolean): OptionRule {
  return {
    default: fallback,
    allowed: 'true or false',
    accepts: (value) => typeof value === 'boolean',
  }
}

/**
 * One of some words.
 *
 * @param fallback - Default.
 * @param words - What is allowed.
 */
export function oneOf(fallback: string | undefined, words: readonly string[]): OptionRule {
  return {
    default: fallback,
    allowed: words.map((word) => `"${word}"`).join(', '),
    accepts: (value) => typeof value === 'string' && words.includes(value),
  }
}

/**
 * A non-empty string.
 *
 * @param fallback - Default.
 */
export function text(fallback: string | undefined): OptionRule {
  return {
    default: fallback,
    allowed: 'a non-empty string',
    accepts: (value) => typeof value === 'string' && value.length > 0,
  }
}

/**
 * Anything that a test accepts.
 *
 * @param fallback - Default.
 * @param allowed - What is allowed, in words.
 * @param accepts - The test.
 */
export function anything(
  fallback: unknown,
  allowed: string,
  accepts: (value: unknown) => boolean,
): OptionRule {
  return { default: fallback, allowed, accepts }
}

/**
 * Refuses a call of a private constructor, which JavaScript allows.
 *
 * @param isOurs - Whether the constructor was given what only this package gives it.
 * @param name - Of the class.
 * @param instead - The call that makes an instance.
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function refuseConstruction(isOurs: boolean, name: string, instead: string): void {
  if (!isOurs) throw invalid(`new ${name}()`, 'a private constructor', instead)
}

/**
 * Checks that options are an object whose own members are all options of the table with values that
 * are allowed. Only own members count, so a polluted prototype adds nothing.
 *
 * @param owner - What the options belong to, for messages.
 * @param options - What the caller gave; `undefined` is fine.
 * @param rules - The table.
 * @throws ConfigError `CORELANE_INVALID_OPTION` for an unknown option or a value that is not
 * allowed.
 */
export function checkGiven(owner: string, options: unknown, rules: OptionRules): void {
  if (options === undefined) return
  if (typeof options !== 'object' || options === null) {
    throw invalid(`${owner} options`, show(options), 'an object')
  }
  for (const key of Object.keys(options)) {
    if (!Object.hasOwn(rules, key)) {
      throw invalid(`${owner}.${key}`, 'not an option', Object.keys(rules).join(', '))
    }
    const value = (options as Record<string, unknown>)[key]
    const { accepts, allowed } = rules[key]!
    if (value !== undefined && !accepts(value)) {
      throw invalid(`${owner}.${key}`, show(value), allowed)
    }
  }
}

function invalid(option: string, received: string, allowed: string): Error {
  return laneError('CORELANE_INVALID_OPTION', { option, received, allowed })
}

/**
 * Checks options as {@link checkGiven} does and fills in defaults.
 *
 * @param owner - What the options belong to, for messages.
 * @param options - What the caller gave; `undefined` means all defaults.
 * @param rules - The table.
 * @returns A frozen object without a prototype, holding every option of the table.
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function checkOptions<T extends object>(
  owner: string,
  options: unknown,
  rules: OptionRules,
): Readonly<T> {
  checkGiven(owner, options, rules)
  const given = (options ?? {}) as Record<string, unknown>
  const checked: Record<string, unknown> = Object.create(null)
  for (const [key, rule] of Object.entries(rules)) {
    const value = Object.hasOwn(given, key) ? given[key] : undefined
    // What is kept is checked itself: a getter may answer otherwise, hidden members are not listed.
    if (value !== undefined && !rule.accepts(value)) {
      throw invalid(`${owner}.${key}`, show(value), rule.allowed)
    }
    checked[key] = value === undefined ? rule.default : value
  }
  return Object.freeze(checked) as Readonly<T>
}
