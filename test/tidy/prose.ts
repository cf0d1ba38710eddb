// Prose: constructions that readers of English parse twice, in comments, documents and messages.
// The list is short on purpose: each entry stood in the code often enough to cost reviewers time.

import type { SourceFile } from './rules.ts'
import { scan } from './scan.ts'

interface Construction {
  readonly pattern: RegExp
  readonly use: string
}

const BANNED: readonly Construction[] = [
  { pattern: /\bnobody\b/i, use: 'the noun: no caller, no thread, no subscription' },
  { pattern: /\bwhoever\b/i, use: 'the noun: the thread that, the caller that' },
  { pattern: /\b(?:is|are|was|were|be|been) told\b/i, use: 'gets, receives, learns' },
  { pattern: /\b(?:what of|of what)\b/i, use: 'a noun and "that"' },
]

/** A sentence whose subject is a clause. */
const WHAT_SENTENCE: Construction = {
  pattern: /(?:^|[.;:] )What\b(?![^.]*\?)/,
  use: 'a noun as the subject of the sentence',
}

/** A piece of text and the line where it stands. */
interface Passage {
  readonly line: number
  readonly text: string
  /** Whether it is sentences, so that a leading "What" is their subject. */
  readonly isSentence: boolean
}

/** Lines of a document outside code; titles and cells of tables are no sentences. */
function passagesOfDocument(text: string): Passage[] {
  let isCode = false
  return text.split('\n').flatMap((line, index) => {
    if (/^\s*```/.test(line)) isCode = !isCode
    if (isCode) return []
    const prose = line.replace(/`[^`]*`/g, '')
    return [{ line: index + 1, text: prose, isSentence: !/^\s*(?:#|\|)/.test(line) }]
  })
}

/** Comments and texts of a program. A doc comment may open with a noun clause: it is a title. */
function passagesOfProgram(text: string): Passage[] {
  const { comments, strings } = scan(text)
  return [
    ...comments.map((comment) => ({ ...comment, isSentence: !comment.text.startsWith('*') })),
    ...strings.map(({ line, value }) => ({ line, text: value, isSentence: false })),
  ]
}

/** Text that is not mended yet: the sentences of the contract suite. */
const LATER = /^src\/distributed\/testing\//

/** The entries of a changelog that are not released: the others are history. */
export function unreleased(changelog: string): string {
  return changelog.slice(0, changelog.search(/^## \[\d/m))
}

/**
 * Constructions that do not belong into text.
 *
 * @param file - A document, or a program.
 */
export function prose({ path, text }: SourceFile): string[] {
  if (LATER.test(path)) return []
  const isDocument = path.endsWith('.md')
  const passages = isDocument ? passagesOfDocument(text) : passagesOfProgram(text)
  return passages.flatMap(({ line, text: passage, isSentence }) =>
    [...BANNED, ...(isSentence ? [WHAT_SENTENCE] : [])].flatMap(({ pattern, use }) => {
      const found = pattern.exec(passage)
      return found === null ? [] : [`${path}:${line}: "${found[0]}" is banned here, use ${use}`]
    }),
  )
}
