// Scan: splits a source text into code, comments and strings, so that rules look at the right part.
// A small hand-written scanner: it knows strings, templates with nested code, and regex literals
// (told from divisions by what stands before them), which is all a rule needs.

/** One physical line of a comment. */
export interface CommentLine {
  readonly line: number
  readonly text: string
}

/** One string literal without substitutions. */
export interface StringLiteral {
  readonly start: number
  readonly line: number
  readonly value: string
}

/** A source text taken apart. */
export interface Scan {
  /** The text with comments and the insides of strings and regexes blanked; offsets are kept. */
  readonly code: string
  readonly comments: readonly CommentLine[]
  readonly strings: readonly StringLiteral[]
}

const OPERATOR = /[(,=:[!&|?{};+\-*%<>~^}]/
const KEYWORD = /\b(?:return|typeof|case|in|of|delete|void|throw|new|else|do|yield|await)$/

function startsRegex(codeBefore: string): boolean {
  const before = codeBefore.trimEnd()
  if (before === '') return true
  if (before.endsWith('++') || before.endsWith('--')) return false
  return OPERATOR.test(before.at(-1) as string) || KEYWORD.test(before)
}

/** Line of an offset, from 1. */
export function lineAt(text: string, offset: number): number {
  let line = 1
  for (let i = text.indexOf('\n'); i !== -1 && i < offset; i = text.indexOf('\n', i + 1)) line++
  return line
}

class Scanner {
  readonly comments: CommentLine[] = []
  readonly strings: StringLiteral[] = []
  readonly #text: string
  /** For each template whose substitution is being read: how many braces are open in it. */
  readonly #templates: number[] = []
  #code = ''
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  run(): Scan {
    while (this.#at < this.#text.length) this.#step()
    return { code: this.#code, comments: this.comments, strings: this.strings }
  }

  #step(): void {
    const char = this.#text[this.#at] as string
    const pair = this.#text.slice(this.#at, this.#at + 2)
    if (pair === '//' || (this.#at === 0 && pair === '#!')) this.#comment(this.#find('\n', 0))
    else if (pair === '/*') this.#comment(this.#find('*/', 2))
    else if (char === '"' || char === "'") this.#string(char)
    else if (char === '`') this.#template()
    else if (char === '/' && startsRegex(this.#code)) this.#regex()
    else if (char === '}' && this.#templates.at(-1) === 0) {
      this.#templates.pop()
      this.#template()
    } else {
      const top = this.#templates.length - 1
      if (top >= 0 && char === '{') this.#templates[top]!++
      if (top >= 0 && char === '}') this.#templates[top]!--
      this.#code += char
      this.#at++
    }
  }

  /** The offset just after the next `mark` (at it, with `length` 0), else the end of the text. */
  #find(mark: string, length: number): number {
    const found = this.#text.indexOf(mark, this.#at + length)
    return found === -1 ? this.#text.length : found + length
  }

  #blank(end: number): void {
    this.#code += this.#text.slice(this.#at, end).replace(/[^\n]/g, ' ')
    this.#at = end
  }

  #comment(end: number): void {
    const first = lineAt(this.#text, this.#at)
    const lines = this.#text.slice(this.#at, end).split('\n')
    for (const [index, text] of lines.entries()) this.comments.push({ line: first + index, text })
    this.#blank(end)
  }

  /** Moves past the inside of a literal, to where `stop` holds, minding backslashes. */
  #inside(stop: (at: number) => boolean): number {
    let at = this.#at + 1
    while (at < this.#text.length && !stop(at)) at += this.#text[at] === '\\' ? 2 : 1
    return Math.min(at, this.#text.length)
  }

  #string(quote: string): void {
    const end = this.#inside((at) => this.#text[at] === quote || this.#text[at] === '\n')
    this.#literal(end, quote)
  }

  #literal(end: number, quote: string): void {
    this.strings.push({
      start: this.#at,
      line: lineAt(this.#text, this.#at),
      value: this.#text.slice(this.#at + 1, end),
    })
    this.#code += quote
    this.#at++
    this.#blank(end)
    this.#code += this.#text.slice(end, end + 1)
    this.#at = end + 1
  }

  /** From a backtick, or from the brace that ends a substitution, to the next of either kind. */
  #template(): void {
    const opens = this.#text[this.#at] === '`'
    const end = this.#inside((at) => this.#text[at] === '`' || this.#text.startsWith('${', at))
    const substitutes = this.#text[end] === '$'
    if (opens && !substitutes) this.#literal(end, '`')
    else {
      this.#code += opens ? '`' : ' '
      this.#at++
      this.#blank(substitutes ? end + 2 : end)
      if (substitutes) this.#templates.push(0)
      else {
        this.#code += this.#text.slice(end, end + 1)
        this.#at = end + 1
      }
    }
  }

  #regex(): void {
    let inClass = false
    const end = this.#inside((at) => {
      const char = this.#text[at]
      if (char === '[') inClass = true
      if (char === ']') inClass = false
      return char === '\n' || (char === '/' && !inClass)
    })
    this.#code += '/'
    this.#at++
    this.#blank(end)
    this.#code += this.#text.slice(end, end + 1)
    this.#at = end + 1
  }
}

/** Takes a source text apart. */
export function scan(text: string): Scan {
  return new Scanner(text).run()
}
