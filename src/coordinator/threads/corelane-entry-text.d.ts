// Corelane entry text: the types of dist/corelane-entry-text.js, which scripts/bundle.mjs makes.

/** The program of threads as text: a script that needs no file. */
export declare const ENTRY_TEXT: string
