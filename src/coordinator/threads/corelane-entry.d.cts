// Corelane entry: the types of dist/corelane-entry.cjs, which scripts/bundle.mjs makes.

/** The program of threads as text: a script that needs no file but Node's, by `require`. */
declare const ENTRY_TEXT: string
declare const entry: { readonly ENTRY_TEXT: string; readonly default?: typeof entry }
export = entry
