// Options: checks an options object against a table of rules and fills in the defaults.
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
  /** The word that a given value stands for, where a word has synonyms. */
  readonly meaning?: (value: unknown) => unknown
  /** Names of the same option in other libraries, for a hint where they are given. */
  readonly aliases?: readonly string[]
}

/** The rules of one options object, by option. */
export type OptionRules = Readonly<Record<string, OptionRule>>

/** Options of which {@link checkOptions} filled in all but the `Open`, which have no default. */
export type Complete<T, Open extends keyof T = never> = {
  readonly [K in keyof T]-?: K extends Open ? T[K] | undefined : Exclude<T[K], undefined>
}

/** Whether a value may be an options object: no array, and no `Map`, `URL` or the like. */
export function isObject(value: unknown): value is object {
  return /^\[object (Object|Module)]$/.test(Object.prototype.toString.call(value))
}

/** Whether a value is an array of strings. */
export function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string')
}

/** Whether a value is an object each of whose members a test accepts. */
export function isRecord(value: unknown, accepts: (member: unknown) => boolean): boolean {
  return isObject(value) && Object.values(value).every(accepts)
}

/**
 * Whether a value is a URL, by what it can do: test environments put other classes in place of
 * Node's.
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
 * @param synonyms - Other names of some of them, which messages do not list.
 */
export function oneOf(
  fallback: string | undefined,
  words: readonly string[],
  synonyms: Readonly<Record<string, string>> = {},
): OptionRule {
  const wordOf = (value: unknown): unknown =>
    typeof value === 'string' && Object.hasOwn(synonyms, value) ? synonyms[value] : value
  return {
    default: fallback,
    allowed: words.map((word) => `"${word}"`).join(', '),
    accepts: (value) => words.includes(wordOf(value) as string),
    meaning: wordOf,
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

/** Where a module is. Without a default. */
export function modulePath(): OptionRule {
  return anything(
    undefined,
    'a URL or a path of a module',
    (value) => isUrl(value) || (typeof value === 'string' && value.length > 0),
  )
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
  if (!isOurs) throw invalidOption(`new ${name}()`, 'a private constructor', instead)
}

/**
 * A rule whose option has other names elsewhere.
 *
 * @param rule - The rule.
 * @param aliases - Those names: each is refused with a hint.
 */
export function alias(rule: OptionRule, ...aliases: readonly string[]): OptionRule {
  return { ...rule, aliases }
}

/** Edits that turn one word into another: letters added, dropped, changed. */
function editsBetween(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const change = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row.at(-1)!
}

/** A third of a word may be wrong; longer words are no misspellings. */
const WORD_LENGTH_MAX = 40

/**
 * The known name that a wrong one probably means.
 *
 * @param given - The wrong name.
 * @param names - The known names.
 * @returns Undefined if none is near.
 */
export function nearest(given: string, names: readonly string[]): string | undefined {
  if (given.length > WORD_LENGTH_MAX) return undefined
  const word = given.toLowerCase()
  let best: string | undefined
  let least = Math.ceil(word.length / 3) + 1
  for (const name of names) {
    // Few get the first letter wrong, and words that differ in it seldom mean the same.
    if (name[0]?.toLowerCase() !== word[0]) continue
    const edits = editsBetween(word, name.toLowerCase())
    if (edits < least) [least, best] = [edits, name]
  }
  return best
}

/**
 * Checks that options are an object.
 *
 * @param owner - What they belong to, for messages.
 * @throws ConfigError `CORELANE_INVALID_OPTION`.
 */
export function checkObject(owner: string, options: unknown): asserts options is object {
  // The first question is the faster one, and answers for most.
  if ((options as object | null)?.constructor === Object || isObject(options)) return
  throw invalidOption(`${owner} options`, show(options), 'an object')
}

function hint(key: string, rules: OptionRules): string {
  const names = Object.keys(rules)
  const meant = names.find((name) => rules[name]!.aliases?.includes(key)) ?? nearest(key, names)
  return meant === undefined ? '' : ` (did you mean "${meant}"?)`
}

/**
 * Checks that options are an object whose own members are all options of the table with values that
 * are allowed. Only own members count, so a polluted prototype adds nothing.
 *
 * @param owner - What the options belong to, for messages.
 * @param options - What the caller gave; `undefined` is fine.
 * @throws ConfigError `CORELANE_INVALID_OPTION` for an unknown option or a value that is not
 * allowed.
 */
export function checkGiven(owner: string, options: unknown, rules: OptionRules): void {
  if (options === undefined) return
  checkObject(owner, options)
  // Each command with options comes through here: a list of its keys would cost it as much again.
  for (const key in options) {
    const value = (options as Record<string, unknown>)[key]
    // A member that the table inherits is no rule.
    const rule: Partial<OptionRule> | undefined = rules[key]
    if (rule?.accepts !== undefined && (value === undefined || rule.accepts(value))) continue
    if (Object.hasOwn(options, key)) throw refusalOf(owner, key, value, rules)
  }
}

function refusalOf(owner: string, key: string, value: unknown, rules: OptionRules): Error {
  const option = `${owner}.${key}`
  if (Object.hasOwn(rules, key)) return invalidOption(option, show(value), rules[key]!.allowed)
  const received = `not an option${hint(key, rules)}`
  return invalidOption(option, received, Object.keys(rules).join(', '))
}

/** The error `CORELANE_INVALID_OPTION` of an option. */
export function invalidOption(option: string, received: string, allowed: string): Error {
  return laneError('CORELANE_INVALID_OPTION', { option, received, allowed })
}

/**
 * Checks options as {@link checkGiven} does and fills in defaults.
 *
 * @param owner - What the options belong to, for messages.
 * @param options - What the caller gave; `undefined` means all defaults.
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
    // The copy is checked: getters may answer otherwise, and hidden members are not listed.
    if (value !== undefined && !rule.accepts(value)) {
      throw invalidOption(`${owner}.${key}`, show(value), rule.allowed)
    }
    checked[key] = value === undefined ? rule.default : (rule.meaning?.(value) ?? value)
  }
  return Object.freeze(checked) as Readonly<T>
}
